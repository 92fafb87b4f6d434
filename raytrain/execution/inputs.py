"""The trials of a run and the images that they are given: read once for all, checked, described in the manifest."""

import logging
from typing import Any

from raytrain.data import Splits, split
from raytrain.data.data_key import DataKey
from raytrain.errors import DataError, first_line
from raytrain.execution.backend import SplitsByKey
from raytrain.experiment.duration.order import model_size
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.rehearsal import rehearse
from raytrain.experiment.search import tpe
from raytrain.experiment.trial import Trial
from raytrain.provenance.manifest import Inputs
from raytrain.runs.writing.journal import RunJournal

log = logging.getLogger(__name__)

FEW_VALIDATION_IMAGES = 100
"""Of fewer validation images, one is more than a point of accuracy, and the standard error of an accuracy near one half
is more than 5 points: what is chosen by them is chosen by chance among settings that differ less."""


def trials_and_splits(experiment: Experiment) -> tuple[list[Trial], SplitsByKey]:
    """Return the trials of an experiment and the images that they need, once each trial is known to be trainable.

    Raises:
        RaytrainError: A trial is invalid, its images cannot be read, its code cannot be called, or Optuna is missing.
    """
    trials = experiment.trials()
    if experiment.samples_proposed:
        tpe.refuse_without_optuna()
    confirm = experiment.confirm
    splits = load_splits(trials, unsplit_too=confirm is not None and confirm.train_on == "all")
    rehearse([(trial.recipe, len(splits[trial.recipe.data_key].classes)) for trial in trials])
    return trials, splits


def load_splits(trials: list[Trial], *, unsplit_too: bool = False) -> SplitsByKey:
    """Return the images that `trials` need, by `Recipe.data_key`, and as they are without validation split if asked."""
    keys = dict.fromkeys(trial.recipe.data_key for trial in trials)
    if unsplit_too:
        keys |= dict.fromkeys(key._replace(val_size=0) for key in keys)
    unsplit = {key: key._replace(val_size=0) for key in keys}
    datasets = {key: key.load() for key in dict.fromkeys(unsplit.values())}
    for key, images in datasets.items():
        if (count := len(images.classes)) < 2:
            classes = "1 class" if count == 1 else "no class"
            raise DataError(f"{key.dataset!r} has {classes}; give a data set with at least two")
    splits = {key: split(datasets[unsplit[key]], key.val_size) for key in keys}
    for warning in dict.fromkeys(few_validation_images(key.dataset, len(one.val)) for key, one in splits.items()):
        if warning:
            log.warning("%s", warning)
    return splits


def few_validation_images(dataset: str, count: int) -> str:
    """Return a warning of validation images that are too few to choose by; empty where they are enough, or none."""
    if not 0 < count < FEW_VALIDATION_IMAGES:
        return ""
    images = "1 validation image chooses" if count == 1 else f"{count} validation images choose"
    return (
        f"{dataset}: {images} the epoch and the trial, and one image is {100 / count:.1f} points of accuracy: small "
        f"differences are chance; set a larger val_size or add images, best {FEW_VALIDATION_IMAGES} or more"
    )


def described_inputs(key: DataKey, images: Splits) -> Inputs:
    """Return what the manifest says of a data set: its classes, its counts, and how it was split and normalised."""
    counts: dict[str, Any] = {part: len(getattr(images, part)) for part in ("train", "val", "test")}
    return Inputs(**key._asdict(), classes=images.classes, mean=images.mean, std=images.std, **counts)


def parameters_of(trials: list[Trial], splits: SplitsByKey) -> dict[str, int]:
    """Return the number of parameters of each trial's network, by the trial's id."""
    classes = {trial.id: len(splits[trial.recipe.data_key].classes) for trial in trials}
    return {trial.id: model_size(trial.recipe, classes[trial.id]).parameters for trial in trials}


def count_parameters(journal: RunJournal, splits: SplitsByKey) -> None:
    """Write down the number of parameters of the trials that were proposed while the run goes on."""
    uncounted = [trial for trial in journal.state.pending() if not journal.state.progress[trial.id].parameters]
    if uncounted:
        journal.note({"event": "begun", "parameters": parameters_of(uncounted, splits)})


def why_not(trial: Trial, splits: SplitsByKey) -> str:
    """Return why a trial that was not known at the start cannot be trained, "" if nothing says so.

    What is asked is what is asked of the others before a run: the user's code, and the size of the network.
    """
    classes = len(splits[trial.recipe.data_key].classes)
    try:
        rehearse([(trial.recipe, classes)])
        model_size(trial.recipe, classes)
    except Exception as error:  # noqa: BLE001 (code of the user's own may raise anything)
        return first_line(error)
    return ""
