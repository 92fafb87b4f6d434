"""Which tests run a line of the package: known from one run of the tests with coverage, whose contexts name them."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from coverage import CoverageData


@dataclass(frozen=True)
class CoveringTests:
    """The tests that run each line, and how long each takes.

    Attributes:
        by_line: Tests, as pytest names them, by the path of the module and the number of the line. A test that sets up
            what others use stands for all tests of its file.
        seconds: Seconds that each test takes, with what is set up for it.
    """

    by_line: Mapping[tuple[str, int], frozenset[str]]
    seconds: Mapping[str, float]

    @classmethod
    def measured(cls, folder: Path, *, marked: str, jobs: int) -> "CoveringTests":
        """Return what a run of the tests in a copy of the repository shows.

        Args:
            folder: The copy.
            marked: Expression of the marks of the tests to run.
            jobs: Number of processes.
        """
        data, times = folder / ".coverage-contexts", folder / "times.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marked, f"--junitxml={times}"]
        command += ["-n", str(jobs), "--dist", "worksteal", "--cov", "--cov-context=test", "--cov-report="]
        # commands that tests start are not measured: they have no context
        environment = {**os.environ, "PYTHONPATH": str(folder), "COVERAGE_FILE": str(data), "COVERAGE_PATCH": "_exit"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(
            [*command, "--cov-fail-under=0"], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"the tests fail without any change; run them first\n{done.stdout[-2000:]}")
        return cls(_by_line(data, folder), _seconds(times))

    def of(self, module: str, lines: Iterable[int], *, first: str, seconds: float) -> list[str]:
        """Return the tests that run some lines of a module: the shortest ones, up to a number of seconds together.

        Args:
            module: Path of the module in the repository.
            lines: Numbers of the lines.
            first: Folder of tests that come before others.
            seconds: Seconds that they may take together; one test is returned in any case.
        """
        found = {test for line in lines for test in self.by_line.get((module, line), ())}
        tests = {one for test in found for one in self._expanded(test) if one in self.seconds}
        chosen: list[str] = []
        for test in sorted(tests, key=lambda one: (not one.startswith(f"{first}/"), self.seconds[one], one)):
            if chosen and seconds < self.seconds[test]:
                continue
            chosen.append(test)
            seconds -= self.seconds[test]
        return chosen

    def _expanded(self, test: str) -> list[str]:
        """Return the tests that a name stands for: itself, or those of a file."""
        return [test] if "::" in test else [one for one in self.seconds if one.startswith(f"{test}::")]


def statement_lines(code: str, line: int) -> range:
    """Return the lines of the innermost statement that a line is in; of one with a body, those before it."""
    around = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    if not around:
        return range(line, line + 1)
    inner = max(around, key=lambda node: (node.lineno, -(node.end_lineno or 0)))
    body: list[ast.stmt] = getattr(inner, "body", [])
    end = body[0].lineno if body else (inner.end_lineno or inner.lineno) + 1
    return range(inner.lineno, max(end, inner.lineno + 1))


def _by_line(data: Path, folder: Path) -> dict[tuple[str, int], frozenset[str]]:
    measured = CoverageData(str(data))
    measured.read()
    by_line: defaultdict[tuple[str, int], frozenset[str]] = defaultdict(frozenset)
    for path in measured.measured_files():
        module = Path(path).relative_to(folder).as_posix()
        for line, contexts in measured.contexts_by_lineno(path).items():
            by_line[module, line] |= {_test(context) for context in contexts if context}
    return dict(by_line)


def _test(context: str) -> str:
    """Return the test of a context, "tests/x.py::test_y|run"; its file where it set something up, which others use."""
    test, _, phase = context.rpartition("|")
    return test if phase == "run" else test.partition("::")[0]


def _seconds(times: Path) -> dict[str, float]:
    return {
        f"{(case.get('classname') or '').replace('.', '/')}.py::{case.get('name')}": float(case.get("time") or 0)
        for case in ElementTree.parse(times).iter("testcase")
    }
