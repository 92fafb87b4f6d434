"""Settings of Weights & Biases: the user's key, and those in the working folder, which may be somebody else's."""

import configparser
import os
from pathlib import Path
from typing import Any

from raytrain.errors import TrackerError, first_line
from raytrain.storage.bounded import read_bounded

_SERVER = "https://api.wandb.ai"
_HARMLESS = {"entity", "project"}
"""Settings that a file in the working folder may have."""
_MAX_SETTINGS = 100_000
"""Largest size of a file of settings in the working folder, in bytes."""


def is_offline() -> bool:
    """Return whether the user has W&B write into its folder only.

    Raises:
        TrackerError: The user has W&B drop what it is told.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode == "disabled":
        raise TrackerError("WANDB_MODE=disabled: nothing would be sent; unset it or set offline")
    return mode in {"offline", "dryrun"}  # W&B's own alias


def has_key(wandb: Any) -> bool:
    """Return whether the user has a key, for which the package `wandb` is asked."""
    return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)


def refuse_foreign_settings(folder: Path, *, server: str | None) -> None:
    """Refuse a file with settings of W&B, in a folder that may be somebody else's, that names more than a project.

    W&B takes any setting from there, such as another server or a proxy, and would send the user's key to it.

    Args:
        folder: Folder in which W&B keeps its own.
        server: Server that the user has named, which the file may name, too.

    Raises:
        TrackerError: There is one.
    """
    for file in (folder / "wandb" / "settings", folder / ".wandb" / "settings"):
        if not file.is_file():
            continue
        read = configparser.ConfigParser(interpolation=None)
        try:
            read.read_string(read_bounded(file, most=_MAX_SETTINGS).decode())
        except (OSError, ValueError, configparser.Error) as error:
            raise TrackerError(f"{file}: cannot be read ({first_line(error)}); delete it") from error
        for section in read.values():
            for name, value in section.items():
                if name not in _HARMLESS and not (name == "base_url" and value in {server, _SERVER}):
                    raise TrackerError(
                        f"{file}: sets {name}, and W&B would obey it, with your key; delete the line, and name a "
                        "server of your own by --tracking-uri"
                    )
