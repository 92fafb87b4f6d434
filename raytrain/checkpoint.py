"""Checkpoints of one trial: the training state after an epoch, and the best weights so far.

A checkpoint is its files and a manifest, written in that order:

    state-0007.pt      the whole training state           best-0005.pt     the weights of the best epoch so far
    epoch-0007.json    the metrics of every epoch so far, and the SHA-256 of both files

A manifest therefore vouches for complete files. The two newest checkpoints are kept, so that a damaged one
costs the epochs since the one before and not the trial.
"""

import hashlib
import io
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

import torch

from raytrain.storage import Folder

log = logging.getLogger(__name__)

KEPT = 2
_MANIFEST = re.compile(r"epoch-\d+\.json")


@dataclass(frozen=True)
class Checkpoint:
    """A trial as it was after an epoch.

    Attributes:
        epoch: Epochs done.
        state: What `TrainState.state_dict` returned.
        best: The weights of the best epoch, with its number under "epoch"; None when nothing selects one.
        history: Metrics of each epoch, in order; plain JSON values.
    """

    epoch: int
    state: dict[str, Any]
    best: dict[str, Any] | None
    history: list[dict[str, Any]]


def save(folder: Folder, saved: Checkpoint) -> None:
    """Write a checkpoint to `folder`, the trial's own, and remove all but the newest `KEPT`."""
    older = [_manifest(folder, name) for name in _manifests(folder)]
    known = {file: digest for manifest in older for file, digest in manifest.get("files", {}).values()}
    files = {"state": _write(folder, f"state-{saved.epoch:04d}.pt", saved.state)}
    if saved.best:
        name = f"best-{saved.best['epoch']:04d}.pt"
        files["best"] = (name, known[name]) if name in known else _write(folder, name, saved.best)
    manifest = {"epoch": saved.epoch, "files": files, "history": saved.history}
    folder.write(f"epoch-{saved.epoch:04d}.json", json.dumps(manifest).encode())
    _prune(folder)


def load(folder: Folder, *, device: torch.device) -> Checkpoint | None:
    """Return the newest checkpoint in `folder` whose files are whole, or None when there is none."""
    for name in _manifests(folder):
        manifest = _manifest(folder, name)
        try:
            contents = {kind: _verified(folder, *file) for kind, file in manifest["files"].items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s/%s cannot be used, going back to the one before: %s", folder, name, error)
            continue
        loaded = {
            kind: torch.load(io.BytesIO(content), map_location=device, weights_only=True)
            for kind, content in contents.items()
        }
        return Checkpoint(manifest["epoch"], loaded["state"], loaded.get("best"), manifest["history"])
    return None


def _write(folder: Folder, name: str, content: dict[str, Any]) -> tuple[str, str]:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    folder.write(name, buffer.getvalue())
    return name, hashlib.sha256(buffer.getbuffer()).hexdigest()


def _verified(folder: Folder, name: str, digest: str) -> bytes:
    # one flipped bit in a weight loads without an error, so the content is checked before it is used
    content = folder.read(name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{name} is damaged: its SHA-256 is not the one in its manifest")
    return content


def _manifests(folder: Folder) -> list[str]:
    return sorted(filter(_MANIFEST.fullmatch, folder.names()), reverse=True)


def _manifest(folder: Folder, name: str) -> dict[str, Any]:
    try:
        return json.loads(folder.read(name))
    except (OSError, ValueError):
        return {}


def _prune(folder: Folder) -> None:
    kept = set(_manifests(folder)[:KEPT])
    kept |= {file for name in list(kept) for file, _ in _manifest(folder, name).get("files", {}).values()}
    # manifests first: without its manifest a file is never loaded
    for name in sorted(set(folder.names()) - kept, key=lambda name: not name.endswith(".json")):
        folder.delete(name)
