"""The stage that confirms: the best configurations of the search are trained again with fresh seeds."""

import logging
from collections.abc import Collection

from raytrain.errors import ExperimentError, counted
from raytrain.experiment.sections import Confirm
from raytrain.experiment.trial import Trial
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import configurations, mean_val_quality
from raytrain.runs.state import FINAL, RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)


def confirm(journal: RunJournal) -> None:
    """Add the best configurations of the search with fresh seeds, as `confirm` of the experiment says.

    Raises:
        ExperimentError: The search has trained one of them with such a seed.
    """
    chosen = _chosen(journal.state)
    for trial in chosen:
        known = journal.state.progress.get(trial.id)
        if known and known.stage != "confirm":
            raise ExperimentError(
                f"confirm.seeds has {trial.recipe.seed}, which this run has trained already; "
                "give seeds that chose nothing"
            )
    _withdraw_others(journal, chosen)
    journal.add(chosen, stage="confirm")
    if journal.state.pending():
        count = len({trial.recipe.digest_without_seed for trial in chosen})
        are = "configuration is" if count == 1 else f"{count:,} configurations are"
        log.info("the best %s trained again with fresh seeds", are)


def withdraw_unconfirmed(journal: RunJournal) -> None:
    """Withdraw the fresh seeds that `confirm` does not ask for any more, and add none."""
    _withdraw_others(journal, _chosen(journal.state))


def confirming(recipe: Recipe, confirm: Confirm) -> list[Trial]:
    """Return the trials that train a recipe of the search again."""
    changes = {"val_size": 0} if confirm.train_on == "all" else {}
    return [Trial.of(recipe.replace(seed=seed, **changes)) for seed in confirm.seeds]


def _chosen(state: RunState) -> dict[Trial, int]:
    """Return the trials that train the best configurations again, each with its number of parameters."""
    confirm = state.experiment.confirm
    if confirm is None:
        return {}
    searched = [one for one in state.results() if one.phase == "search"]  # those that are paused, too
    finished = [one for one in searched if one.status == "finished" and one.val_accuracy is not None]
    partial = {one.configuration for one in searched if one.status != "finished"}
    groups = sorted(
        configurations(finished),
        key=lambda group: (group[0].configuration not in partial, *mean_val_quality(group)),
        reverse=True,
    )
    return {
        trial: group[0].parameters
        for group in groups[: confirm.top]
        for trial in confirming(Recipe(**group[0].recipe), confirm)
    }


def _withdraw_others(journal: RunJournal, chosen: Collection[Trial]) -> None:
    """Withdraw the fresh seeds that are not chosen, unless they are all of a configuration that was chosen once.

    A trial that has not ended, or failed, would be trained in vain, perhaps on images that are not read any more. And
    without all of `confirm.seeds`, its configuration would be ranked by fewer seeds than the others.
    """
    state, wanted = journal.state, {trial.id for trial in chosen}
    needed = state.experiment.confirm.seeds if state.experiment.confirm else ()
    groups: dict[str, list[TrialProgress]] = {}
    for one in state.progress.values():
        if one.stage == "confirm":
            groups.setdefault(one.trial.recipe.digest_without_seed, []).append(one)
    gone: list[TrialProgress] = []
    for group in groups.values():
        not_ended = [one for one in group if one.status not in FINAL]
        if any(one.trial.id in wanted for one in group):
            gone += (one for one in not_ended if one.trial.id not in wanted)
        elif not_ended or not {one.trial.recipe.seed for one in group}.issuperset(needed):
            gone += group
    # where a kill comes in between, what is left of a configuration must not look complete
    journal.withdraw(sorted(gone, key=lambda one: one.status not in FINAL))
    if ended := sum(one.status in FINAL for one in gone):
        log.info(
            "%s with fresh seeds: kept, and not in the tables any more, because confirm does not choose what was "
            "trained there now, and some of its seeds are missing",
            counted(ended, "trial"),
        )
