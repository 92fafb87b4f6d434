"""The help of commands: examples, and the defaults that a parameter's own default, None, does not say."""

import shlex
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cli.examples import EXAMPLES


def test_the_help_of_every_command_shows_its_examples_each_on_a_line(every_command: dict[str, Any]) -> None:
    assert set(EXAMPLES) == set(every_command)
    for name, lines in EXAMPLES.items():
        shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80", "TERM": "dumb"})
        below = [line.strip() for line in shown.stdout.split("Examples:")[1].splitlines() if line.strip()]
        assert below == list(lines), name


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_every_example_is_a_line_of_its_command(name: str, line: str, every_command: dict[str, Any]) -> None:
    assert line.startswith(f"raytrain {name}")
    with every_command[name].make_context(name, shlex.split(line)[1 + len(name.split()) :]):
        pass


@pytest.mark.parametrize(
    ("command", "default"),
    [
        (("train",), "start Ray on this machine"),
        (("train",), "the experiment's name"),
        (("export",), "RUN-TRIAL.pth"),
        (("submit",), "the experiment's name and a suffix"),
        (("jobs",), "http://127.0.0.1:8265"),
    ],
)
def test_help_shows_what_an_option_does_when_it_is_left_out(command: tuple[str, ...], default: str) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    assert default in shown.stdout


def test_help_names_one_way_to_run_every_trial_to_its_end() -> None:
    shown = CliRunner().invoke(app, ["tune", "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    (row,) = [line for line in shown.stdout.splitlines() if "--asha " in line]
    assert "<stop|promote>" in row
    assert "none" not in row
    assert "--no-asha" in shown.stdout
