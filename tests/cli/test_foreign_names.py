"""Names of somebody else's files reach the terminal as text: nothing that it would obey, and each on its line."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.report.text.visible import VisibleFormatter

TITLE = "\x1b]0;owned\x07"
"""What sets the title of a terminal."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two classes in folders, whose class, file and unreadable file have such names."""
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    for name in ("cat", f"dog{TITLE}"):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.full((8, 8, 3), 10 * index + len(name), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}{TITLE}.png")
    (folder / "cat" / f"broken{TITLE}.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("command", ["verify", "fetch"])
def test_the_commands_about_data_print_no_escape_sequence(command: str, photos: Path) -> None:
    done = CliRunner().invoke(app, ["data", command, str(photos), "--image-size", "8", "--skip-bad"])
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    assert done.exit_code == 0, done.output
    if command == "verify":
        assert r"dog\x1b]0;owned\x07" in done.output
        assert r"broken\x1b]0;owned\x07.png" in done.output


def test_a_line_of_the_log_shows_what_cannot_be_seen() -> None:
    record = logging.LogRecord("raytrain", logging.WARNING, "", 0, "%s is damaged", (f"a{TITLE}",), None)
    assert VisibleFormatter("raytrain: %(message)s").format(record) == r"raytrain: a\x1b]0;owned\x07 is damaged"


def test_warnings_of_commands_that_set_up_no_log_go_through_it_too() -> None:
    CliRunner().invoke(app, ["schema"])
    assert logging.lastResort
    assert isinstance(logging.lastResort.formatter, VisibleFormatter)
