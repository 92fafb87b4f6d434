"""Warnings about the files of trials: one for each file, or one for all where thousands of trials are read."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

log = logging.getLogger(__name__)

NAMED = 3
"""Most trials that a warning names; as many warnings of one kind stand alone."""


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file of one trial.

    Attributes:
        alone: The whole warning, where it is about this trial alone.
        of: Beginning of a warning about several trials, such as "x/metrics.jsonl is damaged or missing in".
        trial: Id of the trial.
        why: What is wrong with it, such as "is missing".
        then: What follows from it, and what to do, as a sentence without its full stop.
    """

    alone: str
    of: str
    trial: str
    why: str
    then: str


_gathered: ContextVar[list[Damage] | None] = ContextVar("gathered", default=None)


def warn(damage: Damage) -> None:
    """Log a warning, now or at the end of the `warned_together` in which it is called."""
    gathered = _gathered.get()
    if gathered is None:
        log.warning("%s", damage.alone)
    else:
        gathered.append(damage)


@contextmanager
def warned_together() -> Generator[None]:
    """Have warnings that are alike and about more than `NAMED` trials logged as one, at the end of the context."""
    if _gathered.get() is not None:  # the outer one logs them
        yield
        return
    gathered: list[Damage] = []
    token = _gathered.set(gathered)
    try:
        yield
    finally:
        _gathered.reset(token)
        alike: dict[tuple[str, str], list[Damage]] = {}
        for damage in gathered:
            alike.setdefault((damage.of, damage.then), []).append(damage)
        for (of, then), damages in alike.items():
            if len(damages) <= NAMED:
                for damage in damages:
                    log.warning("%s", damage.alone)
                continue
            named = ", ".join(f"{one.trial} ({one.why.removeprefix('is ')})" for one in damages[:NAMED])
            log.warning(
                "%s %s trials: %s and %s more; %s", of, f"{len(damages):,}", named, f"{len(damages) - NAMED:,}", then
            )
