"""Whose trials a tracker has: two runs of the same name may share an experiment or a project there."""

import hashlib
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

RUN, RUN_ID, FOLDER, HOST = "raytrain.run", "raytrain.run_id", "raytrain.folder", "raytrain.host"
"""Names of the tags that say which run a trial is of."""


def owner_tags(folder: Folder, sessions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the tags that tell a run from others of its name.

    Its id is made of its first session, which stays with the run folder when that is moved, copied or continued. A run
    that is begun again in the same folder has another id, so the folder is a tag too, and for one on a disk the host.

    Args:
        folder: The run folder.
        sessions: The sessions in its manifest; without one there is no id.
    """
    tags = {RUN: folder.name, FOLDER: str(folder)}
    if folder.local_path and (host := platform.node()):
        tags[HOST] = host
    if sessions:
        first = sessions[0]
        began = json.dumps([first["started"], first["command"], first["machine"].get("host")])
        tags[RUN_ID] = hashlib.sha256(began.encode()).hexdigest()[:16]
    return tags


def owner_of(entry: Any) -> dict[str, str]:
    """Return those tags of an entry that say which run it is of; the entry is a mapping, or has its `get`."""
    return {name: value for name in (RUN, RUN_ID, FOLDER, HOST) if (value := entry.get(name))}


class Owners:
    """Tells the entries of a run from those of other runs with its name, and warns once of each other run."""

    def __init__(self, where: str) -> None:
        """Know of no other run yet.

        Args:
            where: The tracker's address, for the warning.
        """
        self._where = where
        self._warned: set[str] = set()

    def is_same(self, run: Mapping[str, str], entry: Mapping[str, str]) -> bool:
        """Return whether an entry of a tracker is of a run; where it is of another run of that name, warn of that.

        An entry without a host is of a run in object storage, or of an earlier version: its folder decides.

        Args:
            run: `owner_tags` of the run.
            entry: Tags of the entry.
        """
        same_id = RUN_ID in run and run[RUN_ID] == entry.get(RUN_ID)
        same_folder = run[FOLDER] == entry.get(FOLDER) and run.get(HOST) == entry.get(HOST, run.get(HOST))
        if same_id or same_folder:
            return True
        folder = entry.get(FOLDER, "an unknown folder") + (f" on {entry[HOST]}" if HOST in entry else "")
        if folder not in self._warned:
            self._warned.add(folder)
            log.warning(
                "%s has trials of another run called %s, from %s; they are left as they are. To keep the two runs "
                "apart, give this one another name, or name another place by: raytrain log --experiment NAME",
                *(self._where, run[RUN], folder),
            )
        return False
