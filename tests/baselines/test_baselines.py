"""Tests of analysis.baselines: the student's logs against their published table, and logs that are imported."""

import errno
import math
import os
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter

from raytrain.baselines.baselines import Baseline, as_csv, baselines_home, list_baselines, open_baseline, read_curves
from raytrain.baselines.importing import import_events
from raytrain.errors import DataError, ExperimentError
from raytrain.runs.writing.tensorboard import Scalars

# name: epochs, last, best, its epoch, mean and deviation of the last 20, claimed, hours in the log; in per cent
STUDENT = {
    "resnet18": (200, 84.27, 85.33, 170, 84.16, 0.68, 84.27, 6.9),
    "resnet34": (200, 85.16, 85.16, 200, 84.38, 0.62, 85.16, 9.8),
    "resnet50": (200, 83.95, 84.31, 181, 83.50, 0.38, 83.95, 24.5),
    "resnet101": (200, 85.23, 85.83, 162, 85.15, 0.44, 85.23, 11.3),
    "resnet152": (200, 84.33, 86.88, 160, 85.63, 0.45, 84.33, 15.6),
    "train1": (500, 85.14, 85.36, 317, None, None, None, 26.8),
    "train2": (500, 93.65, 93.81, 434, None, None, 93.65, 26.8),
    "train3": (500, 96.26, 96.51, 386, 96.32, 0.05, 96.47, 15.2),
}


@pytest.mark.parametrize("name", STUDENT)
def test_the_students_logs_say_what_their_table_claims_or_do_not(name: str) -> None:
    (curve,) = [curve for curve in open_baseline("student").curves if curve.name == name]
    epochs, last, best, at, mean, deviation, claimed, hours = STUDENT[name]
    assert len(curve.epochs) == epochs
    assert curve.last is not None
    assert (round(100 * curve.last, 2), curve.best) == (last, (at, pytest.approx(best / 100)))
    assert curve.late is not None
    if mean is not None:
        assert (round(100 * curve.late[0], 2), round(100 * curve.late[1], 2)) == (mean, deviation)
    assert curve.claimed == (None if claimed is None else pytest.approx(claimed / 100))
    assert curve.hours == pytest.approx(hours, abs=0.06)
    assert curve.arch == (name if name.startswith("resnet") else "resnet34")


def test_choosing_the_epoch_on_the_test_set_flatters_by_up_to_2_55_points() -> None:
    curves = open_baseline("student").curves
    gains = {curve.name: curve.best[1] - curve.last for curve in curves if curve.best and curve.last is not None}
    assert max(gains, key=lambda name: gains[name]) == "resnet152"
    assert round(100 * max(gains.values()), 2) == 2.55


def test_the_claim_of_train3_is_at_no_epoch_of_its_log() -> None:
    (curve,) = [curve for curve in open_baseline("student").curves if curve.name == "train3"]
    assert curve.claimed not in curve.test_accuracy


def log(
    folder: Path, *rows: tuple[int, float, float], tags: tuple[str, str] = ("Accuracy/Train", "Accuracy/Test")
) -> None:
    writer = SummaryWriter(str(folder))
    for step, train, test in rows:
        writer.add_scalar(tags[0], train, step, walltime=1000.0 + 60 * step)
        writer.add_scalar(tags[1], test, step, walltime=1001.0 + 60 * step)
    writer.close()


def test_each_folder_of_event_files_is_a_curve(tmp_path: Path) -> None:
    log(tmp_path / "logs" / "resnet34-a", (1, 0.5, 0.4), (2, 0.6, 0.5))
    log(tmp_path / "logs" / "deep" / "er", (1, 0.25, 0.75))
    made = import_events(tmp_path / "logs", "mine")
    assert open_baseline("mine") == made
    assert "mine" in list_baselines()
    deeper, curve = made.curves
    assert (deeper.name, deeper.arch, deeper.test_accuracy) == ("deep/er", None, (0.75,))
    assert (curve.name, curve.arch, curve.epochs) == ("resnet34-a", "resnet34", (1, 2))
    assert curve.test_accuracy == pytest.approx((0.4, 0.5))
    assert (curve.train_loss, curve.seconds) == ((None, None), (1.0, 61.0))


def test_what_raytrain_logs_comes_back(tmp_path: Path) -> None:
    scalars = Scalars(tmp_path / "tb", first_epoch=1)
    row = {"train_loss": 1.5, "test_loss": None, "train_accuracy": 0.5, "val_accuracy": 0.4, "test_accuracy": 0.25}
    scalars.add({"epoch": 1, **row})
    scalars.add({"epoch": 2, **row, "train_loss": 0.75})
    scalars.close()
    (curve,) = import_events(tmp_path, "own").curves
    assert (curve.train_loss, curve.test_loss) == ((1.5, 0.75), (None, None))
    assert (curve.train_accuracy, curve.test_accuracy) == ((0.5, 0.5), (0.25, 0.25))


def test_per_cent_becomes_a_fraction_and_steps_from_0_epochs_from_1(tmp_path: Path) -> None:
    log(tmp_path / "a", (0, 0.5, 40.0), (1, 60.0, 50.0))
    (curve,) = import_events(tmp_path / "a", "per-cent").curves
    assert (curve.name, curve.epochs) == ("a", (1, 2))
    assert curve.train_accuracy == pytest.approx((0.005, 0.6))
    assert curve.test_accuracy == pytest.approx((0.4, 0.5))


def test_a_fraction_that_rounding_made_more_than_1_is_1(tmp_path: Path) -> None:
    log(tmp_path / "a", (1, 0.5, 40.0), (2, 1.0000001, 100.00001))
    import_events(tmp_path / "a", "rounded")
    (curve,) = open_baseline("rounded").curves
    assert curve.train_accuracy == (0.5, 1.0)
    assert curve.test_accuracy == (0.4, 1.0)


def test_the_accuracies_of_a_network_that_guesses_are_per_cent(tmp_path: Path) -> None:
    log(tmp_path / "a", (1, 0.9, 1.0), (2, 1.2, 1.1))
    (curve,) = import_events(tmp_path / "a", "guesses").curves
    assert curve.train_accuracy == pytest.approx((0.009, 0.012))


def test_values_that_are_not_finite_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log(tmp_path / "a", (0, math.nan, 0.4), (1, 0.5, math.inf), (2, math.nan, math.nan))
    made = import_events(tmp_path / "a", "diverged")
    assert open_baseline("diverged") == made
    (curve,) = made.curves
    assert (curve.epochs, curve.train_accuracy) == ((1, 2), (None, 0.5))
    assert curve.test_accuracy == (pytest.approx(0.4), None)
    assert "a: values that are not finite were left out: 4 of 6" in caplog.text


@pytest.mark.parametrize("test", [-0.5, 250.0])
def test_an_accuracy_that_cannot_be_is_refused(tmp_path: Path, test: float) -> None:
    log(tmp_path / "a", (1, 0.5, test))
    with pytest.raises(DataError, match=f"a: test_accuracy of epoch 1 is {test:g}, which is neither"):
        import_events(tmp_path / "a", "impossible")


def test_of_two_files_with_the_same_step_the_later_value_counts(tmp_path: Path) -> None:
    log(tmp_path, (1, 0.1, 0.2), (2, 0.2, 0.3))
    writer = SummaryWriter(str(tmp_path), filename_suffix=".later")
    writer.add_scalar("Accuracy/Test", 0.9, 2, walltime=5000.0)
    writer.close()
    (curve,) = import_events(tmp_path, "resumed").curves
    assert curve.test_accuracy == pytest.approx((0.2, 0.9))


@pytest.mark.parametrize("name", ["student", "../up", "", "a b"])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    log(tmp_path, (1, 0.1, 0.2))
    with pytest.raises(ExperimentError, match="--name"):
        import_events(tmp_path, name)


def test_a_name_that_is_taken_needs_force(tmp_path: Path) -> None:
    log(tmp_path, (1, 0.1, 0.2))
    import_events(tmp_path, "taken")
    with pytest.raises(ExperimentError, match="--force"):
        import_events(tmp_path, "taken")
    assert import_events(tmp_path, "taken", force=True).name == "taken"


def test_a_folder_without_such_logs_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no TensorBoard event file"):
        import_events(tmp_path, "none")
    log(tmp_path, (1, 0.1, 0.2), tags=("a", "b"))
    with pytest.raises(DataError, match="Accuracy/Test"):
        import_events(tmp_path, "none")
    assert "none" not in list_baselines()


HEAD = "experiment,epoch,elapsed_s,train_loss,test_loss,train_accuracy,test_accuracy\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiment,epoch\na,1\n", "has no column elapsed_s"),
        (HEAD, "has no row"),
        (HEAD + "a,one,0,1,1,0.5,0.5\n", ":2: epoch is 'one'"),
        (HEAD + "a,0,0,1,1,0.5,0.5\n", ":2: a row needs"),
        (HEAD + "a,1,0,1,1,50,0.5\n", ":2: train_accuracy is 50; give a fraction"),
        (HEAD + "a,1,0,1,1,0.5,0.5\na,1,0,1,1,0.5,0.5\n", ":3: epoch 1 of a comes twice"),
    ],
)
def test_a_damaged_csv_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        open_baseline(str(path))


def test_a_csv_of_ones_own_is_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(HEAD + "b,2,9,,1,0.5,\nb,1,0,1,1,0.25,0.125\n")
    (curve,) = open_baseline(str(path)).curves
    assert (curve.epochs, curve.train_loss, curve.last) == ((1, 2), (1.0, None), 0.125)
    assert curve.at(2) == (1, 0.125)
    assert curve.at(2, "train_accuracy") == (2, 0.5)
    assert read_curves(path) == [curve]
    again = tmp_path / "again.csv"
    again.write_text(as_csv([curve]))
    assert read_curves(again) == [curve]


def test_an_unknown_baseline_names_the_nearest_or_those_there_are() -> None:
    with pytest.raises(ExperimentError, match="choose one of student"):
        open_baseline("zzz")
    with pytest.raises(ExperimentError, match=r"no file of that name; did you mean 'student'\?\n"):
        open_baseline("student1")
    assert isinstance(open_baseline("student"), Baseline)


def test_a_name_that_is_too_long_for_a_file_is_an_unknown_baseline():
    with pytest.raises(ExperimentError, match="and no file of that name"):
        open_baseline("x" * 300)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path / "logs", (1, 0.1, 0.2))
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "file"))
    with pytest.raises(ExperimentError, match=f"{tmp_path}/file/baselines: cannot be written: Not a directory"):
        import_events(tmp_path / "logs", "mine")


def test_a_disk_that_fills_up_leaves_the_old_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path, (1, 0.1, 0.2))
    before = import_events(tmp_path, "kept")

    def full(path: Path, *_: object) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExperimentError, match="cannot be written: No space left on device"):
        import_events(tmp_path, "kept", force=True)
    assert open_baseline("kept") == before
    assert not list(baselines_home().glob("*.part"))
