"""The id of a trial: words that a person can read, and at its end the digest of the recipe."""

from collections.abc import Iterable

_BETWEEN = "-"


def trial_id(words: Iterable[str], digest: str) -> str:
    """Return the id of a trial, from words that say what its recipe is and the digest of the recipe."""
    return _BETWEEN.join((*words, digest))


def trial_digest(trial: str) -> str:
    """Return the digest of a trial's recipe, eight hex digits, from the trial's id."""
    return trial.rpartition(_BETWEEN)[2]
