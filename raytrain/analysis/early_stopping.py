"""A setting of ASHA for what one accepts to lose, chosen from complete learning curves.

The method is conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814). The curves are dealt out at random
into searches of as many trials as the new one has. Settings are tried from the most careful one on, in an order that
is fixed beforehand. A search is lost under a setting if this one, or a more careful one, has lost the best trial by
more than is accepted; so what is lost can only grow along the order, as the theorem asks. With m searches, of which a
share R is lost, the cheapest setting is taken for which (m R + 1) / (m + 1) is at most 1 - confidence.

Then the probability that a setting is chosen and the new search loses its best trial by more than is accepted is at
most 1 - confidence. Nothing is promised of the searches for which no setting is chosen; and where one is rarely chosen,
a larger share of the searches for which it is may lose more. The bound holds for any distribution of curves, if the new
search is like those that the curves make: its trials as if they had been drawn at random from the same many, and
started in random order, one at a time or all at once. With another number of slots a search may lose what it loses in
neither replay, and a grid in its listed order is no draw. The probability is one over records and new searches
together, not for one record.

Searches that share curves are not independent, so each curve is in one search only, and the number of curves limits
what can be promised: 1 / (m + 1) must be at most 1 - confidence, which takes 19 searches for 0.95.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from raytrain.analysis.arrivals import asha_search
from raytrain.analysis.replay import RULES, Curve, Mode

PATH = (
    (2, 2, None),
    (3, 2, 1),
    (4, 2, 1),
    (3, 3, 1),
    (4, 3, 1),
    (5, 3, 1),
    (6, 3, 1),
    (6, 2, None),
    (6, 3, None),
    (9, 3, None),
    (12, 3, None),
    (18, 4, None),
    (27, 4, None),
)
"""Settings from the most careful to the cheapest: the first rung as a divisor of the epochs, the reduction factor, and
the number of rungs, None for all.

Each is expected to run fewer epochs than the one before."""
ORDERS = 10
"""Orders of arrival in which each search is replayed."""
MOST_CURVES = 1000
"""Most curves that are replayed, where the confidence takes no more; of more, as many are drawn."""


@dataclass(frozen=True)
class Setting:
    """A setting of ASHA, and what it came to in replays.

    Attributes:
        first: Epoch of the first rung.
        factor: The reduction factor.
        rungs: Largest number of rungs; None for all below the last epoch.
        lost: Share of the replayed searches in which the best trial was lost by more than is accepted.
        epochs: Share of all epochs that were run.
    """

    first: int
    factor: int
    rungs: int | None
    lost: float
    epochs: float


@dataclass(frozen=True)
class Choice:
    """What learning curves say about the settings of ASHA.

    Attributes:
        setting: The cheapest setting that is careful enough; None where none is known to be.
        curves: Number of curves.
        searches: Number of searches that they make.
        needed: Number of searches that the confidence takes.
    """

    setting: Setting | None
    curves: int
    searches: int
    needed: int


def settings(epochs: int) -> list[tuple[int, int, int | None]]:
    """Return the first rung, reduction factor and number of rungs of each setting, in order, for trials so long."""
    found = [(math.ceil(epochs / divisor), factor, rungs) for divisor, factor, rungs in PATH]
    return list(dict.fromkeys(one for one in found if one[0] < epochs))


def searches_needed(confidence: float) -> int:
    """Return the least m with 1 / (m + 1) at most 1 - confidence."""
    return math.ceil(1 / (1 - confidence) - 1 - 1e-9)


def choose(
    curves: Sequence[Curve], *, trials: int, lose_at_most: float, confidence: float, mode: Mode = "stop", seed: int = 0
) -> Choice:
    """Return the cheapest setting of ASHA that loses the best trial of a search rarely enough.

    Args:
        curves: Complete learning curves of equal length.
        trials: Number of trials of the new search, at least 1.
        lose_at_most: Accuracy that may be lost, a fraction in [0, 1].
        confidence: 1 less the largest probability that a setting is chosen and loses more, in [0.5, 1).
        mode: Whether ASHA stops trials or has them pause and promotes the best.
        seed: Seed of how the curves are dealt out, and of the orders of arrival.
    """
    draw = np.random.default_rng(seed)
    needed = searches_needed(confidence)
    dealt = [curves[int(at)] for at in draw.permutation(len(curves))[: max(MOST_CURVES, needed * trials)]]
    sets = [
        {f"{number}": curve for number, curve in enumerate(dealt[start : start + trials])}
        for start in range(0, len(dealt) - trials + 1, trials)
    ]
    nothing = Choice(None, len(curves), len(sets), needed)
    if len(sets) < needed:
        return nothing
    orders = [[draw.permutation(list(one)).tolist() for _ in range(ORDERS)] for one in sets]
    lost = np.zeros((len(sets), ORDERS), dtype=bool)
    chosen: Setting | None = None
    for first, factor, rungs in settings(len(curves[0].accuracies)):
        epochs: list[float] = []
        for row, (one, some) in enumerate(zip(sets, orders, strict=True)):
            for column, order in enumerate(some):
                # how many run at a time is not known here: all at once and one by one are the ends
                rule = RULES[mode](first, len(curves[0].accuracies), factor, most=rungs)
                ends = [asha_search(one, deepcopy(rule), order=order, slots=slots) for slots in (1, trials)]
                lost[row, column] |= any(end.regret > lose_at_most + 1e-12 for end in ends)
                epochs += [end.epochs for end in ends]
        if lost.mean() * len(sets) + 1 > (1 - confidence) * (len(sets) + 1) + 1e-9:
            break
        chosen = Setting(first, factor, rungs, float(lost.mean()), fmean(epochs))
    return Choice(chosen, len(curves), len(sets), needed)


def brought_to(curve: Curve, epochs: int) -> Curve:
    """Return a curve with another number of epochs: after each share of the training, what it had there."""
    length = len(curve.accuracies)
    if length == epochs:
        return curve
    at = [max(1, epoch * length // epochs) - 1 for epoch in range(1, epochs + 1)]
    return Curve([curve.accuracies[one] for one in at], [curve.seconds[one] for one in at], curve.validated)
