"""Standard output whose reader has gone, or whose disk has no room."""

import os
import select
import sys

import typer

from raytrain.errors import ExitCode
from raytrain.storage.trouble import FULL


def end_of_output(error: OSError) -> ExitCode | None:
    """Say that the output has no room left, or nothing if its reader has gone, and return the exit code of that.

    What is still to be printed then goes nowhere. Returns None for any other error.
    """
    if isinstance(error, BrokenPipeError) and _reader_has_gone():
        discard_output()  # whoever reads has read enough, as `head` has
        return ExitCode.DONE
    if error.errno in FULL:
        discard_output()
        typer.echo(f"raytrain: the output cannot be written: {error.strerror}", err=True)
        return ExitCode.REFUSED
    return None


def _reader_has_gone() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def discard_output() -> None:
    """Have what is still to be printed, and what Python flushes at its exit, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
