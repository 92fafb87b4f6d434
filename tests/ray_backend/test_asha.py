"""Tests of raytrain.ray_backend.asha: it decides as the rule does, and takes up decisions that are on record."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.utils.callback import _create_default_callbacks

from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.duration.costs import Costs
from raytrain.experiment.duration.order import Listed, PromotedFirst
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.ray_backend import tuner
from raytrain.ray_backend.asha import AshaScheduler, InOrder
from raytrain.ray_backend.recorder import NEEDED_BY_TUNE, Recorder, SilentProgress
from raytrain.ray_backend.watchdog import Watchdog
from raytrain.runs.folder import read_state
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder

pytestmark = pytest.mark.slow  # imports Ray Tune, which takes seconds


def tune_trial(name: str) -> Any:
    """Return what AshaScheduler looks at of a trial of Tune's: Ray's id and ours."""
    return SimpleNamespace(trial_id=f"ray-{name}", config={"job": {"trial_id": name}})


def rungs(recorded: dict[float, dict[str, float]] | None = None) -> Rungs:
    return Rungs(first=3, epochs=30, reduction_factor=3, recorded=recorded or {})


@pytest.mark.parametrize("seed", range(5))
def test_the_scheduler_and_the_rule_take_the_same_decisions_on_random_curves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rule, scheduler = rungs(), AshaScheduler(rungs())
    running = {f"t{number}": 0 for number in range(12)}
    trials = {name: tune_trial(name) for name in running}
    for trial in trials.values():
        scheduler.on_trial_add(None, trial)
    stops = 0
    while running:
        name = str(rng.choice(list(running)))
        running[name] += 1
        epoch, accuracy = running[name], float(rng.random())
        decision = rule.judge(name, epoch=epoch, quality=accuracy)
        action = scheduler.on_trial_result(None, trials[name], {"epoch": epoch, "quality": accuracy})
        assert scheduler.fetch_decision(name) == decision
        stopped = bool(decision and decision.stop)
        assert (action == "STOP") == stopped
        stops += stopped
        if stopped or epoch == 30:
            del running[name]
    assert stops > 0


def test_a_report_without_accuracy_is_not_judged() -> None:
    scheduler, trial = AshaScheduler(rungs()), tune_trial("a")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"message": {"kind": "end"}}) == "CONTINUE"
    assert scheduler.fetch_decision("a") is None


def test_decisions_on_record_raise_the_bar_for_later_trials() -> None:
    scheduler, trial = AshaScheduler(rungs({3.0: {"a": 0.8, "b": 0.9}})), tune_trial("c")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 3, "quality": 0.5}) == "STOP"


def test_without_a_record_the_first_to_arrive_goes_on() -> None:
    scheduler, trial = AshaScheduler(rungs()), tune_trial("c")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 3, "quality": 0.5}) == "CONTINUE"


def test_a_trial_that_was_judged_before_an_interruption_is_not_judged_at_that_rung_again() -> None:
    scheduler, trial = AshaScheduler(rungs({3.0: {"a": 0.4, "b": 0.9}})), tune_trial("a")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 4, "quality": 0.1}) == "CONTINUE"
    assert scheduler.fetch_decision("a") is None


def test_trials_start_in_the_order_in_which_they_were_added_and_ended_ones_are_not_looked_at() -> None:
    scheduler = InOrder()
    first, second, third = (SimpleNamespace(trial_id=name, status="PENDING") for name in ("c", "a", "b"))
    for trial in (first, second, third):
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    controller = SimpleNamespace(get_live_trials=lambda: {id(one): one for one in (third, second, first)}.values())
    assert scheduler.choose_trial_to_run(controller) is first
    first.status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is second
    first.status = "PENDING"  # its process has died
    assert scheduler.choose_trial_to_run(controller) is first
    for trial in (first, second, third):
        trial.status = "RUNNING"
    assert scheduler.choose_trial_to_run(controller) is None


def test_tune_lets_go_of_a_trial_when_the_next_one_has_ended() -> None:
    scheduler = InOrder()
    first, second, third = (Mock() for _ in "abc")
    controller = SimpleNamespace(_trials=[first, second, third], _stopped_trials=set())
    for trial, left in ((first, [first, second, third]), (third, [second, third]), (second, [second])):
        scheduler.on_trial_complete(controller, trial, {})
        assert controller._trials == left
        controller._stopped_trials.add(trial)
    assert controller._stopped_trials == {second}


def test_a_trial_that_tune_starts_again_after_its_end_is_not_let_go_of() -> None:
    scheduler = InOrder()
    again, other = Mock(), Mock()
    controller = SimpleNamespace(_trials=[again, other], _stopped_trials=set())
    scheduler.on_trial_complete(controller, again, {})
    again.is_finished.return_value = False  # its end met an error: Tune starts it once more
    scheduler.on_trial_complete(controller, other, {})
    assert controller._trials == [again, other]
    scheduler.on_trial_complete(controller, again, {})
    scheduler.on_trial_complete(controller, again, {})
    assert controller._trials == [again]
    scheduler.on_trial_complete(controller, Mock(), {})


PROMOTING = Experiment.model_validate(
    {
        "name": "tiny",
        "recipe": {"epochs": 9},
        "grid": {"lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
        "asha": {"mode": "promote", "grace_period": 1, "reduction_factor": 3},
    }
)


def reported(epoch: int, accuracy: float) -> dict[str, Any]:
    """Return what a trial's process reports to Tune."""
    seen = Evaluation(1.0, accuracy)
    final = FinalMetrics(9, seen, seen, seen, "fp32", "cpu") if epoch == 9 else None
    report = Report(EpochMetrics(epoch, 1.0, 0.5, seen, None, 0.1, 1.0), final)
    message = {"kind": "epoch", "report": report.as_dict(), "hosts": ["here"], "workers": 1}
    of_tunes = {"trial_id": "t", "training_iteration": epoch, "done": False, "config": {"job": {}}, "date": "today"}
    return {"message": message, "epoch": epoch} | of_tunes | ({} if final else {"quality": accuracy})


def tune(journal: RunJournal, quality: Mapping[str, float], *, slots: int) -> list[str]:
    """Do what Tune does with our searcher, scheduler and callback; return our ids as the trials start."""
    rungs = journal.state.rungs()
    assert isinstance(rungs, Promotion)
    search = tuner._Search(journal, rungs, lambda trial: tuner._job(journal, rungs, trial, scratch=""))
    done = {trial: journal.state.progress[trial.id].epoch for trial in journal.state.pending()}
    search.queue = PromotedFirst(done, rungs, new=Listed, running=search.running)
    scheduler = AshaScheduler(rungs)
    recorder = Recorder(journal, scheduler, Costs({}), Watchdog(timeout_s=60), workers=1)
    live: dict[str, Any] = {}
    starts: list[str] = []
    while True:
        while len(live) < slots and isinstance(suggested := search.suggest(f"tune-{len(starts)}"), dict):
            trial = SimpleNamespace(trial_id=f"tune-{len(starts)}", config=suggested)
            recorder.on_trial_start(0, [], trial)  # type: ignore[arg-type]
            live[trial.trial_id] = trial
            starts.append(suggested["job"]["trial_id"])
        if not live:
            assert suggested == tuner.Searcher.FINISHED
            return starts
        trial = live[next(iter(live))]
        job = trial.config["job"]
        for epoch in range(job["after_epoch"] + 1, job["until_epoch"] + 1):
            result = reported(epoch, quality[job["trial_id"]])
            assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"  # type: ignore[arg-type]
            recorder.on_trial_result(0, [], trial, result)  # type: ignore[arg-type]
            # Tune keeps what is left of a result: no recipe, and nothing that grows with the images
            assert set(result) <= NEEDED_BY_TUNE
        # Tune shows the newest result again when a trial's function has returned
        assert scheduler.on_trial_result(None, trial, result | {"done": True}) == "CONTINUE"  # type: ignore[arg-type]
        search.on_trial_complete(trial.trial_id, result)
        del live[trial.trial_id]


def test_under_promotion_a_trial_is_another_to_tune_each_time_that_it_goes_on(tmp_path: Path) -> None:
    trials = PROMOTING.trials()
    journal = RunJournal.open(Folder.at(tmp_path / "tiny"), PROMOTING, trials)
    journal.begin({trial.id: 1 for trial in trials})
    quality = dict(zip((trial.id for trial in trials), (0.1, 0.5, 0.2, 0.6, 0.3, 0.4), strict=True))
    starts = tune(journal, quality, slots=2)
    journal.close()
    best = trials[3].id
    assert starts.count(best) == 3
    assert journal.state.pending() == []
    ends = {result.trial: (result.status, result.epochs) for result in read_state(journal.folder).results()}
    assert ends[best] == ("finished", 9)
    # of six, the best two go on from the first rung, whoever else did so before them
    assert ends[trials[1].id] == ("paused", 3)
    assert {ends[trials[number].id][0] for number in (0, 2, 4, 5)} == {"paused"}
    judged = [(event["trial"], event["rung"]) for event in journal.state.events if event["event"] == "rung"]
    assert len(judged) == len({*judged}), "once at each rung"


def test_tune_prints_nothing_of_its_own_about_a_trial_and_keeps_none(capsys: pytest.CaptureFixture[str]) -> None:
    ours = SilentProgress()
    printing = [one for one in _create_default_callbacks([ours]) if isinstance(one, TrialProgressCallback)]
    assert printing == [ours], "Tune adds none of its own"
    before = repr(vars(ours))
    trial = SimpleNamespace(last_result={"done": True})
    ours.on_trial_result(0, [], trial, trial.last_result)
    ours.on_trial_complete(0, [], trial)
    ours.on_trial_error(0, [], trial)
    assert (capsys.readouterr().out, repr(vars(ours))) == ("", before)
