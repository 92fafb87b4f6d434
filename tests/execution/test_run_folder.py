"""A run folder belongs to one command at a time, and to the run that began in it."""

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.errors import RunFolderError, StorageError
from raytrain.execution import inputs
from raytrain.execution.options import RunOptions
from raytrain.execution.run import RunOutcome, _say_how_many, run
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder


@pytest.fixture
def keys(tiny_images: str) -> dict[str, Any]:
    recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 3}
    return {"name": "x", "recipe": recipe | {"precision": "fp32"}}


def run_here(out: Path, keys: dict[str, Any], **shown: Any) -> RunOutcome:
    return run(Experiment.model_validate(keys), RunOptions(out=str(out), local=True), **shown)


# ---------------------------------------------------------------- one command at a time


def test_a_command_that_waited_while_another_ran_trains_nothing_twice(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads what is done only once the folder is its own; the other command runs while this one reads images."""
    load_splits = inputs.load_splits
    others: list[RunOutcome] = []

    def slowly(*trials: Any, **options: Any) -> Any:
        monkeypatch.setattr(inputs, "load_splits", load_splits)
        splits = load_splits(*trials, **options)
        others.append(run_here(tmp_path, keys))
        return splits

    monkeypatch.setattr(inputs, "load_splits", slowly)
    late = run_here(tmp_path, keys)
    assert [other.trained for other in others] == [1]
    assert late.trained == 0
    (trial,) = (tmp_path / "x" / "trials").iterdir()
    assert len((trial / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_run_folder_has_one_lock_by_whichever_name_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "disk" / "x").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").symlink_to(tmp_path / "disk" / "x")
    with (
        run_locked(Folder.at(tmp_path / "disk" / "x")),
        pytest.raises(RunFolderError, match="is in use by process"),
        run_locked(Folder.at(tmp_path / "runs" / "x")),
    ):
        pass


# ---------------------------------------------------------------- the run that began in it


@pytest.mark.parametrize("command", ["train", "resume"])
def test_what_a_run_left_is_not_continued_without_its_experiment(
    tmp_path: Path, keys: dict[str, Any], command: str
) -> None:
    run_here(tmp_path, keys)
    (tmp_path / "x" / "experiment.yaml").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunFolderError, match=r"experiment\.yaml: is missing, which says what was run; .*\nPut a copy"):
        run_here(tmp_path, keys)
    result = CliRunner().invoke(app, [command, "x", "--out", str(tmp_path), "--local"])
    assert result.exit_code == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_in_which_nothing_was_run_is_no_obstacle(tmp_path: Path, keys: dict[str, Any]) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "slurm-1.out").write_text("a log that the user has put there")
    (tmp_path / "x" / "experiment.yaml.12.part").write_text("what a kill at the very first write leaves")
    assert run_here(tmp_path, keys).exit_code == 0


def away_after_two_epochs(remove: Callable[[], object]) -> Any:
    @contextmanager
    def shown(state: RunState) -> Generator[None]:
        (progress,) = state.progress.values()
        add_epoch = progress.add_epoch

        def added(row: dict[str, Any]) -> None:
            add_epoch(row)
            if row["epoch"] == 2:
                remove()

        progress.add_epoch = added
        yield

    return shown


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_run_folder_that_goes_away_stops_the_run_and_is_not_made_anew(
    tmp_path: Path, keys: dict[str, Any], how: str
) -> None:
    """On Ray: tests/ray_backend/test_own_ray.py."""
    folder, elsewhere = tmp_path / "x", tmp_path / "elsewhere"

    def remove() -> None:
        shutil.rmtree(folder) if how == "deleted" else folder.rename(elsewhere)

    with pytest.raises(StorageError, match=r"x was moved or deleted while it was written to") as refused:
        run_here(tmp_path, keys, shown=away_after_two_epochs(remove))
    assert refused.value.exit_code == 3
    assert not folder.exists()
    if how == "moved":
        elsewhere.rename(folder)
        again = run_here(tmp_path, keys)
        assert (again.exit_code, again.trained, again.results[0].epochs) == (0, 1, 3)


def test_a_paused_trial_that_may_go_on_is_counted_once_among_those_to_run(caplog: pytest.LogCaptureFixture) -> None:
    asha = {"mode": "promote", "grace_period": 1}
    state = RunState(
        Experiment.model_validate({"name": "x", "recipe": {"epochs": 9}, "grid": {"lr": [0.1, 0.2]}, "asha": asha})
    )
    first = next(iter(state.progress))
    state.apply({"event": "started", "trial": first, "attempt": 1, "after_epoch": 0, "where": ""})
    paused = {"trial": first, "epoch": 1, "rung": 1.0, "accuracy": 0.5, "cut": None, "stop": False, "pause": True}
    state.apply({"event": "rung", **paused})  # type: ignore[typeddict-item]
    with caplog.at_level("INFO"):
        _say_how_many(state, state.pending())
    assert [one.getMessage() for one in caplog.records] == ["2 of 2 trials to run"]


def test_trials_that_are_added_after_the_search_are_counted_among_those_of_their_stage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = RunState(Experiment.model_validate({"name": "x", "grid": {"lr": [0.1, 0.2]}}))
    for trial in list(state.progress):
        recipe = state.progress[trial].trial.recipe
        state.end(TrialResult(trial, "finished", recipe.model_dump(mode="json"), 1, 1))
        for seed in (1, 2, 3):
            again = Trial.of(recipe.replace(seed=seed))
            added = {"trial": again.id, "stage": "confirm", "recipe": again.recipe.model_dump(mode="json")}
            state.apply({"event": "added", **added, "parameters": 1})  # type: ignore[typeddict-item]
    state.stage = "confirm"
    with caplog.at_level("INFO"):
        _say_how_many(state, state.pending())
    assert [one.getMessage() for one in caplog.records] == ["6 of 6 trials to run"]
