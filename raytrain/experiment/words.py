"""What the words after `raytrain compare` are: an experiment, or architectures, for which no file is needed."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from raytrain.errors import ExperimentError, did_you_mean
from raytrain.experiment.shipped import SHIPPED
from raytrain.experiment.trial import short_name
from raytrain.models.architectures import ARCHITECTURES
from raytrain.models.libraries import LIBRARIES, library_model
from raytrain.storage.typed_path import is_there
from raytrain.user_code.calls import name_of
from raytrain.user_code.installed import installed
from raytrain.user_code.reference import reference_of

LONGEST_NAME = 64
"""Letters of the name of a run."""


def read_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the experiment that words are, or the architectures; of both there are none without words.

    A word is an experiment if it ends in .yaml, names a shipped experiment, or is the path of a file that is no Python.
    `resnet9` is a shipped experiment and an architecture: alone it is the experiment, beside architectures it is one.

    Raises:
        ExperimentError: There are both, or two experiments, or a word is neither.
    """
    if len(words) == 1 and _is_experiment(words[0]):
        return Path(words[0]), []
    for word in words:
        if not _is_architecture(word) and not _is_experiment(word):
            raise ExperimentError(_neither(word))
    if experiments := [word for word in words if not _is_architecture(word)]:
        others = ", ".join(word for word in words if word != experiments[0])
        raise ExperimentError(
            f"compare takes one experiment, or architectures; {experiments[0]} is an experiment, and {others} "
            f"{'are' if len(words) > 2 else 'is'} given beside it.\n"
            "Leave it out, and set fields with --set; or write the architectures into its grid: grid: {arch: [...]}."
        )
    if twice := [word for number, word in enumerate(words) if word in words[:number]]:
        raise ExperimentError(f"{twice[0]} is given twice; name each architecture once")
    return None, list(words)


def run_name(archs: Sequence[str], dataset: object = None) -> str:
    """Return the name of a run of some architectures, on a data set that is not the usual one.

    Args:
        archs: Architectures as they are typed.
        dataset: Value of the field; None for the usual one.
    """
    given = str(next(iter(dataset))) if isinstance(dataset, dict) else str(dataset or "")
    where = Path(given.rstrip("/").partition("#")[0]).name
    parts = [*map(short_name, archs), *(["on", where] if where else [])]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-._")
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}-{sha256(' '.join([*archs, given]).encode()).hexdigest()[:8]}"
    return name


def _is_experiment(word: str) -> bool:
    path = Path(word)
    named = word.endswith((".yaml", ".yml")) or word in SHIPPED
    return named or (is_there(path) and path.suffix != ".py" and not _is_architecture(word))


def _is_architecture(word: str) -> bool:
    name = name_of(word).strip()
    known = name in ARCHITECTURES or library_model(name) is not None or reference_of(name) is not None
    return known or any(one.name == name for one in installed("arch"))


def _neither(word: str) -> str:
    if word.endswith(".py"):
        return f"{word!r} is a file of code; say which class or function in it, such as {word}:MyNet"
    known = [*ARCHITECTURES, *SHIPPED, *sorted(path.name for path in Path().glob("*.yaml"))]
    libraries = ", ".join(f"{library}:NAME" for library in LIBRARIES)
    said = did_you_mean(name_of(word), known, most=3, shown=str) or (
        f"give a file that ends in .yaml, one of {', '.join(SHIPPED)}; or architectures: {', '.join(ARCHITECTURES)}, "
        f"{libraries}, my_net.py:MyNet"
    )
    return f"{word!r} is neither an experiment nor an architecture; {said}"
