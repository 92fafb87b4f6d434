"""The progress of reading a data set: a bar on a terminal, lines elsewhere, nothing with --quiet."""

import io
import logging
import re

import pytest
from rich.console import Console

from raytrain.cli import progress as shown
from raytrain.cli.progress import reading_shown
from raytrain.data import progress
from raytrain.data.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as the one number of a list."""
    now = [0.0]
    for module in (progress, shown):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"})


def read_images(clock: list[float]) -> None:
    """Read 4,000 images in 40 seconds."""
    images = Progress("training images are decoded", 4000)
    for _ in range(4):
        clock[0] += 10.5
        images.add(1000)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_has_a_bar_and_no_lines(clock: list[float], caplog: pytest.LogCaptureFixture):
    console = terminal()
    with caplog.at_level(logging.INFO, logger="raytrain"), reading_shown(console):
        read_images(clock)
    assert re.search(r"training images are decoded ━.* 1000/4000", written(console))
    assert caplog.records == []


def gone(console: Console) -> bool:
    """Return whether the line of the bar is erased, and the cursor is back."""
    text = written(console)
    return text.endswith("\x1b[2K") and text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_the_bar_is_gone_when_everything_is_read(clock: list[float]):
    console = terminal()
    with reading_shown(console):
        images = Progress("training images are decoded", 100)
        clock[0] += 5
        images.add(50)
        assert not gone(console)
        images.add(50)
        assert gone(console)


def test_the_bar_is_gone_after_an_interruption(clock: list[float]):
    console = terminal()

    def interrupted() -> None:
        with reading_shown(console):
            images = Progress("training images are decoded", 100)
            clock[0] += 5
            images.add(50)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert gone(console)


def test_what_is_read_at_once_has_no_bar(clock: list[float]):
    console = terminal()
    with reading_shown(console):
        images = Progress("training images are decoded", 100)
        clock[0] += 0.2
        images.add(50)
        images.add(50)
    assert written(console) == ""


@pytest.mark.parametrize("console", [Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)])
def test_elsewhere_a_line_comes_every_ten_seconds(
    console: Console, clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TERM", "dumb")
    with reading_shown(Console(file=console.file, force_terminal=console.is_terminal)):
        read_images(clock)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "1,000 of 4,000 training images are decoded, 32 s left"
    assert len(said) == 3
    assert written(console) == ""


def test_a_quiet_console_is_told_nothing(clock: list[float], caplog: pytest.LogCaptureFixture):
    console = Console(file=io.StringIO(), force_terminal=True, quiet=True)
    with caplog.at_level(logging.WARNING, logger="raytrain"), reading_shown(console):
        read_images(clock)
    assert (written(console), caplog.records) == ("", [])
