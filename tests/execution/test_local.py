"""Tests of raytrain.execution.local: whole experiments in this process, into a run folder on disk."""

from contextlib import nullcontext

import pytest
import torch

from raytrain.errors import PreflightError
from raytrain.execution import local
from raytrain.execution.backend import Work, open_backend, refuse_unsynchronisable
from raytrain.execution.local import LocalBackend
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Asha, Resources
from raytrain.models.architectures import ARCHITECTURES
from raytrain.runs.folder import read_state
from raytrain.runs.results import read_results
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training import trial
from raytrain.training.recipe import Recipe

RECIPE = Recipe(width=2, image_size=8, batch_size=16, lr=0.05, precision="fp32", epochs=3)


class Run:
    """An experiment in a folder, which can be opened again and gone on with."""

    def __init__(self, path, splits, *, recipe=RECIPE, **fields):
        self.folder = Folder.at(path)
        self.experiment = Experiment(name="run", recipe=recipe, **fields)
        self.trials = self.experiment.trials()
        self.splits = {one.recipe.data_key: splits for one in self.trials}

    def go(self, **how):
        run = RunJournal.open(self.folder, self.experiment, self.trials)
        run.begin({one.id: 1 for one in self.trials})
        try:
            LocalBackend(self.experiment.resources, **how).run_trials(run, self.splits)
        finally:
            run.close()
        return run

    def results(self):
        """Return the results on disk by the trials' order."""
        results = {result.trial: result for result in read_results(self.folder)}
        return [results.get(one.id) for one in self.trials]

    def rows(self, number=0):
        return list(read_lines(self.folder / "trials" / self.trials[number].id, "metrics.jsonl"))

    def events(self, kind):
        return [event for event in read_lines(self.folder, "events.jsonl") if event["event"] == kind]


@pytest.fixture(scope="module")
def splits(make_splits):
    return make_splits()


def without_seconds(row):
    return {key: value for key, value in row.items() if key != "seconds"}


def test_a_finished_trial_has_a_row_per_epoch_and_a_result(splits, tmp_path):
    run = Run(tmp_path, splits)
    run.go()
    (result,) = run.results()
    assert [row["epoch"] for row in run.rows()] == [1, 2, 3]
    assert (result.status, result.epochs, result.attempts) == ("finished", 3, 1)
    assert result.recipe == run.trials[0].recipe.model_dump(mode="json")
    best = max(run.rows(), key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert result.best_epoch == best["epoch"]
    assert (result.val_accuracy, result.val_loss) == (best["val_accuracy"], best["val_loss"])
    assert 0 <= result.test_accuracy <= 1


@pytest.mark.parametrize(
    ("select", "field", "sign", "rates"),
    [
        ("macro_f1", "val_macro_f1", 1, [0.05, 1e-9]),
        ("nll", "val_loss", -1, [0.05, 1e-9]),
        ("ece", "val_ece", -1, [1e-9, 0.05]),  # a network that has learnt nothing is rightly unsure
    ],
)
def test_asha_the_best_epoch_and_the_result_go_by_what_the_recipe_selects(splits, tmp_path, select, field, sign, rates):
    asha = Asha(grace_period=2, reduction_factor=2)
    recipe = RECIPE.replace(epochs=6, select=select)
    run = Run(tmp_path, splits, recipe=recipe, grid={"lr": rates}, asha=asha)
    run.go()
    first, second = run.results()
    assert (first.status, second.status, second.epochs) == ("finished", "stopped", 2)
    rungs = [(event["trial"], event["accuracy"]) for event in run.events("rung") if event["rung"] == 2]
    assert rungs == [(one.id, sign * run.rows(number)[1][field]) for number, one in enumerate(run.trials)]
    assert read_state(run.folder).results() == [first, second]
    for number, result in enumerate((first, second)):
        best = max(run.rows(number), key=lambda row: (sign * row[field], -row["val_loss"]))
        assert (result.best_epoch, getattr(result, field)) == (best["epoch"], best[field])


def test_bad_trials_are_rows_and_the_others_finish(splits, tmp_path, monkeypatch):
    def broken(num_classes, *, width):
        raise RuntimeError(f"out of memory\nfor {num_classes} classes and width {width}")

    monkeypatch.setitem(ARCHITECTURES, "resnet34", broken)
    run = Run(tmp_path, splits, include=[{"lr": 1e9}, {"arch": "resnet34"}, {"lr": 0.05}])
    run.go()
    diverged, failed, finished = run.results()
    assert (diverged.status, diverged.epochs) == ("diverged", 0)
    assert "not finite in epoch 1" in diverged.error
    assert failed.status == "failed"
    assert failed.error.startswith("out of memory: try a smaller batch_size")
    assert finished.status == "finished"
    error = (run.folder / "trials" / run.trials[1].id).read("error.txt").decode()
    assert "Traceback" in error
    assert "for 4 classes and width 2" in error


def test_a_trial_that_fails_is_tried_again_by_the_next_command_and_one_that_diverged_is_not(
    splits, tmp_path, monkeypatch
):
    run = Run(tmp_path, splits, include=[{"lr": 1e9}, {"arch": "resnet34"}])
    with monkeypatch.context() as patch:
        patch.setitem(ARCHITECTURES, "resnet34", lambda *_, **__: 1 / 0)
        run.go()
    assert [result.status for result in run.results()] == ["diverged", "failed"]
    run.go()
    assert [result.status for result in run.results()] == ["diverged", "finished"]
    assert [result.attempts for result in run.results()] == [1, 2]


def test_asha_stops_a_trial_that_is_behind_at_a_rung(splits, tmp_path):
    # the second does not learn; equal accuracies would let it go on
    asha = Asha(grace_period=2, reduction_factor=2)
    run = Run(tmp_path, splits, recipe=RECIPE.replace(epochs=6), grid={"lr": [0.05, 1e-9]}, asha=asha)
    run.go()
    first, second = run.results()
    assert (first.status, first.epochs) == ("finished", 6)
    assert (second.status, second.test_accuracy) == ("stopped", None)
    assert second.epochs in (2, 4)
    assert [row["epoch"] for row in run.rows(1)] == list(range(1, second.epochs + 1))
    decisions = [(event["rung"], event["stop"]) for event in run.events("rung")]
    assert decisions == [
        (2, False),
        (4, False),
        *((rung, rung == second.epochs) for rung in (2, 4)[: len(decisions) - 2]),
    ]
    assert decisions[-1][1]


def test_the_last_epoch_is_not_judged(splits, tmp_path):
    asha = Asha(grace_period=2, reduction_factor=2)
    run = Run(tmp_path, splits, include=[{"epochs": 3}, {"epochs": 2, "lr": 1e-9}], asha=asha)
    run.go()
    assert [result.status for result in run.results()] == ["finished", "finished"]
    assert [(event["trial"], event["rung"]) for event in run.events("rung")] == [(run.trials[0].id, 2)]


def test_settled_trials_are_not_run_again(splits, tmp_path):
    run = Run(tmp_path, splits)
    run.go()
    before = (run.results(), run.rows())
    assert run.go().state.pending() == []
    assert (run.results(), run.rows()) == before
    assert len(run.events("started")) == 1


@pytest.mark.parametrize("share", [0.0, float("inf")], ids=["last checkpoint older", "checkpoint after every epoch"])
def test_an_interrupted_run_goes_on_without_gaps_or_duplicates_to_the_same_numbers(
    splits, tmp_path, monkeypatch, share
):
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", share)
    recipe = RECIPE.replace(epochs=4)
    whole = Run(tmp_path / "whole", splits, recipe=recipe, seeds=(0, 1))
    whole.go()
    run = Run(tmp_path / "interrupted", splits, recipe=recipe, seeds=(0, 1))
    real = RunJournal.reported

    def interrupting(self, trial_id, report):
        real(self, trial_id, report)
        if report.metrics.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "reported", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run.go()
    before = run.rows()
    assert [row["epoch"] for row in before] == [1, 2]
    assert run.results() == [None, None]
    run.go()
    assert run.rows()[:2] == before  # even where they were trained again
    for number in range(2):
        assert list(map(without_seconds, run.rows(number))) == list(map(without_seconds, whole.rows(number)))
    for found, expected in zip(run.results(), whole.results(), strict=True):
        assert vars(found) | {"seconds": 0, "attempts": 0} == vars(expected) | {"seconds": 0, "attempts": 0}
    assert len(run.events("started")) == 3


def test_a_run_killed_between_its_last_row_and_its_result_ends_when_gone_on_with(splits, tmp_path, monkeypatch):
    run = Run(tmp_path, splits)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "_end", killed)
        with pytest.raises(KeyboardInterrupt):
            run.go()
    assert [row["epoch"] for row in run.rows()] == [1, 2, 3]
    run.go()
    assert [row["epoch"] for row in run.rows()] == [1, 2, 3]
    assert run.results()[0].status == "finished"


def test_an_asha_run_gone_on_with_remembers_who_was_judged(splits, tmp_path, monkeypatch):
    fields = {
        "recipe": RECIPE.replace(epochs=6),
        "grid": {"lr": [0.05, 1e-9]},
        "asha": Asha(grace_period=2, reduction_factor=2),
    }
    whole = Run(tmp_path / "whole", splits, **fields)
    whole.go()
    run = Run(tmp_path / "interrupted", splits, **fields)
    real = RunJournal.started

    def interrupting(self, trial_id, **arguments):
        if trial_id == run.trials[1].id:
            raise KeyboardInterrupt
        real(self, trial_id, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "started", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run.go()
    run.go()
    assert [(r.status, r.epochs) for r in run.results()] == [(r.status, r.epochs) for r in whole.results()]


ARCHITECTURES_LISTED = {
    "recipe": RECIPE.replace(epochs=6),
    "grid": {"arch": ["resnet34", "resnet9", "resnet18"], "lr": [0.1, 0.2]},
}


def starts(run):
    """Return the architecture of each trial, in the order in which they started first."""
    archs = {one.id: one.recipe.arch for one in run.trials}
    return [archs[one] for one in dict.fromkeys(event["trial"] for event in run.events("started"))]


def test_under_asha_the_cheap_trials_start_first_and_expensive_ones_are_compared_with_them(
    splits, tmp_path, train_as_said
):
    train_as_said(lambda recipe, _: {"resnet9": 0.5, "resnet18": 0.6, "resnet34": 0.4}[recipe.arch])
    run = Run(tmp_path, splits, **ARCHITECTURES_LISTED, asha=Asha(grace_period=2, reduction_factor=2))
    run.go()
    assert starts(run) == ["resnet9", "resnet9", "resnet18", "resnet18", "resnet34", "resnet34"]
    assert [(result.status, result.epochs) for result in run.results()[:2]] == [("stopped", 2)] * 2


def test_without_asha_trials_start_as_listed(splits, tmp_path, train_as_said):
    train_as_said(lambda *_: 0.5)
    run = Run(tmp_path, splits, **ARCHITECTURES_LISTED)
    run.go()
    assert starts(run) == [one.recipe.arch for one in run.trials]


@pytest.mark.parametrize("killed_at", [2, 5, 9, 14, 18, 22])
@pytest.mark.parametrize("mode", ["stop", "promote"])
def test_trials_of_several_lengths_that_were_interrupted_continue_in_their_order(
    splits, tmp_path, train_as_said, killed_at_event, mode, killed_at
):
    train_as_said(lambda recipe, epoch: {"resnet9": 0.5, "resnet18": 0.4, "resnet34": 0.6}[recipe.arch] * epoch / 7)
    fields = {**ARCHITECTURES_LISTED, "asha": Asha(mode=mode, grace_period=2, reduction_factor=2)}
    whole, run = Run(tmp_path / "whole", splits, **fields), Run(tmp_path / "run", splits, **fields)
    whole.go()
    with killed_at_event(killed_at), pytest.raises(KeyboardInterrupt):
        run.go()
    run.go()
    assert starts(run) == starts(whole)
    assert ends(run) == ends(whole)


PROMOTING = {
    "recipe": RECIPE.replace(epochs=6),
    "grid": {"lr": [1e-9, 2e-9, 0.05, 3e-9]},  # the third learns, and is not the first to come
    "asha": Asha(mode="promote", grace_period=2, reduction_factor=2),
}


@pytest.fixture(scope="module")
def promoted(splits, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("promoted"), splits, **PROMOTING)
    run.go()
    return run


def ends(run):
    """Return all that is known of each trial but how long it took and how often it was started."""
    return [vars(result) | {"seconds": 0, "attempts": 0} for result in read_state(run.folder).results()]


def test_under_promotion_the_best_goes_on_whoever_came_first_and_the_others_stay_paused(promoted):
    assert [(end["status"], end["epochs"]) for end in ends(promoted)] == [
        ("paused", 4),  # of the first two the better one, and at the end still the second of four
        ("paused", 2),
        ("finished", 6),
        ("paused", 2),
    ]
    assert all(event["pause"] and not event["stop"] for event in promoted.events("rung"))
    assert read_state(promoted.folder).pending() == []


def test_a_promoted_trial_goes_on_from_its_checkpoint_to_the_numbers_of_one_that_never_paused(
    promoted, splits, tmp_path
):
    starts = [event for event in promoted.events("started") if event["trial"] == promoted.trials[2].id]
    assert [(event["after_epoch"], event["attempt"]) for event in starts] == [(0, 1), (2, 1), (4, 1)]
    alone = Run(tmp_path, splits, recipe=PROMOTING["recipe"].replace(lr=0.05))
    alone.go()
    assert list(map(without_seconds, promoted.rows(2))) == list(map(without_seconds, alone.rows()))
    assert vars(promoted.results()[2]) | {"seconds": 0} == vars(alone.results()[0]) | {"seconds": 0}


def test_a_trial_pauses_with_a_checkpoint_even_where_they_are_rare(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", -1.0)
    trained = []
    real = trial.train

    def counting(recipe, state, data):
        for metrics in real(recipe, state, data):
            trained.append(metrics.epoch)
            yield metrics

    monkeypatch.setattr(trial, "train", counting)
    run = Run(tmp_path, splits, recipe=PROMOTING["recipe"], asha=PROMOTING["asha"])
    run.go()
    assert len(run.events("started")) == 3
    assert trained == [1, 2, 3, 4, 5, 6]  # none of them twice


def test_a_promoting_run_that_has_ended_trains_nothing_more(promoted):
    before = promoted.events("started")
    assert promoted.go().state.pending() == []
    assert promoted.events("started") == before


@pytest.mark.parametrize("killed_at", [3, 6, 7, 8, 11, 13, 16])
def test_a_promoting_run_killed_at_any_event_and_gone_on_with_ends_as_one_that_was_not(
    promoted, splits, tmp_path, killed_at_event, killed_at
):
    run = Run(tmp_path, splits, **PROMOTING)
    with killed_at_event(killed_at), pytest.raises(KeyboardInterrupt):
        run.go()
    run.go()
    assert ends(run) == ends(promoted)
    decisions, expected = (
        [(event["trial"], event["rung"], event["accuracy"]) for event in one.events("rung")] for one in (run, promoted)
    )
    assert decisions == expected


def test_where_the_trial_that_was_promoted_fails_the_next_best_finishes(splits, tmp_path, monkeypatch):
    run = Run(tmp_path, splits, **PROMOTING)
    real = RunJournal.checkpoints

    def failing(self, trial_id):
        if trial_id == run.trials[2].id and self.state.progress[trial_id].epoch:
            raise RuntimeError("out of luck")
        return real(self, trial_id)

    monkeypatch.setattr(RunJournal, "checkpoints", failing)
    run.go()
    statuses = [end["status"] for end in ends(run)]
    assert statuses == ["finished", "paused", "failed", "paused"]


def test_a_promoting_search_that_grows_promotes_by_the_trials_of_both(splits, tmp_path):
    run = Run(tmp_path, splits, **{**PROMOTING, "grid": {"lr": [1e-9, 2e-9]}})
    run.go()
    assert [end["status"] for end in ends(run)] == ["finished", "paused"]
    more = Run(tmp_path, splits, **PROMOTING)
    more.go()
    assert [(end["status"], end["epochs"]) for end in ends(more)] == [
        ("finished", 6),
        ("paused", 2),
        ("finished", 6),
        ("paused", 2),
    ]


@pytest.mark.parametrize(("named", "taken"), [(None, 1), (3, 3)])
def test_a_trial_takes_the_threads_of_its_quota_or_those_that_are_named(named, taken, splits, tmp_path, monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr("raytrain.training.devices.usable_cores", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS")
    run = Run(tmp_path, splits, recipe=RECIPE.replace(epochs=1))
    run.go(threads=named)
    assert [event["threads"] for event in run.events("finished")] == [taken]


def test_a_trial_takes_the_cores_of_its_resources_as_threads_unless_others_are_named(splits, tmp_path):
    torch.set_num_threads(2)
    resources = Resources(cpus_per_worker=3)
    run = Run(tmp_path / "one", splits, recipe=RECIPE.replace(epochs=1), resources=resources)
    run.go()
    named = Run(tmp_path / "two", splits, recipe=RECIPE.replace(epochs=1), resources=resources)
    named.go(threads=1)
    assert [event["threads"] for one in (run, named) for event in one.events("finished")] == [3, 1]
    assert LocalBackend(resources).cpus == 3
    assert LocalBackend(resources).description == "one after another, in this process, with 3 threads"


@pytest.mark.parametrize(
    ("gpus", "device", "priced", "placed"),
    [("auto", "cuda", 1.0, ""), (0, "cpu", 0.0, ", on the CPU"), (0.5, "cuda", 1.0, "")],
)
def test_what_is_measured_and_priced_is_the_device_that_trials_train_on(
    splits, tmp_path, monkeypatch, gpus, device, priced, placed
):
    measured, started = [], []

    def measure(*_, device, **__):
        measured.append(device.type)

    def prepare(device):
        started.append(device.type)
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "local_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(local, "measure_speed", measure)
    monkeypatch.setattr(local, "prepare", prepare)
    run = Run(tmp_path, splits, resources=Resources(gpus_per_worker=gpus))
    backend = LocalBackend(run.experiment.resources)
    backend.measure([RECIPE], run.splits)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert (measured, started, backend.gpus) == ([device], [device], priced)
    assert backend.description == f"one after another, in this process{placed}"


@pytest.mark.parametrize(
    ("resources", "warned"),
    [
        ({}, []),
        ({"gpus_per_worker": 0, "cpus_per_worker": 2, "max_concurrent": 4, "trainer": "local"}, []),
        ({"gpus_per_worker": 0.5}, ["gpus_per_worker is 0.5, and --local has no GPU here: trials train on the CPU"]),
        ({"cpus_per_worker": 64}, ["cpus_per_worker is 64, and this machine has 2 cores: they share them"]),
        ({"custom": {"bigmem": 1}}, ["resources.custom: without effect, because --local trains without Ray"]),
        (
            {"gpus_per_worker": 1, "accelerator_type": "A100", "custom": {"bigmem": 1}},
            ["gpus_per_worker is 1, and", "resources.accelerator_type, resources.custom: without effect"],
        ),
    ],
)
def test_resources_that_a_run_in_this_process_does_not_have_are_warned_of(
    tmp_path, monkeypatch, caplog, resources, warned
):
    monkeypatch.setattr(local, "local_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(local, "this_machine", lambda: {"CPU": 2.0, "GPU": 0.0})
    experiment = Experiment(name="x", resources=Resources(**resources))
    with open_backend(experiment, Work(Folder.at(tmp_path), trials=1, left=1), address=None, local=True):
        pass
    assert len(caplog.messages) == len(warned)
    for message, text in zip(caplog.messages, warned, strict=True):
        assert text in message


def test_a_worker_group_cannot_be_had_without_ray(tmp_path):
    experiment = Experiment(name="x", resources=Resources(trainer="workers"))
    work = Work(Folder.at(tmp_path), trials=1, left=1)
    with (
        pytest.raises(PreflightError, match=r"--local trains without Ray Train; leave --local out"),
        open_backend(experiment, work, address=None, local=True),
    ):
        pass


@pytest.mark.parametrize(("gpus", "workers", "refused"), [(0, 2, True), (1.0, 2, False), (0, 1, False)])
def test_sync_batchnorm_over_several_workers_needs_gpus(gpus, workers, refused):
    experiment = Experiment(name="x", grid={"sync_batchnorm": [False, True]}, resources=Resources(workers=workers))
    with pytest.raises(PreflightError, match="sync_batchnorm is true") if refused else nullcontext():
        refuse_unsynchronisable(experiment, gpus=gpus)
