"""Sessions in which candidates are judged one after the other, each after each of its seeds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from raytrain.analysis.statistics.sequential import Differences, e_values, online_level
from raytrain.analysis.statistics.significance import ALPHA
from raytrain.comparison.judge import decide

CANDIDATES = 100
"""Candidates of a session."""


def first(shown: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Return after how many seeds something was shown first, along the last axis; one more than all if it was not."""
    return np.where(shown.any(axis=-1), shown.argmax(axis=-1) + 1, shown.shape[-1] + 1)


@dataclass(frozen=True)
class Sessions:
    """What came of sessions, each of `CANDIDATES` candidates.

    Attributes:
        kept: (sessions, candidates) bool, whether each was kept.
        seeds: (sessions, candidates) int, how many seeds each got.
    """

    kept: NDArray[np.bool_]
    seeds: NDArray[np.int_]


def judged(differences: Callable[[int], Differences], *, sessions: int, seeds: int, margin: float) -> Sessions:
    """Return what comes of sessions in which candidates are judged in order, each after each of its seeds.

    Args:
        differences: Differences of a candidate, by its position from 0, in all sessions: (sessions, seeds).
        sessions: Number of sessions.
        seeds: Most seeds of a candidate.
        margin: Smallest gain that matters, a fraction.
    """
    kept, used = np.zeros((sessions, CANDIDATES), bool), np.zeros((sessions, CANDIDATES), int)
    for candidate in range(CANDIDATES):
        found = differences(candidate)
        levels = np.array([online_level(candidate + 1, int(before)) for before in kept.sum(axis=1)])
        keep = first(e_values(found) >= 1 / levels[:, None])
        drop = first(e_values(-found, null=-margin) >= 1 / ALPHA)
        kept[:, candidate] = (keep <= seeds) & (keep <= drop)
        used[:, candidate] = np.minimum(np.minimum(keep, drop), seeds)
        session = candidate % sessions  # the decision of the command itself, on one of them
        one = Differences(found.values[session], found.floors[session])
        answer = decide(one, margin=margin, level=levels[session])
        assert (answer.answer == "keep") == kept[session, candidate]
        assert answer.seeds == used[session, candidate]
    return Sessions(kept, used)


def fixed_seeds(effect: float, level: float, *, power: float = 0.8) -> int:
    """Return the seeds of a paired t-test that finds an effect, in standard deviations of a difference."""
    seeds = 2
    while stats.nct.sf(stats.t.isf(level, seeds - 1), seeds - 1, effect * np.sqrt(seeds)) < power:
        seeds += 1
    return seeds
