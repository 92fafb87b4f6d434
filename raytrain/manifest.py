"""manifest.json: under what circumstances a run folder came to be, one session for every command that worked on it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from raytrain.errors import RunFolderError
from raytrain.provenance import command_line, describe_code, describe_machine
from raytrain.storage import Folder

_NAME = "manifest.json"


class Manifest:
    """The manifest of a run folder, written when a session begins and when it ends."""

    def __init__(self, folder: Folder, content: dict[str, Any]) -> None:
        self._folder = folder
        self._content = content

    @classmethod
    def open(cls, folder: Folder, *, data: Mapping[str, str], seeds: Sequence[int], fresh: bool) -> "Manifest":
        """Return the manifest of `folder` as it is, or a new one.

        Args:
            folder: The run folder.
            data: Fingerprints of the images that are to be used, by what they are called.
            seeds: Those that the experiment names.
            fresh: Leave what is there out of account.

        Raises:
            RunFolderError: The run used other images before, or its manifest is damaged.
        """
        content: dict[str, Any] = {"data": dict(data), "seeds": list(seeds), "sessions": []}
        if fresh or not folder.exists(_NAME):
            return cls(folder, content)
        try:
            before = json.loads(folder.read(_NAME))
            content["sessions"], known = before["sessions"], before["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{folder}/{_NAME} is damaged: {error}; restore it, or remove it") from error
        for name, fingerprint in data.items():
            if known.get(name, fingerprint) != fingerprint:
                raise RunFolderError(
                    f"{folder} was run on other images: {name} has changed ({known[name]} then, {fingerprint} now).\n"
                    "Choose another --name, restore the images, or start anew with --fresh."
                )
        return cls(folder, content)

    def begin_session(self) -> None:
        """Write this command, the code, the machine and the time."""
        session = {
            "command": command_line(),
            "started": _now(),
            "code": describe_code(),
            "machine": describe_machine(),
        }
        self._content["sessions"].append(session)
        self._write()

    def end_session(self) -> None:
        """Write the time at which this command's session ended; one that was killed has none."""
        self._content["sessions"][-1]["ended"] = _now()
        self._write()

    def _write(self) -> None:
        self._folder.write(_NAME, json.dumps(self._content, indent=1).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
