"""Tests of raytrain.runs.writing.resume: what a longer trial takes over of a shorter one."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.runs.trial_files import checkpoint_folder
from raytrain.runs.writing import resume
from raytrain.runs.writing.journal import RunJournal
from raytrain.runs.writing.resume import adopt_shorter, epochs_to_adopt, removed_trials
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.recipe import Recipe

LONG = Trial.of(Recipe(schedule="constant", epochs=4))
SHORT = Trial.of(LONG.recipe.replace(epochs=2))
FILES = ("best-0001.pt", "epoch-0001.json", "epoch-0002.json", "state-0001.pt", "state-0002.pt")


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    """A run folder with the checkpoints of the shorter trial."""
    folder = Folder.at(tmp_path)
    for name in FILES:
        checkpoint_folder(folder, SHORT.id).write(name, name.encode())
    return folder


def test_a_manifest_is_known_by_the_name_that_a_checkpoint_gives_it() -> None:
    assert resume._MANIFEST.pattern == checkpoint._MANIFEST.pattern


@pytest.mark.parametrize("done", range(len(FILES) + 1))
def test_a_kill_while_epochs_are_taken_over_loses_none(run: Folder, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    write, count = Folder.write, 0

    def killing(folder: Folder, name: str, content: bytes, **how: bool) -> None:
        nonlocal count
        if count == done:
            raise KeyboardInterrupt
        count += 1
        write(folder, name, content, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", killing)
        if done < len(FILES):
            with pytest.raises(KeyboardInterrupt):
                adopt_shorter([LONG], run, epochs_before=2)
        else:
            assert adopt_shorter([LONG], run, epochs_before=2) == [LONG]
    adopt_shorter([LONG], run, epochs_before=2)
    here = checkpoint_folder(run, LONG.id)
    assert {"epoch-0002.json", "state-0002.pt", "best-0001.pt"} <= {*here.names()}
    assert epochs_to_adopt(LONG, run, epochs_before=2) == 0
    here.write("epoch-0003.json", b"its own")
    assert adopt_shorter([LONG], run, epochs_before=2) == []


def test_only_the_same_course_is_taken_over(run: Folder) -> None:
    assert epochs_to_adopt(LONG, run, epochs_before=2) == 2
    assert epochs_to_adopt(SHORT, run, epochs_before=2) == 0
    assert epochs_to_adopt(Trial.of(Recipe(schedule="cosine", epochs=4)), run, epochs_before=2) == 0
    assert epochs_to_adopt(LONG, run, epochs_before=1) == 0


@pytest.mark.parametrize(
    "field",
    [{"warmup_epochs": 2}, {"freeze_epochs": 3}, {"mix": "mixup", "mix_off_epochs": 3}],
    ids=lambda field: list(field)[-1],
)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_trial_that_cannot_have_fewer_epochs_takes_over_none(
    run: Folder, schedule: str, field: dict[str, Any]
) -> None:
    trial = Trial.of(Recipe(schedule=schedule, epochs=4, **field))
    with pytest.raises(ValidationError):
        trial.recipe.replace(epochs=2)
    assert epochs_to_adopt(trial, run, epochs_before=2) == 0
    assert adopt_shorter([trial, LONG], run, epochs_before=2) == [LONG]


def opened(out: Path, **keys: Any) -> RunJournal:
    grid = {"lr": [0.1, 0.2]}
    experiment = Experiment.model_validate({"name": "x", "recipe": {"epochs": 3}, "grid": grid, **keys})
    return RunJournal.open(Folder.at(out / "x"), experiment, experiment.trials())


def fail_all(run: RunJournal) -> None:
    """Start all trials of a run, and have them end."""
    run.begin(dict.fromkeys(run.state.progress, 7))
    for trial in run.state.progress:
        run.started(trial)
        run.ended(trial, {"status": "failed", "error": "no space", "details": ""})
    run.close()


def removed(out: Path, **keys: Any) -> str:
    """Return how many trials are said to be removed once the run has these keys."""
    run = opened(out, **keys)
    return removed_trials(run.folder, run.state).partition(" not in the experiment any more")[0]


LONGER = {"recipe": {"epochs": 9}}


def test_trials_with_more_epochs_are_not_removed_and_those_that_are_gone_are(tmp_path: Path) -> None:
    fail_all(opened(tmp_path))
    assert removed(tmp_path) == ""
    assert removed(tmp_path, **LONGER) == ""
    assert removed(tmp_path, **LONGER, grid={"lr": [0.2]}) == "1 earlier trial is"
    assert removed(tmp_path, grid={"lr": [0.2]}) == "1 earlier trial is"
    fail_all(opened(tmp_path, **LONGER))
    assert removed(tmp_path, **LONGER) == ""
    assert removed(tmp_path, recipe={"epochs": 12}) == ""
    assert removed(tmp_path, recipe={"epochs": 12}, grid={"lr": [0.2]}) == "2 earlier trials are"


def test_a_trial_that_had_not_ended_is_not_removed_by_more_epochs(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.begin(dict.fromkeys(run.state.progress, 7))
    run.started(next(iter(run.state.progress)))
    assert removed(tmp_path, **LONGER) == ""
    assert removed(tmp_path, **LONGER, grid={"lr": [0.2]}) == "1 earlier trial is"


def test_seeds_that_were_added_are_not_removed_by_more_epochs(tmp_path: Path) -> None:
    run = opened(tmp_path)
    fresh = Trial.of(next(iter(run.state.progress.values())).trial.recipe.replace(seed=7, val_size=0))
    run.begin(dict.fromkeys(run.state.progress, 7))
    run.add({fresh: 7}, stage="confirm")
    fail_all(run)
    assert removed(tmp_path, **LONGER) == ""
    assert removed(tmp_path, **LONGER, grid={"lr": [0.2]}) == "2 earlier trials are"


def test_a_length_that_leaves_the_grid_is_removed(tmp_path: Path) -> None:
    fail_all(opened(tmp_path, grid={"epochs": [3, 9]}))
    assert removed(tmp_path, grid={"epochs": [9]}) == "1 earlier trial is"


def test_samples_that_are_not_drawn_any_more_can_be_listed(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"grid": {"lr": {"uniform": [0.1, 0.3]}}}
    fail_all(opened(tmp_path, **keys, samples=3))
    longer = opened(tmp_path, **keys, **LONGER, samples=3)
    assert removed_trials(longer.folder, longer.state) == ""
    fewer = opened(tmp_path, **keys, samples=2)
    assert removed_trials(fewer.folder, fewer.state) == (
        "1 earlier trial is not in the experiment any more: kept, and not in the tables; list them under include to "
        "have them there"
    )
