"""Checkpoints of one trial: the training state after an epoch, and the best weights so far.

A checkpoint is its files and a manifest, written in that order:

    state-0007.pt      the whole training state           best-0005.pt     the weights of the best epoch so far
    epoch-0007.json    the metrics of every epoch so far, and the SHA-256 of both files and of itself

A manifest therefore vouches for complete files, also after a power failure: each is on the disk before the next is
written, and before an older one is removed. The two newest checkpoints are kept, so that a damaged one
costs the epochs since the one before and not the trial.
"""

import hashlib
import io
import json
import logging
import pickle
import re
from dataclasses import dataclass
from typing import Any

import torch

from raytrain.errors import StorageError
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

KEPT = 2
"""Number of checkpoints that are kept, the newest ones."""
_MANIFEST = re.compile(r"epoch-(\d+)\.json")
_OURS = re.compile(r"(state|best|epoch)-\d+\.(pt|json)(\.\d+\.part)?")


@dataclass(frozen=True)
class Checkpoint:
    """A trial as it was after an epoch.

    Attributes:
        epoch: Number of epochs done.
        state: The training state, as `TrainState.state_dict` returns it.
        best: The weights of the best epoch, with its number under "epoch"; None without a validation split.
        history: The metrics of each epoch so far, in order, as JSON values.
    """

    epoch: int
    state: dict[str, Any]
    best: dict[str, Any] | None
    history: list[dict[str, Any]]


def save(folder: Folder, saved: Checkpoint) -> None:
    """Write a checkpoint to `folder`, the trial's own, and remove all but the newest `KEPT` up to it.

    Those of later epochs go too: they were damaged, and the trial has been taken back to before them.

    Raises:
        StorageError: The storage does not answer; no file is then removed.
    """
    earlier = [name for epoch, name in _manifests(folder).items() if epoch < saved.epoch]
    known = dict(file for name in earlier for file in _files(folder, name))
    files = {"state": _write(folder, f"state-{saved.epoch:04d}.pt", saved.state)}
    if saved.best:
        name = f"best-{saved.best['epoch']:04d}.pt"
        files["best"] = (name, known[name]) if name in known else _write(folder, name, saved.best)
    manifest = {"epoch": saved.epoch, "files": files, "history": saved.history}
    content = json.dumps({"sha256": _sha256(json.dumps(manifest).encode()), **manifest})
    folder.write(f"epoch-{saved.epoch:04d}.json", content.encode(), durable=True)
    _prune(folder, newest=saved.epoch)


def load(folder: Folder, *, state_needed: bool = True) -> Checkpoint | None:
    """Return the newest checkpoint in `folder` whose files are whole, on the CPU, or None when there is none.

    On the CPU because what takes a state over copies it to its own device, except the counts of steps of Adam and
    AdamW: PyTorch leaves these where they are, and would wait for a GPU to read each of them at every step.

    Args:
        folder: The trial's own.
        state_needed: Whether the training state must be loaded; otherwise it is empty where PyTorch refuses to load it
            and there are weights of a best epoch.

    Raises:
        StorageError: The storage does not answer; whether there is a checkpoint is then not known.
        pickle.UnpicklingError: The training state holds something else than tensors and plain values.
    """
    for name in _manifests(folder).values():
        try:
            manifest = _manifest(folder, name)
            contents = {kind: _verified(folder, *file) for kind, file in manifest["files"].items()}
        except StorageError:
            raise
        except (OSError, ValueError) as error:
            log.warning("%s/%s cannot be used, going back to the one before: %s", folder, name, error)
            continue
        loaded: dict[str, dict[str, Any]] = {}
        for kind, content in contents.items():
            try:
                loaded[kind] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                if kind != "state" or state_needed or "best" not in contents:
                    raise
                loaded[kind] = {}
        return Checkpoint(manifest["epoch"], loaded["state"], loaded.get("best"), manifest["history"])
    return None


def newest_history(folder: Folder) -> list[dict[str, Any]]:
    """Return the metrics of each epoch up to the newest checkpoint in `folder` whose files are whole; none without one.

    Raises:
        StorageError: The storage does not answer.
    """
    for name in _manifests(folder).values():
        try:
            manifest = _manifest(folder, name)
            for file in manifest["files"].values():
                _verified(folder, *file)
        except StorageError:
            raise
        except (OSError, ValueError):
            continue
        return manifest["history"]
    return []


def newest_weights(folder: Folder) -> bytes | None:
    """Return the file with the weights of the newest checkpoint in `folder`, or None when there is none.

    The weights of its best epoch; without a validation split the training state, which has those of the last.

    Raises:
        StorageError: The storage does not answer.
    """
    for name in _manifests(folder).values():
        try:
            files = _manifest(folder, name)["files"]
            return _verified(folder, *files.get("best", files["state"]))
        except StorageError:
            raise
        except (OSError, ValueError):
            continue
    return None


def _write(folder: Folder, name: str, content: dict[str, Any]) -> tuple[str, str]:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    written = buffer.getvalue()
    folder.write(name, written, durable=True)
    return name, _sha256(written)


def _verified(folder: Folder, name: str, digest: str) -> bytes:
    # one flipped bit in a weight loads without an error, so the content is checked before it is used
    content = folder.read(name)
    if _sha256(content) != digest:
        raise ValueError(f"{name} is damaged: its SHA-256 is not the one in its manifest")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _manifests(folder: Folder) -> dict[int, str]:
    """Return the manifests' file names by epoch, newest first."""
    found = {int(match[1]): match[0] for match in map(_MANIFEST.fullmatch, folder.names()) if match}
    return dict(sorted(found.items(), reverse=True))


def _manifest(folder: Folder, name: str) -> dict[str, Any]:
    try:
        manifest = json.loads(folder.read(name))
    except RecursionError as error:
        raise ValueError("the manifest is damaged: it is nested too deeply") from error
    digest = manifest.pop("sha256", None) if isinstance(manifest, dict) else None
    if digest != _sha256(json.dumps(manifest).encode()):
        raise ValueError("the manifest is damaged: its SHA-256 is not the one in it")
    return manifest


def _files(folder: Folder, name: str) -> list[tuple[str, str]]:
    """Return the files that a manifest vouches for, each with its SHA-256; none when it is damaged.

    Raises:
        StorageError: The storage does not answer; what the manifest vouches for is then not known.
    """
    try:
        return [(file, digest) for file, digest in _manifest(folder, name)["files"].values()]
    except StorageError:
        raise
    except (OSError, ValueError):
        return []


def _prune(folder: Folder, *, newest: int) -> None:
    kept = set([name for epoch, name in _manifests(folder).items() if epoch <= newest][:KEPT])
    kept |= {file for name in list(kept) for file, _ in _files(folder, name)}
    # only what was written here: on NFS a file that another process still reads shows up as .nfs0123 and cannot go
    superfluous = set(filter(_OURS.fullmatch, folder.names())) - kept
    # manifests first: without its manifest a file is never loaded
    for name in sorted(superfluous, key=lambda name: not name.endswith(".json")):
        folder.delete(name)
