"""What a run does next: another round of the search, stopped trials run on, the best are trained again, or more seeds.

All are chosen by the results so far alone, so a run that was interrupted chooses the same again.
"""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

from raytrain.analysis.record import RunRecord
from raytrain.errors import counted
from raytrain.execution.stages.confirm import confirm, withdraw_unconfirmed
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.search import tpe
from raytrain.experiment.search.grid import draw, fields
from raytrain.experiment.trial import Trial
from raytrain.runs.events import Stage
from raytrain.runs.results import mean_val_quality, ranked
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)

STAGES: tuple[Stage, ...] = get_args(Stage)
"""Stages in order."""

WhyNot = Callable[[Trial], str]
"""Function that returns why a trial cannot be trained, "" if it can."""


Further = Callable[[RunRecord], Sequence[int]]
"""Function that returns the seeds with which the only configuration of a run is trained next; none for the end."""


def _nothing_against(_: Trial) -> str:
    return ""


def advance(
    journal: RunJournal,
    *,
    why_not: WhyNot = _nothing_against,
    failed_only: bool = False,
    further: Further | None = None,
) -> bool:
    """Go on to the next stage in which there is something to train; return False when there is none.

    The search with tpe comes again for each round, and the last stage, which adds seeds, again and again.

    Args:
        journal: The run.
        why_not: Function that is asked about each trial that tpe proposes; one that cannot be trained is left out.
        failed_only: Whether only trials that failed are to be trained: then no stage chooses others.
        further: Function that is asked for further seeds in the last stage; None for those that `separate` adds.
    """
    choose: dict[Stage, Callable[[RunJournal], None]] = {
        "search": partial(_search, why_not=why_not),
        "rescue": _rescue,
        "confirm": confirm,
        "separate": partial(_add_seeds, further=further) if further else _separate,
    }
    state = journal.state
    again = not failed_only and (state.stage == STAGES[-1] or samples_left(state) > 0)
    if again:
        state.give_up_failed()
    for stage in STAGES[STAGES.index(state.stage) + (not again) :]:
        state.stage = stage
        if not failed_only:
            choose[stage](journal)
        elif stage == "confirm":
            withdraw_unconfirmed(journal)
        if state.pending():
            return True
    return False


def samples_left(state: RunState) -> int:
    """Return the number of combinations that tpe has still to propose in the search; 0 after it."""
    return state.experiment.samples_proposed - len(state.proposed) if state.stage == "search" else 0


def most_waiting_from_now(state: RunState, *, listed: int) -> int:
    """Return the largest number of trials that wait together from now on, in a later round or a later stage too.

    Args:
        state: State of the run.
        listed: Number of trials that the experiment lists before anything is trained.
    """
    experiment = state.experiment
    later = _most_by_stage(experiment, listed=listed)
    next_round = len(experiment.seeds or (0,)) * min(samples_left(state), experiment.round_size)
    return max(len(state.pending()), next_round, *(later[one] for one in STAGES[STAGES.index(state.stage) + 1 :]), 0)


def most_waiting_in_search(experiment: Experiment, *, listed: int) -> int:
    """Return the largest number of trials that wait together in the search of a run, whatever has ended by now.

    The cores are divided among as many, in later stages too. A continued run divides them as it did before: with other
    threads, sums of a trial would be rounded in another order, and its numbers would not be the same.

    Args:
        experiment: Experiment of the run.
        listed: Number of trials that it lists before anything is trained.
    """
    return _most_by_stage(experiment, listed=listed)["search"]


def _most_by_stage(experiment: Experiment, *, listed: int) -> dict[Stage, int]:
    seeds, asha, confirm = len(experiment.seeds or (0,)), experiment.asha, experiment.confirm
    configurations = math.ceil(listed / seeds) + experiment.samples_proposed
    return {
        "search": max(listed, seeds * min(experiment.samples_proposed, experiment.round_size)),
        "rescue": min(asha.rescue, seeds * configurations) if asha else 0,
        "confirm": min(confirm.top, configurations) * len(confirm.seeds) if confirm else 0,
        "separate": configurations if experiment.separate else 0,
    }


def stand_ins(state: RunState, *, why_not: WhyNot = _nothing_against) -> list[list[Trial]]:
    """Return trials in place of those that tpe has still to propose, by round: points all over the grid."""
    experiment, left = state.experiment, samples_left(state)
    if not left:
        return []
    points = draw(experiment.grid, samples=(experiment.samples_listed or 0) + left, sampler="sobol")
    listed = {progress.trial.recipe.effect for progress in state.progress.values()}
    found = {trial.recipe.effect: trial for values in points for trial in experiment.proposed(values)}
    trials = [trial for effect, trial in found.items() if effect not in listed and not why_not(trial)]
    size = experiment.round_size * len(experiment.seeds or (0,))
    return [trials[start : start + size] for start in range(0, len(trials), size)]


def _search(journal: RunJournal, *, why_not: WhyNot) -> None:
    """Add the next round of trials that tpe proposes by the trials so far; else choose nothing: they are listed.

    What is proposed depends on these results, in the order of the trials, and on how many samples there were. It is
    written down before it is trained.
    """
    state, experiment = journal.state, journal.state.experiment
    left = samples_left(state)
    if not left:
        return
    known = {progress.trial.recipe.effect for progress in state.progress.values()}
    unfit: list[str] = []

    def is_new(values: dict[str, Any]) -> bool:
        trials = experiment.proposed(values)
        effects = {trial.recipe.effect for trial in trials}
        if not effects or effects & known:
            return False
        if why := why_not(trials[0]):
            unfit.append(why)
            return False
        known.update(effects)
        return True

    done = (experiment.samples or 0) - left
    count = min(left, experiment.round_size)
    values = tpe.propose(experiment.grid, _observed(state), count=count, seed=done, acceptable=is_new)
    if unfit:
        what = counted(len(unfit), "combination")
        log.warning("tpe passes over %s that cannot be trained; the first: %s", what, unfit[0])
    if not values:
        log.info("tpe finds no combination that has not been tried: the search ends with %s", counted(done, "sample"))
        return
    journal.note({"event": "proposed", "values": values})
    fewer = f"; it finds no more that have not been tried, {count} were asked for" if len(values) < count else ""
    last = done + len(values)
    log.info("tpe proposes samples %d to %d of %s%s", done + 1, last, experiment.samples, fewer)


def _observed(state: RunState) -> list[tpe.Observation]:
    """Return what each combination of the search has reached, with the mean over its seeds."""
    experiment = state.experiment
    by_effect = {
        progress.trial.recipe.effect: progress
        for progress in state.progress.values()
        if progress.stage in {"search", "rescue"}
    }
    results = {result.trial: result for result in state.results()}
    of_the_recipe = {
        name: getattr(experiment.recipe, name) for name in fields(experiment.grid) & {*Recipe.model_fields}
    }
    included = [of_the_recipe | entry for entry in experiment.include]
    observed: dict[str, tpe.Observation] = {}
    for values in (*experiment.combinations(), *state.proposed, *included):
        trials = [by_effect.get(trial.recipe.effect) for trial in experiment.proposed(values)]
        seeds = [results[progress.trial.id] for progress in trials if progress]
        if not seeds:
            continue
        lost = any(one.status not in {"finished", "stopped", "paused"} for one in seeds)
        stopped = [one.epochs for one in seeds if one.status != "finished"]
        quality, _ = mean_val_quality(seeds)
        told = None if lost or not math.isfinite(quality) else quality
        observed.setdefault(seeds[0].trial, tpe.Observation(values, told, stopped_at=min(stopped, default=None)))
    return list(observed.values())


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
        count = len(state.pending())
        run = "trial runs to its" if count == 1 else "trials run to their"
        log.info("%d stopped or paused %s end, to measure what that cost", count, run)


def _separate(journal: RunJournal) -> None:
    """Add the next seed of each configuration that is in a pair which is not decided, as `separate` says.

    Without `separate`, seeds are kept that another command has begun.
    """
    record = RunRecord(journal.folder, journal.state)
    known = record.separation
    if known is None:
        # seeds that `judge` has begun, or an earlier `separate`, are trained to their end
        begun = [one for one in journal.state.progress.values() if one.stage == "separate" and one.attempts]
        journal.add({one.trial: one.parameters for one in begun}, stage="separate")
        return
    added = {
        Trial.of(Recipe(**one.recipe).replace(seed=seed)): next(iter(one.finished.values())).parameters
        for one, seed in known.next_trials()
        if one.finished
    }
    journal.add(added, stage="separate")
    if pending := journal.state.pending():
        still = sum(pair.answer == "open" for pair in known.pairs)
        pairs, are = counted(len(known.pairs), "pair"), "is" if still == 1 else "are"
        log.info("%d of %s %s not decided: %s with another seed", still, pairs, are, counted(len(pending), "trial"))


def _add_seeds(journal: RunJournal, *, further: Further) -> None:
    """Add the next seeds of the only configuration, once one of it has finished."""
    finished = [one for one in journal.state.results() if one.status == "finished"]
    seeds = further(RunRecord(journal.folder, journal.state)) if finished else []
    added = {Trial.of(Recipe(**finished[0].recipe).replace(seed=seed)): finished[0].parameters for seed in seeds}
    journal.add(added, stage="separate")
    if pending := journal.state.pending():
        log.info("no answer yet; trained next: seed %s", ", ".join(str(one.recipe.seed) for one in pending))
