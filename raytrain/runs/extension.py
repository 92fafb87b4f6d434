"""More epochs for a run that has ended: a trial goes on from its shorter one where that is the same course."""

import logging

from raytrain.experiment.experiment import Trial
from raytrain.training.recipe import Recipe
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)


def is_same_course(recipe: Recipe) -> bool:
    """Return whether the first epochs of a recipe are the same however many it has in all.

    A learning rate that falls towards the end, and mixing that ends some epochs before it, depend on where the end is.
    """
    return recipe.schedule == "constant" and (recipe.mix == "none" or recipe.mix_off_epochs == 0)


def adopt_shorter(trials: list[Trial], run: Folder, *, epochs_before: int) -> list[Trial]:
    """Give each trial the checkpoints of the one that had `epochs_before` epochs, if that is the same course.

    Args:
        trials: What is to be trained.
        run: The run folder.
        epochs_before: Of the recipe when it was run before.

    Returns:
        The trials that go on from there.
    """
    adopted = [trial for trial in trials if _adopts(trial, run, epochs_before)]
    if adopted:
        log.info("%d trials go on from their %d epochs", len(adopted), epochs_before)
    if others := len(trials) - len(adopted):
        log.info("%d trials are trained from the start: their schedule depends on the number of epochs", others)
    return adopted


def _adopts(trial: Trial, run: Folder, epochs_before: int) -> bool:
    if trial.recipe.epochs <= epochs_before or not is_same_course(trial.recipe):
        return False
    shorter = Trial.of(trial.recipe.replace(epochs=epochs_before))
    there, here = (run / "trials" / one.id / "checkpoint" for one in (shorter, trial))
    names = there.names()
    if not names or here.names():
        return False
    for name in sorted(names, key=lambda name: name.endswith(".json")):  # manifests last: they vouch for the others
        here.write(name, there.read(name))
    return True
