"""The trials of a run and the images that they are given: read once for all, checked, described in the manifest."""

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from raytrain.data import ImageDataset, Splits, split
from raytrain.data.augmentation.resolution import resolution_of
from raytrain.data.data_key import DataKey
from raytrain.data.split import refuse_no_classes
from raytrain.errors import DataError, ExperimentError, RunFolderError, first_line
from raytrain.execution.backend import SplitsByKey
from raytrain.execution.initial import trained_on_test_images
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import read_run
from raytrain.experiment.rehearsal.rehearsal import rehearse
from raytrain.experiment.search import tpe
from raytrain.experiment.trial import Trial
from raytrain.metrics.class_metrics import TOP
from raytrain.models.architectures import why_no_single_image
from raytrain.provenance.manifest import Inputs, read_manifest
from raytrain.runs.folder import EXPERIMENT, storage_errors_explained
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.choices import build_network, model_size
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of
from raytrain.user_code.isolation import isolated
from raytrain.user_code.reference import reference_of, without_digest

log = logging.getLogger(__name__)

FEW_VALIDATION_IMAGES = 100
"""Number of validation images below which there is a warning. One image is then more than a point of accuracy, and the
standard error of an accuracy near one half is more than 5 points: among settings that differ less, chance chooses."""
MOST_LEFT_OUT = 0.1
"""Share of the training images that an epoch may leave out, for the lack of a whole batch, without a warning."""


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
    for trial in trials:
        _refuse_what_cannot_choose(trial.recipe, classes=len(splits[trial.recipe.data_key].classes))
    workers = experiment.resources.most_workers
    rehearse([(trial.recipe, len(splits[trial.recipe.data_key].classes)) for trial in trials], workers=workers)
    sizes = [(one.dataset, len(splits[one.data_key].train), one.batch_size) for one in (each.recipe for each in trials)]
    for warning in filter(None, (left_out_images(*size) for size in dict.fromkeys(sizes))):
        log.warning("%s", warning)
    for warning in dict.fromkeys(trained_on_test_images(one.recipe, splits[one.recipe.data_key]) for one in trials):
        if warning:
            log.warning("%s", warning)
    for trial in trials:
        refuse_single_images(trial.recipe, splits[trial.recipe.data_key], workers=workers)
    return trials, splits


def refuse_single_images(recipe: Recipe, splits: Splits, *, workers: int) -> None:
    """Refuse a recipe that gives its network one image at a time, where BatchNorm needs several.

    Args:
        recipe: The recipe.
        splits: Its images.
        workers: Largest number of workers of a trial.

    Raises:
        ExperimentError: Its network cannot be trained so.
    """
    shared = recipe.sync_batchnorm and workers > 1  # BatchNorm then sees the images of all workers
    count = len(splits.train)
    if shared or recipe.freeze_epochs == recipe.epochs or count < workers:
        return
    if smallest_part(count, recipe.batch_size, workers, recipe.accumulate) > 1:
        return
    trained = range(recipe.freeze_epochs, recipe.epochs)  # before, BatchNorm goes by its running statistics
    full = recipe.image_size
    pixels = min(resolution_of(recipe.resolution, epoch=one, epochs=recipe.epochs, full=full) for one in trained)
    if why := _why_no_single_image(recipe.arch, recipe.width, full, pixels, len(splits.classes)):
        given = f"batch_size {recipe.batch_size}"
        given += f" for {workers} workers" if workers > 1 else ""
        given += f" with accumulate {recipe.accumulate}" if recipe.accumulate > 1 else ""
        given += f", of {count} training images," if count < recipe.batch_size else ""
        or_else = ", or fewer workers" if workers > 1 else ""
        or_else += ", or a smaller accumulate" if recipe.accumulate > 1 else ""
        raise ExperimentError(
            f"{given} gives {without_digest(recipe.arch)} one image at a time, and it cannot be trained on a single "
            f"image of {pixels} pixels ({why}); give a larger batch_size or image_size{or_else}"
        )


@cache
def smallest_part(images: int, batch_size: int, workers: int, accumulate: int) -> int:
    """Return how few images a network is given at a time in a step of training.

    The sizes are those of `parts_of_share` in data/batches.py. PyTorch is not imported for them, because a command
    imports it while Ray starts.

    Args:
        images: Number of training images, at least one for each worker.
        batch_size: Images per step over all workers.
        workers: Number of workers that share them.
        accumulate: Largest number of parts of each worker's share.
    """
    together = min(batch_size, images - images % workers)
    least, most = together // workers, -(-together // workers)  # the shares of a step
    parts = max(1, min(_chunks(most, accumulate)[0], least))
    return min(
        last if number == parts else share // parts
        for share in (least, most)
        for number, last in [_chunks(share, accumulate)]
    )


def _chunks(share: int, most: int) -> tuple[int, int]:
    """Return into how many parts `torch.chunk` cuts a share, and the size of the last and smallest one."""
    size = max(1, -(-share // most))
    number = max(1, -(-share // size))
    return number, share - size * (number - 1)


@cache
def _why_no_single_image(arch: str, width: int, image_size: int, pixels: int, classes: int) -> str:
    import torch

    def tried() -> str:
        return why_no_single_image(build_network(arch, num_classes=classes, width=width, image_size=image_size), pixels)

    with torch.random.fork_rng(devices=[]), isolated():
        try:
            with torch.device("meta"):
                return tried()
        except Exception:  # noqa: BLE001 (some code needs numbers)
            return tried()


def _refuse_what_cannot_choose(recipe: Recipe, *, classes: int) -> None:
    """Raise DataError where the metric that decides is the same for every network."""
    if recipe.select == "top5_accuracy" and classes <= TOP:
        raise DataError(
            f"select: top5_accuracy is 100 % for every network on {recipe.dataset!r}, which has {classes} classes; "
            "select another metric, such as accuracy"
        )


def load_splits(trials: list[Trial], *, unsplit_too: bool = False) -> SplitsByKey:
    """Return the images that `trials` need, by `Recipe.data_key`, and as they are without validation split if asked.

    Raises:
        RaytrainError: They cannot be read or split, or trials differ in a `val_size` that has no effect.
    """
    keys = dict.fromkeys(trial.recipe.data_key for trial in trials)
    if unsplit_too:
        keys |= dict.fromkeys(key._replace(val_size=0) for key in keys)
    unsplit = {key: key._replace(val_size=0) for key in keys}
    datasets = {key: key.load() for key in dict.fromkeys(unsplit.values())}
    for key, images in datasets.items():
        refuse_no_classes(images, name=key.dataset)
    _refuse_val_sizes_without_effect(keys, datasets)
    splits = {key: split(datasets[unsplit[key]], key.val_size) for key in keys}
    warnings = [
        few_validation_images(key.dataset, len(one.val), own=datasets[unsplit[key]].val is not None)
        for key, one in splits.items()
    ]
    for warning in dict.fromkeys(filter(None, warnings)):
        log.warning("%s", warning)
    return splits


def _refuse_val_sizes_without_effect(keys: Iterable[DataKey], datasets: Mapping[DataKey, ImageDataset]) -> None:
    """Raise ExperimentError where trials differ in `val_size`, and all keep the validation part of their data set.

    Args:
        keys: The different keys of the trials.
        datasets: Their data sets, by the key with `val_size` 0.
    """
    for unsplit, images in datasets.items():
        sizes = [f"{key.val_size:g}" for key in keys if key.val_size and key._replace(val_size=0) == unsplit]
        if images.val and len(sizes) > 1:
            listed = " and ".join(sizes[:2]) + (" and others" if len(sizes) > 2 else "")
            raise ExperimentError(
                f"val_size varies ({listed}) without effect: {unsplit.dataset!r} has validation images of its own, "
                "which all these trials keep, and the same training would be ranked several times. Give one val_size"
            )


def few_validation_images(dataset: str, count: int, *, own: bool) -> str:
    """Return a warning of validation images that are too few to choose by; empty where they are enough, or none.

    Args:
        dataset: Name of the data set.
        count: Number of its validation images.
        own: Whether they are a part of the data set, and not set aside of the training images.
    """
    if not 0 < count < FEW_VALIDATION_IMAGES:
        return ""
    images = "1 validation image chooses" if count == 1 else f"{count} validation images choose"
    return (
        f"{dataset}: {images} the epoch and the trial, and one image is {100 / count:.1f} points of accuracy: small "
        f"differences are chance; {'add images' if own else 'set a larger val_size or add images'}, best "
        f"{FEW_VALIDATION_IMAGES} or more"
    )


def left_out_images(dataset: str, count: int, batch_size: int) -> str:
    """Return a warning of training images that an epoch leaves out, as no whole batch; empty where they are few.

    Args:
        dataset: Name of the data set.
        count: Number of its training images; fewer than `batch_size` are one batch.
        batch_size: Images per step.
    """

    def left_out(size: int) -> int:
        return count % size if size <= count else 0

    if left_out(batch_size) <= MOST_LEFT_OUT * count:
        return ""
    better = next(size for size in range(batch_size - 1, 0, -1) if left_out(size) <= MOST_LEFT_OUT * count)
    return (
        f"{dataset}: with batch_size {batch_size}, each epoch leaves out {left_out(batch_size):,} of {count:,} "
        "training images, other ones each time, because the last incomplete batch is dropped; set a smaller "
        f"batch_size, such as {better}, which leaves out {left_out(better):,}"
    )


def under_earlier_name(
    experiment: Experiment, trials: list[Trial], splits: SplitsByKey, folder: Folder
) -> tuple[Experiment, list[Trial], SplitsByKey]:
    """Return an experiment, its trials and its images with the data set called as the run folder calls it.

    A data set that lies elsewhere now, or is written otherwise, is the same one if its fingerprint is the same. Where
    it is not, or nothing says so, everything is returned as it is given.

    Raises:
        PreflightError: The run folder cannot be read.
    """
    now = experiment.recipe.dataset
    listed = experiment.differs_in("dataset")
    with storage_errors_explained(folder):
        if listed or reference_of(name_of(now)) or not folder.exists(EXPERIMENT):
            return experiment, trials, splits
        try:
            before = read_run(folder).recipe.dataset
            known = read_manifest(folder).get("data", {})
        except RunFolderError:  # it is said, or repaired, where the run is opened
            return experiment, trials, splits
    called = {key: key._replace(dataset=before) for key in splits}
    if before == now or any(known.get(called[key].label) != images.fingerprint for key, images in splits.items()):
        return experiment, trials, splits
    log.info("the data set of the run, %s, is read from %s now: its content is the same", before, now)
    renamed = experiment.replace(recipe=experiment.recipe.replace(dataset=before).model_dump())
    return renamed, renamed.trials(), {called[key]: images for key, images in splits.items()}


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


def why_not(trial: Trial, splits: SplitsByKey, *, workers: int) -> str:
    """Return why a trial that was not known at the start cannot be trained, "" if nothing says so.

    What is asked is what is asked of the others before a run: the user's code, the size of the network, and whether one
    image at a time is enough for it.
    """
    images = splits[trial.recipe.data_key]
    classes = len(images.classes)
    try:
        rehearse([(trial.recipe, classes)], workers=workers)
        model_size(trial.recipe, classes)
        refuse_single_images(trial.recipe, images, workers=workers)
    except Exception as error:  # noqa: BLE001 (code of the user's own may raise anything)
        return first_line(error)
    return ""
