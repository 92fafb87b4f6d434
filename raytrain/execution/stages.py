"""What a run does after its search: stopped trials run on, and the best configurations are trained again.

Both are chosen by the results of the search alone, so a run that was interrupted chooses the same again.
"""

import logging
from collections.abc import Callable, Sequence
from statistics import fmean

from raytrain.experiment.experiment import Confirm, Trial
from raytrain.runs.folder import RunFolder
from raytrain.runs.progress import Stage
from raytrain.runs.results import TrialResult, configurations, ranked
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)


def advance(run: RunFolder) -> bool:
    """Go on to the next stage in which there is something to train; return False when there is none."""
    order = list(STAGES)
    for stage in order[order.index(run.stage) + 1 :]:
        run.stage = stage
        STAGES[stage](run)
        if run.pending():
            return True
    return False


def _search(_run: RunFolder) -> None:
    """Choose nothing: the experiment lists these trials."""


def _rescue(run: RunFolder) -> None:
    """Have the best of the stopped trials run to their end, as many as `asha.rescue` says."""
    asha = run.experiment.asha
    before = sum(progress.stage == "rescue" for progress in run.progress.values())
    left = (asha.rescue if asha else 0) - before
    stopped = [result for result in _results(run) if result.status == "stopped"]
    for result in ranked(stopped)[: max(left, 0)]:
        run.rescue(result.trial)
    if run.pending():
        log.info("%d stopped trials run on, to measure what stopping missed", len(run.pending()))


def _confirm(run: RunFolder) -> None:
    """Add the best configurations of the search with fresh seeds, as `confirm` says."""
    confirm = run.experiment.confirm
    if confirm is None:
        return
    finished = [result for result in _results(run) if result.status == "finished" and result.val_accuracy is not None]
    groups = sorted(configurations(finished), key=_quality, reverse=True)
    chosen = {
        trial: group[0].parameters
        for group in groups[: confirm.top]
        for trial in confirming(Recipe(**group[0].recipe), confirm)
    }
    run.add(chosen, stage="confirm")
    if run.pending():
        log.info("the best %d configurations are trained again, with fresh seeds", len(groups[: confirm.top]))


def confirming(recipe: Recipe, confirm: Confirm) -> list[Trial]:
    """Return the trials that train a recipe of the search again."""
    changes = {"val_size": 0} if confirm.train_on == "all" else {}
    return [Trial.of(recipe.replace(seed=seed, **changes)) for seed in confirm.seeds]


STAGES: dict[Stage, Callable[[RunFolder], None]] = {"search": _search, "rescue": _rescue, "confirm": _confirm}
"""In this order; the function says what is trained."""


def _results(run: RunFolder) -> list[TrialResult]:
    return [progress.result for progress in run.progress.values() if progress.result and progress.stage != "confirm"]


def _quality(group: Sequence[TrialResult]) -> tuple[float, float]:
    return fmean(result.val_accuracy or 0.0 for result in group), -fmean(result.val_loss or 0.0 for result in group)
