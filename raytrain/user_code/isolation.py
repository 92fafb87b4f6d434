"""Code of the user's while it is imported or tried: what it prints is no result, and what it sets is not kept."""

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any


@contextmanager
def isolated() -> Generator[list[str]]:
    """Have code of the user's print to standard error, and undo what it sets for the whole process.

    Other trials of this process would train otherwise with it, and those of other processes would not.

    Yields:
        A list of what was set and undone, in words; complete when the context has ended.
    """
    changed: list[str] = []
    settings = _settings()
    before = {name: read() for name, (read, _) in settings.items()}
    try:
        with redirect_stdout(sys.stderr):
            yield changed
    finally:
        for name, (read, write) in settings.items():
            if (now := read()) != before[name]:
                changed.append(f"{name} to {now}")
                with suppress(OSError):  # the working folder of before is gone
                    write(before[name])


def _settings() -> dict[str, tuple[Callable[[], Any], Callable[[Any], object]]]:
    """Return how to read and to write each setting, by its name."""
    import torch

    return {
        "PyTorch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "PyTorch's default device": (_default_device, _set_default_device),
        "PyTorch's number of threads": (torch.get_num_threads, torch.set_num_threads),
        "PyTorch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
        "PyTorch's deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        "the working folder": (_working_folder, os.chdir),
    }


def _default_device() -> str:
    """Return PyTorch's default device; of a GPU that is not there, what is wrong with it."""
    import torch

    try:
        return str(torch.get_default_device())
    except (RuntimeError, AssertionError):  # the device is tried where its number is not given
        return "one that this machine does not have"


def _set_default_device(device: str) -> None:
    import torch

    torch.set_default_device(None if device == "cpu" else device)  # None: as it is where nobody has set one


def _working_folder() -> str:
    """Return the path of the working folder, or "" where it has been deleted."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""
