"""Tests of training.trial: going on from a checkpoint, the best epoch, the last measurement, the progress shown."""

import copy
import dataclasses
import itertools
import json
import threading
import time

import pytest
import torch

from raytrain.errors import DivergenceError
from raytrain.metrics.predictions import Predictions
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint, evaluation, loop, state, trial
from raytrain.training.evaluation import Evaluation, evaluate, predict
from raytrain.training.recipe import Recipe
from raytrain.training.trial import Report, TrialRun

CPU = torch.device("cpu")
RECIPE = Recipe(width=2, image_size=8, batch_size=16, lr=0.05, precision="fp32", epochs=4)


@pytest.fixture
def data(make_data):
    return make_data()


@pytest.fixture
def always_saved(monkeypatch):
    """Write a checkpoint after every epoch, however long that takes."""
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", float("inf"))


def trial_run(data, folder, recipe=RECIPE):
    return TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(folder))


def without_seconds(reports):
    return [dataclasses.replace(r, metrics=dataclasses.replace(r.metrics, seconds=0.0)) for r in reports]


def epochs_of(reports):
    return [report.metrics.epoch for report in reports]


def script_validation(monkeypatch, accuracies_and_losses):
    """Let the validation of each epoch come out as given; a model that is resumed goes on in the list."""

    def scripted(state, *_, **_detailed):
        accuracy, loss = accuracies_and_losses[state.epoch]
        return Evaluation(loss, accuracy)

    monkeypatch.setattr(loop, "_evaluate_split", scripted)


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("killed_after", [1, 2, 3])
@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "mix": "mixup", "augment": ["crop"]}], ids=["plain", "all"])
def test_a_killed_trial_goes_on_from_its_checkpoint_as_if_it_had_not_been(data, tmp_path, killed_after, changes):
    recipe = RECIPE.replace(**changes)
    expected = without_seconds(trial_run(data, tmp_path / "straight", recipe).reports())
    first = without_seconds(itertools.islice(trial_run(data, tmp_path / "killed", recipe).reports(), killed_after))
    resumed = trial_run(data, tmp_path / "killed", recipe)
    assert resumed.state.epoch == killed_after
    assert first + without_seconds(resumed.reports(after=killed_after)) == expected


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_the_counts_of_steps_stay_on_the_cpu_and_the_moments_are_on_the_device(data, tmp_path):
    recipe = RECIPE.replace(optimizer="adam", epochs=1)
    list(trial_run(data, tmp_path, recipe).reports())
    resumed = TrialRun(recipe, data=data, device=torch.device("meta"), checkpoints=Folder.at(tmp_path))
    kept = resumed.state.optimizer.state.values()
    assert {one["step"].device.type for one in kept} == {"cpu"}  # Adam reads each at every step
    assert {one["exp_avg"].device.type for one in kept} == {"meta"}


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize(("begun", "here"), [("bf16", "fp32"), ("fp16", "bf16")])
def test_a_trial_goes_on_in_the_precision_that_auto_was_where_it_began(
    data, tmp_path, monkeypatch, caplog, begun, here
):
    recipe = RECIPE.replace(precision="auto")

    def auto_is(precision):
        for module in (trial, state):
            monkeypatch.setattr(module, "choose_precision", lambda named, _: precision if named == "auto" else named)

    auto_is(begun)
    expected = without_seconds(trial_run(data, tmp_path / "straight", recipe).reports())
    first = without_seconds(itertools.islice(trial_run(data, tmp_path / "moved", recipe).reports(), 2))
    assert caplog.text == ""
    auto_is(here)
    moved = trial_run(data, tmp_path / "moved", recipe)
    assert f"began in {begun} on another machine" in caplog.text
    assert f"auto would be {here} here" in caplog.text
    assert first + without_seconds(moved.reports(after=2)) == expected
    assert expected[-1].final.precision == begun
    assert moved.recipe == recipe


@pytest.mark.usefixtures("always_saved")
def test_epochs_that_the_checkpoint_remembers_are_reported_again_unless_told_to_be_skipped(data, tmp_path):
    list(itertools.islice(trial_run(data, tmp_path).reports(), 3))
    for after in range(4):
        again = list(itertools.islice(trial_run(data, tmp_path).reports(after=after), 3 - after))
        assert epochs_of(again) == list(range(after + 1, 4))
        assert all(report.final is None for report in again)


@pytest.mark.usefixtures("always_saved")
def test_remembered_reports_equal_those_first_given_to_the_second(data, tmp_path):
    first = list(itertools.islice(trial_run(data, tmp_path).reports(), 3))
    assert list(itertools.islice(trial_run(data, tmp_path).reports(), 3)) == first


def test_epochs_trained_again_are_not_reported_again(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", 0.0)  # after the first and the last epoch only
    first = without_seconds(itertools.islice(trial_run(data, tmp_path).reports(), 3))
    resumed = trial_run(data, tmp_path)
    assert resumed.state.epoch == 1
    assert epochs_of(resumed.reports(after=3)) == [4]
    again = without_seconds(itertools.islice(trial_run(data, tmp_path).reports(), 3))
    assert again == first


def test_the_last_report_comes_even_after_it_was_seen_as_only_it_has_the_final_metrics(data, tmp_path):
    expected = list(trial_run(data, tmp_path).reports())[-1]
    assert list(trial_run(data, tmp_path).reports(after=4)) == [expected]


def test_a_report_comes_after_its_checkpoint(data, tmp_path):
    for report in trial_run(data, tmp_path).reports():
        if report.metrics.epoch in (1, 4):
            assert checkpoint.load(Folder.at(tmp_path)).epoch == report.metrics.epoch


@pytest.mark.parametrize(("share", "saved"), [(0.0, [1, 4]), (float("inf"), [1, 2, 3, 4])])
def test_checkpoints_take_no_more_than_their_share_of_the_time(data, tmp_path, monkeypatch, share, saved):
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", share)
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda _, content: written.append(content.epoch))
    list(trial_run(data, tmp_path).reports())
    assert written == saved


def test_what_is_about_to_be_ended_from_outside_saves_each_epoch_whatever_that_takes(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", 0.0)
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda _, content: written.append(content.epoch))
    answers = iter([False, False, True, False])  # one for each epoch
    list(trial_run(data, tmp_path).reports(ends_soon=lambda: next(answers)))
    assert written == [1, 3, 4]  # without it: 1 and 4


def test_only_the_last_report_is_final(data, tmp_path):
    reports = list(trial_run(data, tmp_path).reports())
    assert [report.final is not None for report in reports] == [False, False, False, True]
    assert (reports[-1].final.precision, reports[-1].final.device) == ("fp32", "cpu")


BESTS = {
    "the highest accuracy": ([(0.1, 1.0), (0.6, 1.0), (0.3, 0.1), (0.5, 0.1)], 2),
    "of a tie the lowest loss": ([(0.6, 2.0), (0.6, 1.0), (0.6, 1.5), (0.1, 0.1)], 2),
    "of a full tie the first": ([(0.6, 1.0), (0.6, 1.0), (0.6, 1.0), (0.6, 1.0)], 1),
    "the last": ([(0.1, 1.0), (0.2, 1.0), (0.3, 1.0), (0.4, 1.0)], 4),
}


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(("validation", "best"), BESTS.values(), ids=BESTS)
def test_the_final_metrics_are_of_the_weights_of_the_best_epoch(data, tmp_path, monkeypatch, validation, best, killed):
    script_validation(monkeypatch, validation)
    run = trial_run(data, tmp_path / "straight")
    models = {}
    for report in run.reports():
        models[report.metrics.epoch] = copy.deepcopy(run.state.model)
    if killed:
        list(itertools.islice(trial_run(data, tmp_path / "killed").reports(), 3))
        *_, report = trial_run(data, tmp_path / "killed").reports()
    final = report.final
    assert final.epoch == best
    accuracy, loss = validation[best - 1]
    assert final.val == Evaluation(loss, accuracy)  # measured after that epoch, and not again
    for name, split in (("train", data.train), ("test", data.test)):
        assert getattr(final, name) == evaluate(models[best], split, data=data, precision="fp32")
        if best != 4:
            assert getattr(final, name) != evaluate(models[4], split, data=data, precision="fp32")


@pytest.mark.usefixtures("always_saved")
@pytest.mark.parametrize("killed", [False, True])
def test_a_network_that_asks_for_the_versions_of_its_modules_is_measured_with_its_best_weights(
    data, tmp_path, monkeypatch, versioned, killed
):
    monkeypatch.setattr(Recipe, "build_network", lambda _, classes: versioned(classes))
    validation, best = BESTS["the highest accuracy"]
    script_validation(monkeypatch, validation)
    if killed:
        list(itertools.islice(trial_run(data, tmp_path).reports(), 3))
    *_, report = trial_run(data, tmp_path).reports()
    assert report.final.epoch == best != 4


def test_measuring_the_best_leaves_the_last_weights_in_the_state(data, tmp_path, monkeypatch):
    script_validation(monkeypatch, BESTS["the highest accuracy"][0])
    run = trial_run(data, tmp_path)
    list(run.reports())
    saved = checkpoint.load(Folder.at(tmp_path))
    for name, tensor in run.state.model.state_dict().items():
        assert torch.equal(tensor, saved.state["model"][name])
    assert any(not torch.equal(t, saved.state["model"][n]) for n, t in saved.best["weights"].items())


def test_with_a_moving_average_the_best_weights_are_averages(data, tmp_path, monkeypatch):
    script_validation(monkeypatch, BESTS["the highest accuracy"][0])
    run = trial_run(data, tmp_path, RECIPE.replace(ema_decay=0.8))
    for report in run.reports():
        if report.metrics.epoch == 2:
            average = copy.deepcopy(run.state.ema.module)
    assert report.final.test == evaluate(average, data.test, data=data, precision="fp32")


def test_without_a_validation_split_the_last_epoch_is_measured(make_data, tmp_path):
    data = make_data(val=0)
    run = trial_run(data, tmp_path)
    final = list(run.reports())[-1].final
    assert final.epoch == 4
    assert final.val is None
    assert final.test == evaluate(run.state.model, data.test, data=data, precision="fp32")
    assert checkpoint.load(Folder.at(tmp_path)).best is None


def test_the_test_set_is_read_once(data, tmp_path, monkeypatch):
    evaluated = []

    def counting(measure):
        def counted(model, images, **arguments):
            evaluated.append(images is data.test)
            return measure(model, images, **arguments)

        return counted

    monkeypatch.setattr(loop, "evaluate", counting(evaluate))
    monkeypatch.setattr(trial, "evaluate", counting(evaluate))
    monkeypatch.setattr(trial, "predict", counting(predict))
    list(trial_run(data, tmp_path).reports())
    assert sum(evaluated) == 1


def test_the_predictions_are_the_content_of_the_file_that_is_kept(data, tmp_path):
    run = trial_run(data, tmp_path)
    *_, report = run.reports()
    kept = Predictions.from_bytes(report.final.predictions)
    assert kept.labels.tolist() == data.test.labels.tolist()
    assert kept.accuracy == report.final.test.accuracy


def test_reports_survive_json(make_data, tmp_path):
    for number, counts in enumerate(({}, {"val": 0})):
        recipe = RECIPE.replace(track_test=not counts)
        for report in trial_run(make_data(**counts), tmp_path / str(number), recipe).reports():
            assert Report.from_dict(json.loads(json.dumps(report.as_dict()))) == report


def test_divergence_comes_through_and_leaves_the_checkpoints_before_it(data, tmp_path, monkeypatch):
    script_validation(monkeypatch, [(0.5, 1.0), (0.5, 1.0), (0.5, float("nan"))])
    reports = trial_run(data, tmp_path).reports()
    assert epochs_of([next(reports), next(reports)]) == [1, 2]
    with pytest.raises(DivergenceError) as caught:
        next(reports)
    assert caught.value.epoch == 3
    assert checkpoint.load(Folder.at(tmp_path)).epoch <= 2


def watchers():
    return [thread for thread in threading.enumerate() if "loop" in thread.name]


def test_progress_is_published_in_0_to_1_and_the_thread_ends(data, tmp_path):
    published = []
    run = trial_run(data, tmp_path)
    with run.watched(published.append, every=0.001):
        assert watchers()
        for _ in run.reports():
            time.sleep(0.005)
    assert not watchers()
    count = len(published)
    time.sleep(0.01)
    assert len(published) == count > 0
    assert all(0 <= share <= 1 for share in published)
    assert any(0 < share < 1 for share in published)


def test_progress_is_the_share_of_the_steps_of_the_epoch(data, tmp_path):
    run = trial_run(data, tmp_path)
    seen = {}
    for step, epoch in ((0, 0), (1, 0), (3, 0), (3, 1), (5, 1)):  # 3 steps an epoch
        run.state.step, run.state.epoch = step, epoch
        latest, published = [], threading.Event()
        with run.watched(lambda share, latest=latest, told=published: (latest.append(share), told.set()), every=0.001):
            assert published.wait(5)
        seen[step, epoch] = latest[-1]
    assert seen == pytest.approx({(0, 0): 0, (1, 0): 1 / 3, (3, 0): 1, (3, 1): 0, (5, 1): 2 / 3})


def test_an_exception_comes_through_and_the_thread_ends(data, tmp_path):
    run = trial_run(data, tmp_path)
    with pytest.raises(RuntimeError, match="of the caller"), run.watched(lambda _: None, every=0.001):
        raise RuntimeError("of the caller")
    assert not watchers()


@pytest.mark.parametrize(("batch_size", "accumulate", "most"), [(8, 1, 15), (40, 1, 40), (40, 2, 20)])
def test_no_evaluation_of_a_trial_takes_more_images_at_a_time_than_memory_has_room_for(
    make_data, tmp_path, monkeypatch, batch_size, accumulate, most
):
    monkeypatch.setattr(evaluation, "PIXELS_AT_ONCE", 15 * 8**2)
    recipe = RECIPE.replace(batch_size=batch_size, accumulate=accumulate, epochs=1, tta="mirror", track_test=True)
    run = trial_run(make_data(train=40, val=44, test=48), tmp_path, recipe)
    seen = []
    run.state.model.register_forward_pre_hook(lambda model, inputs: seen.append((model.training, len(inputs[0]))))
    list(run.reports())
    assert max(count for training, count in seen if training) == batch_size // accumulate
    assert max(count for training, count in seen if not training) == most


def test_a_trial_says_on_what_it_computed(make_data, tmp_path):
    *_, last = trial_run(make_data(), tmp_path, RECIPE.replace(epochs=1)).reports()
    found = last.final
    assert (found.device, found.precision, found.workers) == ("cpu", "fp32", 1)
    assert found.threads == torch.get_num_threads()
