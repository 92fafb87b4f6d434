"""The `raytrain` command, also as `python -m raytrain`: signals are handled before anything large is imported."""

import os
import sys

from raytrain.errors import ExitCode
from raytrain.execution import signals

SAID = frozenset(ExitCode) - {ExitCode.BUG}
"""Exit codes of commands that have said why they end."""


def main() -> None:
    """Run the command of the command line."""
    process = signals.process
    process.watch()
    try:
        from raytrain.cli.app import app  # takes 0.4 s, and a signal may come meanwhile

        app(prog_name="raytrain")
    except BaseException as end:
        code = end.code if isinstance(end, SystemExit) else ExitCode.BUG
        if process.arrived is None:
            raise
        # what a library makes of an interrupt is not the message that the user waits for
        if code not in SAID:
            process.say()
            code = signals.code_of(process.arrived)
        leave(int(code or 0))


def leave(code: int) -> None:
    """End without the exit handlers of libraries, which may wait for what the signal has ended too."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # closed, as after the loss of a terminal
            continue
    os._exit(code)


if __name__ == "__main__":
    main()
