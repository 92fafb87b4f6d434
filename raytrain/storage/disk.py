"""The room on a local disk."""

import shutil
from pathlib import Path

from raytrain.storage.durable import nearest_folder


def free_bytes(path: Path) -> int:
    """Return how much room there is where `path` is, or would be."""
    return shutil.disk_usage(nearest_folder(path)).free
