"""Change the code in one place, 200 times, and see whether a test notices: experiments/records/mutants.json.

python benchmarks/mutants.py [--mutants 200] [--seed 0] [--packages training storage] [--jobs 2] [--output FILE]

Cosmic Ray says where which change is possible; a seeded sample of the places is tried, with one change at each, in a
copy of the repository. First, the fast tests are run once without a change, to see which of them run which lines. A
mutant is killed when one of those that run its statement fails: those of its own package first, the shortest first, and
as many as take a minute together. So a mutant that survives might be noticed by a longer test. Where no test is known
to run the statement, as at import, the tests of its package are run. Tests that take three times as long as without a
change, and a minute more, count as failed, too: a loop no longer ends. `|` is left alone, and nothing becomes a shift
or another operator on bits: those are type errors at the first call, or at import, which tell little about the tests.
"""

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from comparison import recorded_code
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from covering_tests import CoveringTests, statement_lines

from raytrain.provenance.versions import describe_code, describe_machine

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "experiments" / "records" / "mutants.json"
PACKAGES = ("analysis", "experiment", "runs", "storage", "training")
FAST = "not ray and not slow and not gpu and not cluster and not heavy and not long and not faults"
LEFT_ALONE = re.compile(r"ReplaceBinaryOperator_.*(Bit|Shift)")
SECONDS = 60.0
"""Seconds that the tests of one mutant may take together, without a change."""
TIMES_AS_LONG = 3.0
LEAST_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: Its path in the repository.
        line: Where it is changed, counted from 1.
        column: Where in the line, counted from 0.
        operator: Cosmic Ray's name of the change.
        occurrence: Which of the places in the module where the operator applies, counted from 0.
    """

    module: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def package(self) -> str:
        return Path(self.module).parts[1]

    @cached_property
    def codes(self) -> tuple[str, str]:
        """The module without the change and with it."""
        code = (ROOT / self.module).read_text()
        return code, mutate_code(code, get_operator(self.operator)(), self.occurrence) or code

    def is_another_program(self) -> bool:
        """Return whether the change leaves Python that means something else."""
        code, changed = self.codes
        try:
            return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(code))
        except SyntaxError:
            return False

    def difference(self) -> str:
        """Return the lines that differ, marked - and +."""
        code, changed = (text.splitlines() for text in self.codes)
        return "\n".join(list(difflib.unified_diff(code, changed, n=0, lineterm=""))[3:])


def places(packages: Iterable[str]) -> list[Mutant]:
    """Return every change that Cosmic Ray knows for some packages, in the order of the files."""
    return [
        mutant
        for package in packages
        for path in sorted((ROOT / "raytrain" / package).rglob("*.py"))
        for mutant in places_in(path.read_text(), module=path.relative_to(ROOT).as_posix())
    ]


def places_in(code: str, *, module: str) -> list[Mutant]:
    nodes = list(ast_nodes(get_ast(code)))
    found: list[Mutant] = []
    for name in operator_names():
        if LEFT_ALONE.search(name) or get_operator(name).arguments():
            continue
        operator = get_operator(name)()
        starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        found += [Mutant(module, *start, name, occurrence) for occurrence, start in enumerate(starts)]
    return found


def drawn(possible: list[Mutant], *, count: int, seed: int) -> list[Mutant]:
    """Return one change at each of some random places: many are possible at a `+`, which must not count for more."""
    generator = random.Random(seed)
    at: dict[tuple[str, int, int], list[Mutant]] = {}
    for mutant in possible:
        at.setdefault((mutant.module, mutant.line, mutant.column), []).append(mutant)
    order = generator.sample(list(at.values()), len(at))
    return list(islice(filter(Mutant.is_another_program, map(generator.choice, order)), count))


class Copy:
    """A copy of the repository's files, in which tests run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def tested(self, *tests: str, timeout_s: float | None = None) -> str:
        """Run tests up to the first that fails; return "passed", "failed" or "took too long"."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", FAST, *tests]
        environment = {**os.environ, "PYTHONPATH": str(self._folder)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start commands, which would compile all they import
        try:
            done = subprocess.run(
                command, cwd=self._folder, env=environment, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return "took too long"
        return "failed" if done.returncode else "passed"

    def outcome(self, mutant: Mutant, *, covering: CoveringTests, times: float) -> str:
        """Return what became of a mutant: "survived", "killed" or "took too long".

        Args:
            mutant: The change.
            covering: The tests that run each line.
            times: Times as long as without a change that tests may take.
        """
        path = self._folder / mutant.module
        code, changed = mutant.codes
        lines, own = statement_lines(code, mutant.line), f"tests/{mutant.package}"
        tests = covering.of(mutant.module, lines, first=own, seconds=SECONDS)
        of_these = tests or [test for test in covering.seconds if test.startswith(f"{own}/")]
        limit = LEAST_TIMEOUT_S + times * sum(covering.seconds[test] for test in of_these)
        path.write_text(changed)
        try:
            ended = self.tested(*(tests or [own]), timeout_s=limit)
        finally:
            path.write_text(code)
        return "survived" if ended == "passed" else ended.replace("failed", "killed")


def summary(outcomes: dict[Mutant, str]) -> dict[str, Any]:
    """Return the score of each package and of all: the share of mutants that did not survive."""

    def scored(chosen: list[str]) -> dict[str, Any]:
        counts = Counter(chosen)
        return {**dict(sorted(counts.items())), "score": round(1 - counts["survived"] / len(chosen), 3)}

    by_package: dict[str, list[str]] = {}
    for mutant, outcome in outcomes.items():
        by_package.setdefault(mutant.package, []).append(outcome)
    return {
        "all": scored(list(outcomes.values())),
        **{package: scored(found) for package, found in sorted(by_package.items())},
    }


def record_of(outcomes: dict[Mutant, str], *, seed: int, possible: int) -> dict[str, Any]:
    """Return what is known so far: the places are drawn at random, so those that are done are a sample, too.

    Args:
        outcomes: What became of each mutant that is done.
        seed: Seed of the sample.
        possible: Number of changes that are possible.
    """
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": recorded_code(describe_code()),
        "machine": {name: value for name, value in describe_machine().items() if name != "host"},
        "cosmic_ray": metadata.version("cosmic-ray"),
        "seed": seed,
        "possible": possible,
        "tried": len(outcomes),
        "seconds_of_tests": SECONDS,
        "summary": summary(outcomes),
        "survivors": [
            {**asdict(mutant), "difference": mutant.difference()}
            for mutant, outcome in sorted(outcomes.items(), key=lambda item: (item[0].module, item[0].line))
            if outcome == "survived"
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=RECORD)
    options = parser.parse_args()
    possible = places(options.packages)
    sample = drawn(possible, count=options.mutants, seed=options.seed)
    outcomes: dict[Mutant, str] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch, ThreadPoolExecutor(options.jobs) as pool:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(Copy(Path(scratch) / str(number)))
        covering = CoveringTests.measured(Path(scratch) / "0", marked=FAST, jobs=options.jobs)

        def tried(mutant: Mutant) -> str:
            copy = copies.get()
            try:
                return copy.outcome(mutant, covering=covering, times=TIMES_AS_LONG * options.jobs)
            finally:
                copies.put(copy)

        for mutant, outcome in zip(sample, pool.map(tried, sample), strict=True):
            outcomes[mutant] = outcome
            record = record_of(outcomes, seed=options.seed, possible=len(possible))
            options.output.write_text(json.dumps(record, indent=1) + "\n")  # an interruption loses nothing
            where = f"{mutant.module}:{mutant.line}"
            print(f"{len(outcomes):4} of {len(sample)}  {outcome:13}  {where}  {mutant.operator}", flush=True)
    print(json.dumps(summary(outcomes), indent=1))


if __name__ == "__main__":
    main()
