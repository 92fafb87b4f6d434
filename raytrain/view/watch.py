"""Which runs are shown, and whether what they have on record has changed."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from raytrain.errors import RaytrainError
from raytrain.runs.folder import EXPERIMENT, list_runs, open_runs
from raytrain.runs.trial_files import METRICS
from raytrain.storage.folder import Folder, StoredFile

ON_RECORD = frozenset({EXPERIMENT, "manifest.json", "events.jsonl", "trials.jsonl"})
"""Files at the top of a run folder that its pages are made of; each trial's METRICS comes on top."""
COST_FACTOR = 10
"""Least ratio of the time between two looks to the time that a look takes, so that looking slows no training."""


class Runs:
    """The runs that are shown: those that were named, or all under a folder at any time.

    Attributes:
        out: Folder or URI that holds the runs.
    """

    def __init__(self, out: str, names: Sequence[str] = ()) -> None:
        """Find the runs.

        Args:
            out: Folder or URI that holds the runs.
            names: Names, folders or URIs of runs; none for all under `out`.

        Raises:
            RunFolderError: One is not there, or `out` cannot be listed.
        """
        self.out = out
        self._named: dict[str, Folder] = {}
        for folder in open_runs(names, out=out).values():
            key, copies = folder.name, 1
            while key in self._named:
                copies += 1
                key = f"{folder.name}-{copies}"
            self._named[key] = folder
        self.folders()

    def folders(self) -> Mapping[str, Folder]:
        """Return the run folders by the names that pages have for them.

        Raises:
            RunFolderError: `out` cannot be listed.
        """
        return self._named or {name: Folder.at(self.out) / name for name in list_runs(self.out)}


def version_of(folders: Mapping[str, Folder]) -> str:
    """Return a digest of the names, sizes and times of the files on record in run folders: it changes as they do.

    Raises:
        OSError: A file went away while it was looked at, or the storage does not answer.
    """
    found = {name: [file for file in folder.files() if _is_on_record(file)] for name, folder in folders.items()}
    return hashlib.sha256(repr(sorted((name, sorted(files)) for name, files in found.items())).encode()).hexdigest()[
        :16
    ]


def last_written(folder: Folder) -> datetime | None:
    """Return when a file on record in a run folder was last written; None where there is none, or no time.

    Raises:
        OSError: As `version_of`.
    """
    latest = max((file.modified for file in folder.files() if _is_on_record(file)), default=0)
    return datetime.fromtimestamp(latest / 1e9, tz=UTC) if latest else None


def _is_on_record(file: StoredFile) -> bool:
    return file.name in ON_RECORD or file.name.endswith(f"/{METRICS}")


async def changes(
    look: Callable[[], Awaitable[str]], *, seen: str, every_s: float, silence_s: float
) -> AsyncIterator[str | None]:
    """Yield each version that differs from the one before it, and None after every `silence_s` without one.

    Args:
        look: Function that returns the version now; while it fails, there is no new version.
        seen: Version that is known already.
        every_s: Least time between two looks in seconds.
        silence_s: Longest time without an item in seconds.
    """
    said = time.monotonic()
    while True:
        began = time.monotonic()
        try:
            version = await look()
        except (RaytrainError, OSError):
            version = seen
        if version != seen:
            seen, said = version, time.monotonic()
            yield version
        elif time.monotonic() - said >= silence_s:
            said = time.monotonic()
            yield None
        await asyncio.sleep(max(every_s, COST_FACTOR * (time.monotonic() - began)))
