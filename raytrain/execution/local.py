"""Run the trials of an experiment in this process, one after another: no Ray, and a debugger steps through."""

import logging
import platform
import traceback
from collections.abc import Mapping, Sequence

from raytrain.data import Splits
from raytrain.errors import DivergenceError, StorageError
from raytrain.experiment.asha import Rungs
from raytrain.experiment.experiment import Trial
from raytrain.experiment.speed import Pace, few, measure_pace, unmeasurable
from raytrain.runs.folder import RunFolder
from raytrain.training.devices import choose_device, prepare
from raytrain.training.evaluation import TrainingData
from raytrain.training.metrics import Report
from raytrain.training.outcome import described
from raytrain.training.recipe import Recipe
from raytrain.training.trial import TrialRun

log = logging.getLogger(__name__)


def run_trials(run: RunFolder, splits: Mapping[tuple[str, int, float], Splits]) -> None:
    """Train every pending trial of `run`, under ASHA where the experiment has it.

    Trials come one by one, so ASHA lets the first through and judges each later one by those before it.

    Args:
        run: Says what to train, and is told what happens.
        splits: Images by `Recipe.data_key`.
    """
    rungs = run.rungs()
    for trial in run.pending():
        _run_trial(run, trial, splits[trial.recipe.data_key], rungs)


def measure(recipes: Sequence[Recipe], splits: Mapping[tuple[str, int, float], Splits]) -> list[Pace]:
    """Return the pace of each of some recipes in this process.

    Raises:
        PreflightError: One cannot be trained.
    """
    return [_measured(recipe, splits[recipe.data_key]) for recipe in recipes]


def _measured(recipe: Recipe, splits: Splits) -> Pace:
    try:
        return measure_pace(recipe, few(splits), device=choose_device(), images=len(splits.train))
    except Exception as error:  # whatever a recipe may fail with
        raise unmeasurable(recipe, error) from error


def _run_trial(run: RunFolder, trial: Trial, splits: Splits, rungs: Rungs | None) -> None:
    device = choose_device()
    prepare(device)
    run.started(trial.id, where=f"{platform.node()} {device}")
    progress = run.progress[trial.id]
    try:
        data = TrainingData.on(device, splits)
        trial_run = TrialRun(trial.recipe, data=data, device=device, checkpoints=run.checkpoints(trial.id))
        with trial_run.watched(progress.show):
            for report in trial_run.reports(after=run.heard(trial.id, rungs)):
                run.reported(trial.id, report)
                if rungs and not report.final and not _goes_on(run, trial, report, rungs):
                    break
    except DivergenceError as error:
        run.diverged(trial.id, epoch=error.epoch)
    except StorageError:
        raise
    except Exception as error:  # one bad trial never loses the others
        log.debug("trial %s failed", trial.id, exc_info=True)
        run.failed(trial.id, error=described(error), details=traceback.format_exc())


def _goes_on(run: RunFolder, trial: Trial, report: Report, rungs: Rungs) -> bool:
    assert report.metrics.val, "an experiment with asha has a validation split"
    accuracy = report.metrics.val.accuracy
    decision = rungs.judge(trial.id, epoch=report.metrics.epoch, accuracy=accuracy)
    if decision:
        run.judged(trial.id, epoch=report.metrics.epoch, decision=decision)
    return decision is None or not decision.stop
