"""docs/for-programs.md says what is so: its exit codes, its loop, and the keys of the JSON that it shows."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.errors import ExitCode
from raytrain.execution.plan import Plan

PAGE = (Path(__file__).parents[2] / "docs/for-programs.md").read_text()
WriteRun = Callable[..., None]


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def code(heading: str, language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", section(heading), flags=re.DOTALL | re.MULTILINE)
    return block


def printed(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)


def test_the_exit_codes_on_the_page_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \| .+ \|$", section("Exit codes"), flags=re.MULTILINE)
    assert [(int(number), meaning) for number, meaning in rows] == [(one, one.meaning) for one in sorted(ExitCode)]


def test_the_loop_gives_commands_that_parse_and_adds_seeds_until_there_is_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[list[str]] = []
    answers = [{"verdict": "more seeds", "more_seeds": 2}, json.loads(code("Keep the change?", "json"))]

    def run(arguments: list[str], **_: Any) -> SimpleNamespace:
        program, name, *rest = arguments
        assert program == "raytrain"
        with typer.main.get_command(app).commands[name].make_context(name, list(rest)):  # type: ignore[attr-defined]
            called.append(arguments[1:])
        return SimpleNamespace(
            returncode=10 if name == "judge" and len(answers) == 2 else 0,
            stdout=json.dumps(answers.pop(0) if name == "judge" else []),
        )

    monkeypatch.setattr(subprocess, "run", run)
    exec(compile(code("Keep the change?", "python"), "referee.py", "exec"), {})
    assert [arguments[0] for arguments in called] == ["compare", "compare", "judge"] * 2
    assert [arguments[arguments.index("--seeds") + 1] for arguments in called if "--seeds" in arguments] == [
        *["0,1,2"] * 2,
        *["0,1,2,3,4"] * 2,
    ]


def test_judge_and_results_print_the_keys_that_the_page_shows(write_run: WriteRun) -> None:
    for name, lr in (("base", 0.003), ("idea", 0.01)):
        write_run(name, [range(900), range(901)], recipe={"lr": lr}, seeds=[0, 1])
    assert list(printed("judge", "base", "idea")) == list(json.loads(code("Keep the change?", "json")))
    (columns,) = re.findall(r"--columns (\S+)", code("Run and continue", ""))
    shown = json.loads(code("Run and continue", "json"))
    assert list(printed("results", "base", "--columns", columns)["trials"][0]) == list(shown["trials"][0])


def test_a_plan_has_the_keys_that_the_page_shows() -> None:
    keys = {field.name for field in fields(Plan)} | {"gpu_hours", "cpu_hours", "schema_version"}
    assert set(json.loads(code("What will it cost?", "json"))) == keys
