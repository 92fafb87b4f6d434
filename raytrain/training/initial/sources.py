"""What a recipe's `init` names, and where the content of these weights comes from.

    none                                weights at random
    model.pth, RUN/TRIAL                as a file or an option says it
    model.pth@3f2a9c1b7d04              with the first digits of the content's SHA-256: the form that recipes keep
    pretrained                          the weights of the library that the network is from

A recipe keeps the digest, so a trial's identity covers the weights, and reading a recipe never reads a file.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrain.errors import ExperimentError, ModelError
from raytrain.storage.folder import Folder
from raytrain.storage.typed_path import is_a_file
from raytrain.training.trial_id import trial_digest
from raytrain.user_code.calls import name_of
from raytrain.user_code.source import path_from_here

NONE, PRETRAINED = "none", "pretrained"
LARGEST = 4 * 2**30
"""Largest size of a file of weights in bytes: its content is in memory once, and the weights twice."""
_DIGITS = 12
_WITH_DIGEST = re.compile(rf"(?P<name>.+)@(?P<digest>[0-9a-f]{{{_DIGITS}}})")


@dataclass(frozen=True)
class Source:
    """Where the content of weights is.

    Attributes:
        read: Function that returns it.
        path: File that it is; None for a trial of a run.
        run: Path or URI of the run folder of a trial; empty for a file.
    """

    read: Callable[[], bytes]
    path: Path | None = None
    run: str = ""


_SOURCES: dict[str, Source] = {}
"""Sources of the weights that this process was told of, by `stored_name`: the digest, where there is one."""


def canonical_init(given: object) -> object:
    """Return the value of `init` as a recipe keeps it.

    Raises:
        ValueError: It names weights that have not been read.
    """
    if not isinstance(given, str) or given in (NONE, PRETRAINED) or _WITH_DIGEST.fullmatch(given):
        return given
    raise ValueError(
        f"{given!r} names weights that have not been read; name them in an experiment file or with --set, or in Python "
        f"as raytrain.weights({given!r})"
    )


def weights_digest(init: str) -> str | None:
    """Return the digest in a recipe's `init`; None for `none` and `pretrained`."""
    match = _WITH_DIGEST.fullmatch(init)
    return match["digest"] if match else None


def source_of(init: str) -> Source | None:
    """Return the source of the weights that a recipe's `init` names, where this process was told of it."""
    return _SOURCES.get(weights_digest(init) or "")


def weights(name: str, *, folder: str | Path = ".") -> str:
    """Return the name of weights as a recipe's `init` takes it, in Python: with the digest of their content.

        recipe = raytrain.Recipe(init=raytrain.weights("model.pth"))

    Args:
        name: Path of a .pth or .safetensors file, or RUN/TRIAL.
        folder: Folder that paths are relative to.

    Raises:
        ExperimentError: There is no such file or trial, or it is too large.
    """
    if name in (NONE, PRETRAINED):
        return name
    match = _WITH_DIGEST.fullmatch(name)
    plain = match["name"] if match else name
    path = Path(folder) / plain
    if is_a_file(path):
        found = _known(path.name, _digest_of_file(path), Source(path.read_bytes, path))
    elif match and match["digest"] in _SOURCES:
        return name
    else:
        found = _of_trial(plain, Path(folder))
    if match and found != f"{found.rpartition('@')[0]}@{match['digest']}":
        raise ExperimentError(f"{name}: its content has another digest now, {found}; name it without a digest")
    return found


def weights_in(value: Any, *, folder: Path) -> Any:
    """Return a value of `init` in a file, a name or several, with the digest in each name.

    Raises:
        ExperimentError: There is no such file or trial, or it is too large.
    """
    if isinstance(value, str):
        return weights(value, folder=folder)
    if isinstance(value, list | tuple):
        return [weights_in(one, folder=folder) for one in value]
    if isinstance(value, dict):  # values with axes of their own
        return {weights_in(name, folder=folder): below for name, below in value.items()}
    return value


def stored_name(init: str, arch: str) -> str:
    """Return the name of the copy in a run folder.

    Args:
        init: The recipe's `init`, which is not `none`.
        arch: The recipe's `arch`, which pretrained weights depend on.
    """
    if digest := weights_digest(init):
        return digest
    plain = name_of(arch).replace(":", "-")
    return f"{PRETRAINED}-{plain}" + (f"-{sha256(arch.encode())[:8]}" if arch != name_of(arch) else "")


def remember_source(init: str, arch: str, source: Source) -> None:
    """Let this process read the weights that a recipe's `init` names from `source`.

    Args:
        init: The recipe's `init`, which is not `none`.
        arch: The recipe's `arch`, which pretrained weights depend on.
        source: Where their content is.
    """
    _SOURCES[stored_name(init, arch)] = source


def read_source(init: str, arch: str) -> bytes:
    """Return the content of the weights that a recipe starts from, from where this process was told that they are.

    Raises:
        ModelError: They are not there any more, or pretrained ones cannot be loaded.
    """
    source = _SOURCES.get(stored_name(init, arch))
    if init == PRETRAINED and source is None:
        from raytrain.models.pretrained import pretrained_weights
        from raytrain.models.weights import as_safetensors
        from raytrain.training.choices import ARCH_CHOICES

        return as_safetensors(pretrained_weights(*ARCH_CHOICES.parsed(arch)))
    if source is None:
        raise ModelError(f"init: {init}: the weights are not in the run folder; give the command again that began it")
    try:
        content = source.read()
    except OSError as error:
        raise ModelError(f"init: {init}: cannot be read: {error.strerror}") from error
    if not sha256(content).startswith(weights_digest(init) or ""):
        raise ModelError(f"init: {init}: was changed while the command began; give the command again")
    return content


def _of_trial(name: str, folder: Path) -> str:
    run, slash, trial = name.rstrip("/").rpartition("/")
    outs = [folder, Path(), os.environ.get("RAYTRAIN_OUT", "runs")]
    candidates = [run] if "://" in run or Path(run).is_absolute() else [f"{out}/{run}" for out in outs]
    found = next((one for one in candidates if Folder.at(one).exists("trials")), None) if slash and run else None
    if found is None:
        raise ExperimentError(
            f"there is no file {path_from_here(folder / name)}, and no run of that name; give a .pth or "
            ".safetensors file, RUN/TRIAL, pretrained or none"
        )
    trials = (Folder.at(found) / "trials").names()
    matching = [one for one in trials if one == trial] or [
        one for one in trials if one.startswith(trial) or trial_digest(one).startswith(trial)
    ]
    if len(matching) != 1:
        what = "several trials" if matching else "no trial"
        raise ExperimentError(
            f"{found} has {what} {trial!r}; give one of {', '.join(matching or trials) or 'none yet'}"
        )
    from raytrain.training.checkpoint import newest_weights  # imports PyTorch

    content = newest_weights(Folder.at(found) / "trials" / matching[0] / "checkpoint")
    if content is None:
        raise ExperimentError(f"the trial {matching[0]} of {found} has no checkpoint that can be read; give another")
    if len(content) > LARGEST:
        raise ExperimentError(_too_large(name, len(content)))
    label = f"{Folder.at(found).name}/{trial_digest(matching[0])}"
    return _known(label, sha256(content), Source(lambda: content, run=found))


def _known(name: str, sha256: str, source: Source) -> str:
    _SOURCES[sha256[:_DIGITS]] = source
    return f"{name}@{sha256[:_DIGITS]}"


def _digest_of_file(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ExperimentError(_too_large(str(path), size))
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ExperimentError(f"{path_from_here(path)}: cannot be read: {error.strerror}") from error


def _too_large(name: str, size: int) -> str:
    return (
        f"{name}: has {size / 2**30:.1f} GiB, more than the {LARGEST / 2**30:.0f} allowed for weights; "
        "save the state_dict alone, without the optimizer"
    )


def sha256(content: bytes) -> str:
    """Return the SHA-256 of content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
