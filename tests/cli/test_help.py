"""The help of commands shows the defaults that a parameter's own default, None, does not say."""

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app


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
