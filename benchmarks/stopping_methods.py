"""Methods of early stopping, and their settings, as benchmarks/replay.py replays them on complete learning curves.

Ray's ASHA is Ray's own class; the other methods are written down here, or are those of raytrain.
"""

import math
import statistics
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raytrain.analysis.arrivals import Search, asha_search, search
from raytrain.analysis.replay import Curve
from raytrain.experiment.asha import Decision, Promotion, Rungs, rungs_between

FACTORS = (2, 3, 4)
ONE_RUNG_FACTORS = (2, 2.5, 3, 3.5, 4)
"""Reduction factors of ASHA with its first rung alone."""
Curves = Mapping[str, Curve]
Method = Callable[[Curves, Sequence[str], int], Search]
"""Function of curves, the order in which they start, and the number of slots."""


def longest(curves: Curves) -> int:
    """Return the epochs of the longest curve."""
    return max(len(curve.accuracies) for curve in curves.values())


def stopping(first: int, factor: float, *, most: int | None = None) -> Method:
    return lambda curves, order, slots: asha_search(
        curves, Rungs(first, longest(curves), factor, most=most), order=order, slots=slots
    )


def promotion(first: int, factor: float, *, most: int | None = None) -> Method:
    return lambda curves, order, slots: asha_search(
        curves, Promotion(first, longest(curves), factor, most=most), order=order, slots=slots
    )


class RayAsha:
    """Ray's AsyncHyperBandScheduler as a rule.

    A trial's bracket is chosen by NumPy's global generator, which is seeded by the order of the trials.
    """

    def __init__(self, first: int, epochs: int, factor: float, *, brackets: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="accuracy",
            mode="max",
            max_t=epochs,
            grace_period=first,
            reduction_factor=factor,
            brackets=brackets,
        )
        self._trials: dict[str, Any] = {}
        # a bracket leaves the first ones out
        self.at = [math.ceil(rung) for rung in rungs_between(first, epochs=epochs, reduction_factor=factor)]

    def judge(self, trial: str, *, epoch: int, quality: float) -> Decision | None:
        if trial not in self._trials:
            self._trials[trial] = type("Named", (), {"trial_id": trial})()
            self._scheduler.on_trial_add(None, self._trials[trial])  # type: ignore[arg-type]
        action = self._scheduler.on_trial_result(
            None,  # type: ignore[arg-type]
            self._trials[trial],
            {"epoch": epoch, "accuracy": quality},
        )
        return Decision(epoch, quality, None, stop=action == "STOP")


def ray_asha(first: int, factor: float, *, brackets: int) -> Method:
    def replayed(curves: Curves, order: Sequence[str], slots: int) -> Search:
        np.random.seed(zlib.crc32(" ".join(order).encode()))  # noqa: NPY002 (Ray draws from it)
        rule = RayAsha(first, longest(curves), factor, brackets=brackets)
        return search(curves, rule, at=rule.at, order=order, slots=slots)

    return replayed


class MedianRule:
    """Stops a trial whose best accuracy so far is below the median of the others' running means (Golovin et al. 2017).

    Until three others have come to an epoch, nobody is stopped there, as in Ray's MedianStoppingRule.
    """

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._means: defaultdict[int, dict[str, float]] = defaultdict(dict)

    def judge(self, trial: str, *, epoch: int, quality: float) -> Decision | None:
        so_far = self._curves[trial].accuracies[:epoch]
        others = list(self._means[epoch].values())
        self._means[epoch][trial] = statistics.fmean(so_far)
        cut = statistics.median(others) if len(others) >= 3 else None
        return Decision(epoch, quality, cut, stop=cut is not None and max(so_far) < cut)


def median(grace: int) -> Method:
    def replayed(curves: Curves, order: Sequence[str], slots: int) -> Search:
        at = range(grace, longest(curves))
        return search(curves, MedianRule(curves), at=at, order=order, slots=slots)

    return replayed


def hyperband(factor: int) -> Method:
    """Return Hyperband (Li et al. 2018, arXiv:1603.06560): brackets of successive halving, until no trial is left.

    Of its brackets the most aggressive one comes first. The last one has as many trials as are left.
    """

    def replayed(curves: Curves, order: Sequence[str], slots: int) -> Search:
        del slots  # a rung waits for all its trials, so their order does not matter
        epochs = longest(curves)
        most = int(math.log(epochs) / math.log(factor) + 1e-9)
        reached: dict[str, int] = {}
        left = list(order)
        while left:
            for bracket in range(most, -1, -1):
                size = math.ceil((most + 1) / (bracket + 1) * factor**bracket)
                racing, left = left[:size], left[size:]
                for rung in range(bracket + 1):
                    to = min(epochs, math.ceil(epochs / factor ** (bracket - rung)))
                    reached |= dict.fromkeys(racing, to)
                    best = sorted(racing, key=lambda name, to=to: -curves[name].accuracies[to - 1])
                    racing = best[: max(1, len(racing) // factor)]
        return Search.of(curves, reached)

    return replayed


def random_part(share: float) -> Method:
    def replayed(curves: Curves, order: Sequence[str], slots: int) -> Search:
        del slots
        ran = max(1, round(share * len(order)))
        return Search.of(curves, {name: len(curves[name].accuracies) * (at < ran) for at, name in enumerate(order)})

    return replayed


def methods(epochs: int) -> dict[str, dict[str, Method]]:
    """Return every setting of every method, by the names of both."""
    firsts = [first for first in (1, 2, 3, 5, 9, 13, 25, 50) if first <= epochs / 2]
    asha = [(f"r = {first}, η = {factor}", first, factor) for first in firsts for factor in FACTORS]
    one_rung = [(f"r = {first}, η = {factor:g}", first, factor) for first in firsts for factor in ONE_RUNG_FACTORS]
    return {
        "ASHA that stops": {name: stopping(*setting) for name, *setting in asha},
        "ASHA that promotes": {name: promotion(*setting) for name, *setting in asha},
        "ASHA that stops, one rung": {name: stopping(*setting, most=1) for name, *setting in one_rung},
        "ASHA that promotes, one rung": {name: promotion(*setting, most=1) for name, *setting in one_rung},
        "Ray's ASHA": {name: ray_asha(*setting, brackets=1) for name, *setting in asha},
        "Ray's ASHA, 3 brackets": {name: ray_asha(*setting, brackets=3) for name, *setting in asha},
        "Hyperband": {f"η = {factor}": hyperband(factor) for factor in FACTORS},
        "median stopping": {f"from epoch {grace}": median(grace) for grace in firsts},
        "random": {f"{share:.0%} of the trials": random_part(share) for share in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)},
    }
