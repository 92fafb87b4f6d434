"""Tests of benchmarks/replay.py: the methods that early stopping is compared with do what their papers and Ray say."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from raytrain.analysis.replay import Curve

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import replay

    return replay


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import stopping_methods

    return stopping_methods


def parallel(trials: int, epochs: int) -> dict[str, Curve]:
    """Return curves that never cross: t0 is the worst, the last one the best."""
    seconds = [float(epoch) for epoch in range(1, epochs + 1)]
    return {
        f"t{number}": Curve([number / 100 + epoch / 1000 for epoch in range(epochs)], seconds)
        for number in range(trials)
    }


def noisy(trials: int, epochs: int) -> dict[str, Curve]:
    draw = np.random.default_rng(1)
    return {
        f"t{number}": Curve(draw.uniform(size=epochs).tolist(), np.cumsum(draw.uniform(0.5, 2, epochs)).tolist())
        for number in range(trials)
    }


def test_rays_asha_with_one_bracket_stops_whom_our_stopping_asha_stops(methods: ModuleType):
    curves = noisy(20, 20)
    order = list(curves)
    for first, factor in ((1, 3), (2, 3), (3, 2)):
        ours = methods.stopping(first, factor)(curves, order, 4)
        rays = methods.ray_asha(first, factor, brackets=1)(curves, order, 4)
        assert ours.reached == rays.reached
        assert 0 < ours.epochs < 1


def test_hyperband_of_nine_epochs_races_nine_then_five_then_three(methods: ModuleType):
    curves = parallel(17, 9)
    # the brackets of R = 9 and eta = 3 are 9 trials from 1 epoch, 5 from 3 and 3 from 9
    found = methods.hyperband(3)(curves, [f"t{number}" for number in range(17)], 1).reached
    assert [found[f"t{number}"] for number in range(17)] == [1] * 6 + [3, 3, 9] + [3] * 4 + [9] + [9, 9, 9]


def test_median_stopping_needs_three_others_and_compares_the_best_so_far_with_their_running_means(methods: ModuleType):
    curves = {
        "a": Curve([0.1, 0.9, 0.9], [1, 2, 3]),
        "b": Curve([0.5] * 3, [1, 2, 3]),
        "c": Curve([0.6] * 3, [1, 2, 3]),
    }
    curves |= {"low": Curve([0.4, 0.45, 1.0], [1, 2, 3]), "high": Curve([0.1, 0.7, 0.7], [1, 2, 3])}
    found = methods.median(2)(curves, ["a", "b", "c", "low", "high"], 1).reached
    # the means of two epochs are 0.5, 0.5 and 0.6: their median is 0.5
    assert found == {"a": 3, "b": 3, "c": 3, "low": 2, "high": 3}


def test_of_random_trials_the_best_one_is_often_missed_and_of_all_never(replay: ModuleType, methods: ModuleType):
    drawn = replay.searches(parallel(10, 3), count=50, trials=10)
    half, everything = (replay.measured(methods.random_part(share), drawn, slots=1) for share in (0.5, 1.0))
    assert half["epochs"] == pytest.approx(0.5)
    assert 0.3 < half["missed"] < 0.7
    assert (everything["missed"], everything["epochs"]) == (0.0, 1.0)


def test_the_best_setting_spends_least_of_those_that_rarely_miss(replay: ModuleType):
    settings = {
        "cheap": {"missed": 0.3, "epochs": 0.2},
        "right": {"missed": 0.04, "epochs": 0.4},
        "dear": {"missed": 0.0, "epochs": 0.8},
    }
    assert replay.best_of(settings) == "right"
    assert replay.best_of({"cheap": settings["cheap"], "worse": {"missed": 0.5, "epochs": 0.1}}) == "cheap"


def test_the_picture_has_a_line_for_each_method(replay: ModuleType, methods: ModuleType, tmp_path: Path):
    settings = {name: {"x": {"epochs": 0.5, "mean regret": 0.1}} for name in methods.methods(27)}
    replay.draw_picture(settings, tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text()
    assert text.count('id="line2d') > len(settings)
