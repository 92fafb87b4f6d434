"""Whether the checkpoints of a run fit the disk they are written to: known before it starts, from the parameters."""

from collections.abc import Iterable

from raytrain.errors import PreflightError
from raytrain.experiment.trial import Trial
from raytrain.runs.removal import size_of
from raytrain.runs.trial_files import checkpoint_folder
from raytrain.storage.disk import free_bytes
from raytrain.storage.folder import Folder
from raytrain.training.choices import OPTIMIZER_CHOICES
from raytrain.training.recipe import Recipe

BYTES_PER_NUMBER = 4
"""Bytes of a stored number: weights and optimizer state are float32 in every precision."""
KEPT = 2
"""Number of checkpoints kept per trial, as `checkpoint.KEPT`; a third exists while it is written."""


def checkpoint_bytes(recipe: Recipe, *, parameters: int) -> int:
    """Return about how large one checkpoint of a trial is: state, averages, and the best weights so far."""
    copies = (
        1
        + OPTIMIZER_CHOICES.entry(recipe.optimizer).moments
        + (1 if recipe.ema_decay else 0)
        + (1 if recipe.lookahead != "none" else 0)
        + (1 if recipe.val_size else 0)
    )
    return copies * parameters * BYTES_PER_NUMBER


def checkpoints_bytes(trials: Iterable[tuple[Recipe, int]]) -> int:
    """Return what the checkpoints of trials need at most: a recipe and its number of parameters for each."""
    return sum((KEPT + 1) * checkpoint_bytes(recipe, parameters=count) for recipe, count in trials)


def refuse_full_disk(folder: Folder, trials: Iterable[tuple[Recipe, int]]) -> None:
    """Refuse a run whose checkpoints would fill the disk, beside those that its trials have there already.

    Args:
        folder: The run folder; object storage is assumed to have enough space.
        trials: Recipe and number of parameters of each trial to run.

    Raises:
        PreflightError: The checkpoints of all trials together need more space than is free.
    """
    disk = folder.local_path
    if disk is None:
        return
    need, have = bytes_to_write(folder, trials), free_bytes(disk)
    if need > have:
        raise PreflightError(
            f"{folder} would run out of disk: the checkpoints need {need / 2**30:.1f} GiB, {have / 2**30:.1f} GiB are "
            "free.\nChoose an --out with more space, delete old runs, or run fewer trials."
        )


def bytes_to_write(folder: Folder, trials: Iterable[tuple[Recipe, int]]) -> int:
    """Return how many bytes the checkpoints of these trials need at most.

    Where that is more than is free, those that the trials have in the run folder already are taken off.

    Args:
        folder: The run folder.
        trials: Recipe and number of parameters of each trial to run.
    """
    trials = list(trials)
    need, disk = checkpoints_bytes(trials), folder.local_path
    if disk is None or need <= free_bytes(disk):  # then nothing is looked for: there may be thousands of trials
        return need
    return sum(max(checkpoints_bytes([one]) - _written(folder, one[0]), 0) for one in trials)


def _written(folder: Folder, recipe: Recipe) -> int:
    return size_of(checkpoint_folder(folder, Trial.of(recipe).id))
