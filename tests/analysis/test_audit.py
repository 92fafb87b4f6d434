"""Tests of raytrain.analysis.audit: replays against what is known of the student's curves, and a run's own record."""

from typing import Any

import pytest

from raytrain.analysis.audit import audit, rank_correlation
from raytrain.analysis.replay import Curve, curves_of_baseline, replay, replays
from raytrain.baselines.baselines import BaselineCurve, open_baseline
from raytrain.errors import ExperimentError
from raytrain.experiment.asha import Rungs
from raytrain.report.tables import stop_columns, summary
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


def students() -> dict[str, Curve]:
    curves = open_baseline("student").curves
    return {one.name: Curve([a for _, a in one.tested], one.seconds) for one in curves if len(one.epochs) == 200}


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_grace_period_of_10_keeps_only_resnet18_of_the_students_networks(factor: int) -> None:
    replayed = replay(students(), grace_period=10, reduction_factor=factor)
    assert replayed.kept == ["resnet18"]
    assert replayed.regret == pytest.approx(0.8523 - 0.8427)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_grace_period_of_50_loses_nothing(factor: int) -> None:
    replayed = replay(students(), grace_period=50, reduction_factor=factor)
    assert (replayed.regret, replayed.kept[0]) == (0.0, "resnet101")
    assert replayed.epochs_saved == pytest.approx(2 * 150 / 1000)


def logged(name: str, accuracies: dict[int, float | None]) -> BaselineCurve:
    """Return a curve whose epochs take ten seconds each."""
    epochs, nothing = tuple(accuracies), (None,) * len(accuracies)
    seconds = tuple(10.0 * epoch for epoch in epochs)
    return BaselineCurve(name, None, epochs, seconds, nothing, nothing, nothing, tuple(accuracies.values()))


def test_of_a_baseline_the_whole_curves_of_the_commonest_length_are_replayed() -> None:
    found = curves_of_baseline(
        [
            logged("untested", {1: None, 2: None}),
            logged("late", {2: 0.1, 3: 0.2}),
            logged("gap", {1: 0.1, 2: None, 3: 0.3}),
            logged("long", {1: 0.1, 2: 0.2, 3: 0.3}),
            logged("one", {1: 0.5, 2: 0.6}),
            logged("other", {1: 0.7, 2: 0.8, 3: None}),
        ],
        name="them",
    )
    assert found.replayed == {"one": Curve([0.5, 0.6], [10.0, 20.0]), "other": Curve([0.7, 0.8], [10.0, 20.0])}
    assert (found.epochs, found.of_other_length, found.with_gaps) == (2, ["long"], ["late", "gap"])


@pytest.mark.parametrize(
    ("accuracies", "lacking"), [({1: None}, "has a test accuracy"), ({2: 0.5}, "has the test accuracy of every epoch")]
)
def test_a_baseline_without_a_curve_that_can_be_replayed_is_refused_by_name(
    accuracies: dict[int, float | None], lacking: str
) -> None:
    with pytest.raises(ExperimentError, match=f"no curve of them {lacking}, which a replay needs; choose another"):
        curves_of_baseline([logged("one", accuracies)], name="them")


def test_a_replay_stops_below_the_quantile_of_those_who_came_before() -> None:
    curves = {
        "first": Curve([0.5, 0.5, 0.5, 0.5], [1, 2, 3, 4]),
        "second": Curve([0.6, 0.6, 0.6, 0.9], [1.1, 2.1, 3.1, 4.1]),
        "third": Curve([0.4, 0.7, 0.8, 0.95], [1.2, 2.2, 3.2, 4.2]),
    }
    replayed = replay(curves, grace_period=1, reduction_factor=2)
    # at epoch 1 the third needs the median of 0.5 and 0.6; at epoch 2 the second passes the first, who came before it
    assert dict(replayed.stopped) == {"third": 1}
    assert replayed.kept == ["second", "first"]
    assert replayed.regret == pytest.approx(0.05)
    assert replayed.epochs_saved == pytest.approx(3 / 12)
    assert replayed.seconds_saved == pytest.approx(3 / 12.3)


def test_a_validated_curve_reaches_its_best_epoch_as_the_table_judges_it_and_any_other_its_last() -> None:
    peaks_early, rises = [0.5, 0.9, 0.7], [0.6, 0.7, 0.8]
    for validated, regret in ((True, 0.9 - 0.8), (False, 0.0)):
        curves = {
            "rises": Curve(rises, [1.0, 2.0, 3.0], validated),
            "peaks": Curve(peaks_early, [1.1, 2.1, 3.1], validated),
        }
        replayed = replay(curves, grace_period=1, reduction_factor=2)
        assert replayed.kept == ["rises"]
        assert replayed.regret == pytest.approx(regret)


def test_settings_are_replayed_below_the_last_epoch_and_for_two_curves_or_more() -> None:
    curve = Curve([0.1] * 6, [float(second) for second in range(6)])
    assert replays({"a": curve}) == []
    made = replays({"a": curve, "b": curve})
    assert {one.grace_period for one in made} == {1, 2, 5}
    # one rung is another setting only where there would be more of them
    assert {(one.grace_period, one.reduction_factor) for one in made if one.rungs == 1} == {
        (1, 2),
        (1, 3),
        (1, 4),
        (2, 2),
    }


@pytest.mark.parametrize(
    ("own", "setting"),
    [
        (Rungs(3, 9, 3), (3, None, 3)),  # the default of 9 epochs: epoch 3, and the next rung would be the last epoch
        (Rungs(2, 9, 2.5, most=1), (2, 1, 2.5)),
        (Rungs(2, 9, 3, most=2), (2, None, 3)),  # there are no more than two
        (Rungs(1, 9, 2, most=2), (1, 2, 2)),
    ],
)
def test_the_setting_of_the_run_is_replayed_in_both_modes_and_marked(
    own: Rungs, setting: tuple[int, int | None, float]
) -> None:
    curve = Curve([0.1] * 9, [float(second) for second in range(9)])
    made = replays({"a": curve, "b": curve}, own)
    of_this_run = [(one.mode, one.grace_period, one.rungs, one.reduction_factor) for one in made if one.this_run]
    assert of_this_run == [("stop", *setting), ("promote", *setting)]
    all_settings = [(one.mode, one.grace_period, one.rungs, one.reduction_factor) for one in made]
    assert len(set(all_settings)) == len(made)
    without = {
        (one.mode, one.grace_period, one.rungs, one.reduction_factor) for one in replays({"a": curve, "b": curve})
    }
    assert set(all_settings) == without | set(of_this_run)


def test_a_first_rung_that_no_complete_trial_has_is_not_replayed() -> None:
    curve = Curve([0.1] * 3, [1.0, 2.0, 3.0])
    assert not any(one.this_run for one in replays({"a": curve, "b": curve}, Rungs(3, 9, 3)))


def test_the_rank_correlation_is_kendalls() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # five of the six pairs agree and one does not
    assert rank_correlation([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert rank_correlation([1, 1], [1, 2]) is None


def test_a_curve_needs_a_time_for_each_accuracy() -> None:
    with pytest.raises(ValueError, match="make no curve"):
        Curve([0.5], [])


def trial(
    name: str, status: str, *accuracies: float, phase: str = "search"
) -> tuple[TrialResult, list[dict[str, Any]]]:
    recipe = Recipe(epochs=4, lr=0.1).model_dump(mode="json")
    rows = [{"val_accuracy": accuracy, "test_accuracy": None, "seconds": 2.0} for accuracy in accuracies]
    result = TrialResult(name, status, recipe, 1, len(rows), seconds=2.0 * len(rows), phase=phase)  # type: ignore[arg-type]
    return result, rows


def rung(name: str, epoch: int, accuracy: float, cut: float | None, *, stop: bool) -> dict[str, Any]:
    return {
        "event": "rung",
        "trial": name,
        "epoch": epoch,
        "rung": epoch,
        "accuracy": accuracy,
        "cut": cut,
        "stop": stop,
    }


def test_a_run_is_audited_by_its_own_record() -> None:
    trials = {
        "a": trial("a", "finished", 0.3, 0.4, 0.6, 0.7),
        "b": trial("b", "stopped", 0.2),
        "c": trial("c", "finished", 0.25, 0.5, 0.7, 0.8),
        "d": trial("d", "finished", 0.5, 0.5, 0.6, 0.6),
        "e": trial("e", "finished", 0.9, 0.9, 0.9, 0.9, phase="confirm"),
    }
    events = [
        rung("a", 1, 0.3, None, stop=False),
        rung("b", 1, 0.2, 0.3, stop=True),
        rung("c", 1, 0.25, 0.3, stop=True),
        rung("d", 1, 0.5, 0.3, stop=False),
        {"event": "rescued", "trial": "c", "stopped_at": 1},
    ]
    results = [result for result, _ in trials.values()]
    audited = audit(results, {name: rows for name, (_, rows) in trials.items()}, events)
    stopped = {stop.trial: stop for stop in audited.stops}
    assert set(stopped) == {"b", "c"}
    assert stopped["b"].margin == pytest.approx(0.1)
    assert (stopped["b"].epochs_left, stopped["b"].seconds_left, stopped["b"].final) == (3, 6.0, None)
    assert (stopped["c"].rescued, stopped["c"].final) == (True, 0.8)
    assert (audited.epochs, audited.epochs_saved) == (16, 3)
    assert (audited.seconds, audited.seconds_saved) == (32.0, 6.0)
    assert audited.regret == pytest.approx(0.8 - 0.7)
    assert audited.complete == 3
    (only,) = audited.rungs
    assert (only.epoch, only.judged, only.stopped, only.compared) == (1, 4, 2, 3)
    # of a, c and d: at the rung d > a > c, at the end c > a > d
    assert only.tau == pytest.approx(-1)


def test_without_rescued_trials_nothing_is_said_of_regret() -> None:
    trials = {"a": trial("a", "finished", 0.3, 0.4, 0.6, 0.7), "b": trial("b", "stopped", 0.2)}
    events = [rung("a", 1, 0.3, None, stop=False), rung("b", 1, 0.2, 0.3, stop=True)]
    audited = audit([r for r, _ in trials.values()], {name: rows for name, (_, rows) in trials.items()}, events)
    assert audited.regret is None
    assert audited.replays == []


def test_a_replay_of_promotion_lets_the_best_of_a_rung_go_on_whoever_came_first() -> None:
    curves = {
        name: Curve([accuracy, accuracy, accuracy + 0.1, accuracy + 0.1], [at, at + 1, at + 2, at + 3])
        for at, (name, accuracy) in enumerate({"first": 0.1, "second": 0.2, "third": 0.3, "late": 0.4}.items(), start=1)
    }
    replayed = replay(curves, grace_period=2, reduction_factor=4, mode="promote")
    assert replayed.kept == ["late"]
    assert dict(replayed.stopped) == {"first": 2, "second": 2, "third": 2}
    assert (replayed.regret, replayed.epochs_saved) == (0.0, pytest.approx(6 / 16))
    stopping = replay(curves, grace_period=2, reduction_factor=4)
    assert len(stopping.kept) == 4  # each was better than those before it


def test_promotion_keeps_one_of_fewer_trials_than_the_reduction_factor() -> None:
    curves = {name: Curve([accuracy] * 4, [1.0, 2.0, 3.0, 4.0]) for name, accuracy in (("a", 0.5), ("b", 0.6))}
    replayed = replay(curves, grace_period=1, reduction_factor=3, mode="promote")
    assert (replayed.kept, dict(replayed.stopped)) == (["b"], {"a": 1})


def test_every_setting_is_replayed_in_both_modes() -> None:
    curve = Curve([0.1] * 3, [1.0, 2.0, 3.0])
    made = replays({"a": curve, "b": curve})
    assert {(one.mode, one.grace_period) for one in made} == {(m, g) for m in ("stop", "promote") for g in (1, 2)}


def test_paused_trials_are_audited_by_the_cut_that_their_rung_came_to() -> None:
    trials = {
        "a": trial("a", "paused", 0.3),
        "b": trial("b", "paused", 0.5, 0.55),
        "c": trial("c", "finished", 0.6, 0.7, 0.7, 0.7),
    }
    events: list[dict[str, Any]] = [
        {**rung(name, epoch, accuracy, None, stop=False), "pause": True}
        for name, epoch, accuracy in (("a", 1, 0.3), ("b", 1, 0.5), ("b", 2, 0.55), ("c", 1, 0.6), ("c", 2, 0.7))
    ]
    audited = audit([r for r, _ in trials.values()], {name: rows for name, (_, rows) in trials.items()}, events)
    assert audited.mode == "promote"
    assert [(stop.trial, stop.rung, stop.cut, stop.epochs_left) for stop in audited.stops] == [
        ("a", 1, 0.5, 3),
        ("b", 2, 0.7, 2),
    ]
    assert [(one.epoch, one.judged, one.stopped) for one in audited.rungs] == [(1, 3, 1), (2, 2, 1)]
    assert audited.epochs_saved == 5
    assert summary(audited) == [
        "ASHA left 2 trials paused and saved 5 of 12 epochs (42%), an estimated 10 of 24 seconds (42%) of training.",
        "What that cost was not measured; asha: {rescue: 2} runs the two best paused trials to the end.",
    ]


def test_a_rescued_trial_has_saved_nothing_and_is_counted_once_it_has_come_to_its_end() -> None:
    trials = {
        "a": trial("a", "finished", 0.5, 0.6, 0.7, 0.8),
        "b": trial("b", "finished", 0.2, 0.3, 0.4, 0.5),
        "c": trial("c", "unfinished", 0.1, 0.2),
        "d": trial("d", "stopped", 0.3),
    }
    events = [rung(name, 1, 0.2, 0.4, stop=True) for name in "bcd"]
    events += [{"event": "rescued", "trial": name, "stopped_at": 1} for name in "bc"]
    found = audit([result for result, _ in trials.values()], {name: rows for name, (_, rows) in trials.items()}, events)
    columns = stop_columns(found)
    assert (columns["trial"], columns["epochs saved"]) == (["b", "c", "d"], ["–", "–", "3"])
    assert columns["seconds saved"] == ["–", "–", "6.0"]
    assert columns["rescued"][1] == "run on, unfinished"
    assert any(sentence.startswith("1 stopped trial was run to the end") for sentence in summary(found))
