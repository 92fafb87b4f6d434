"""What a run does after its search: stopped trials run on, the best are trained again, or further seeds are added.

All are chosen by the results so far alone, so a run that was interrupted chooses the same again.
"""

import logging
from collections.abc import Callable

from raytrain.analysis.record import RunRecord
from raytrain.errors import ExperimentError
from raytrain.experiment.experiment import Trial
from raytrain.experiment.sections import Confirm
from raytrain.runs.events import Stage
from raytrain.runs.results import TrialResult, configuration_of, configurations, mean_val_quality, ranked
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)


def advance(journal: RunJournal) -> bool:
    """Go on to the next stage in which there is something to train; return False when there is none.

    The last stage, which adds seeds, comes again and again.
    """
    order = list(STAGES)
    state = journal.state
    again = state.stage == order[-1]
    if again:
        state.give_up_failed()
    for stage in order[order.index(state.stage) + (not again) :]:
        state.stage = stage
        STAGES[stage](journal)
        if state.pending():
            return True
    return False


def _search(_journal: RunJournal) -> None:
    """Choose nothing: the experiment lists these trials."""


def _rescue(journal: RunJournal) -> None:
    """Have the best of the stopped or paused trials run to their end, as many as `asha.rescue` says."""
    state = journal.state
    asha = state.experiment.asha
    before = sum(progress.stage == "rescue" for progress in state.progress.values())
    left = (asha.rescue if asha else 0) - before
    stopped = [result for result in state.results() if result.status in {"stopped", "paused"}]
    for result in ranked(stopped)[: max(left, 0)]:
        state.run_on(result.trial)
    if state.pending():
        log.info("%d stopped or paused trials run to their end, to measure what that cost", len(state.pending()))


def _confirm(journal: RunJournal) -> None:
    """Add the best configurations of the search with fresh seeds, as `confirm` says."""
    confirm = journal.state.experiment.confirm
    if confirm is None:
        journal.add({}, stage="confirm")
        return
    finished = [one for one in _results(journal.state) if one.status == "finished" and one.val_accuracy is not None]
    partial = {configuration_of(one) for one in _results(journal.state) if one.status != "finished"}
    groups = sorted(
        configurations(finished),
        key=lambda group: (configuration_of(group[0]) not in partial, *mean_val_quality(group)),
        reverse=True,
    )
    chosen = {
        trial: group[0].parameters
        for group in groups[: confirm.top]
        for trial in confirming(Recipe(**group[0].recipe), confirm)
    }
    for trial in chosen:
        known = journal.state.progress.get(trial.id)
        if known and known.stage != "confirm":
            raise ExperimentError(
                f"confirm.seeds has {trial.recipe.seed}, which this run has trained already; "
                "give seeds that chose nothing"
            )
    journal.add(chosen, stage="confirm")
    if journal.state.pending():
        log.info("the best %d configurations are trained again with fresh seeds", len(groups[: confirm.top]))


def confirming(recipe: Recipe, confirm: Confirm) -> list[Trial]:
    """Return the trials that train a recipe of the search again."""
    changes = {"val_size": 0} if confirm.train_on == "all" else {}
    return [Trial.of(recipe.replace(seed=seed, **changes)) for seed in confirm.seeds]


def _separate(journal: RunJournal) -> None:
    """Add the next seed of each configuration that is in a pair which is not decided, as `separate` says."""
    record = RunRecord(journal.folder, journal.state)
    known = record.separation
    if known is None:
        journal.add({}, stage="separate")
        return
    added = {
        Trial.of(Recipe(**one.recipe).replace(seed=seed)): next(iter(one.finished.values())).parameters
        for one, seed in known.next_trials()
        if one.finished
    }
    journal.add(added, stage="separate")
    if pending := journal.state.pending():
        still = sum(pair.answer == "open" for pair in known.pairs)
        log.info("%d of %d pairs are not decided: %d trials with another seed", still, len(known.pairs), len(pending))


STAGES: dict[Stage, Callable[[RunJournal], None]] = {
    "search": _search,
    "rescue": _rescue,
    "confirm": _confirm,
    "separate": _separate,
}
"""Stages in order, each with the function that chooses its trials."""


def _results(state: RunState) -> list[TrialResult]:
    return [progress.result for progress in state.progress.values() if progress.result and progress.stage != "confirm"]
