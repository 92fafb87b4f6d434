"""ASHA's setting for `asha.lose_at_most`: chosen from complete learning curves on record, before a run begins."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from raytrain.analysis.audit import curve_of
from raytrain.analysis.early_stopping import Choice, brought_to, choose
from raytrain.analysis.replay import Curve
from raytrain.errors import ExperimentError, RunFolderError, StorageError, counted, first_line
from raytrain.experiment.sections import Asha
from raytrain.experiment.shipped import CURVE_BANK, CURVE_BANK_FILE, shipped_file
from raytrain.experiment.trial import Trial
from raytrain.runs.damage import warned_together
from raytrain.runs.events import AshaChosen
from raytrain.runs.folder import EXPERIMENT, list_runs, open_run, read_state
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import read_epochs
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

LONGEST = 2
"""A curve has at most so many times the epochs of the new trials, and at least as small a part of them."""
COLUMNS = ("trial", "epoch", "val_accuracy", "seconds")
"""Columns of a Parquet file of curves, with a row for each epoch of each trial."""
_FALLBACK = Asha(mode="promote")
_SEARCHED = {"search", "rescue"}
"""Stages of the trials of a search: one that is rescued is one of them that was stopped."""


@dataclass(frozen=True)
class _Found:
    """Complete learning curves on record.

    Attributes:
        curves: Curves, one of each trial, brought to the length of the new trials.
        sources: Names of the runs and files that they are of.
    """

    curves: list[Curve]
    sources: list[str]


def set_asha(journal: RunJournal, *, out: str) -> None:
    """Choose ASHA's setting where `asha.lose_at_most` asks for it, write it into the run, and say so in the log.

    A run that has a setting keeps it, until it is given more epochs: rungs are epochs of trials of one length.

    Args:
        journal: The run.
        out: Folder or URI of runs, in which earlier runs may be.

    Raises:
        RaytrainError: `asha.curves` names what is no run and no file of curves.
    """
    state = journal.state
    asha = state.experiment.asha
    if asha is None or asha.lose_at_most is None:
        return
    trials = [one.trial for one in state.progress.values() if one.stage in _SEARCHED]
    if state.asha_chosen is None or state.asha_chosen["epochs"] != trials[0].recipe.epochs:
        journal.note(_chosen(asha, trials, _on_record(asha, trials[0], journal.folder, out)))
    assert state.asha_chosen, "it has just been noted"
    log.info("%s", state.asha_chosen["why"])


def _chosen(asha: Asha, trials: list[Trial], found: _Found) -> AshaChosen:
    assert asha.lose_at_most is not None, "the caller has asked"
    choice = choose(
        found.curves,
        trials=len(trials),
        lose_at_most=asha.lose_at_most / 100,
        confidence=asha.confidence,
        mode=asha.mode,
    )
    setting = choice.setting
    return {
        "event": "asha chosen",
        "mode": asha.mode if setting else _FALLBACK.mode,
        "grace_period": float(setting.first if setting else _FALLBACK.grace_period),
        "reduction_factor": float(setting.factor if setting else _FALLBACK.reduction_factor),
        "rungs": setting.rungs if setting else _FALLBACK.rungs,
        "epochs": trials[0].recipe.epochs,
        "curves": choice.curves,
        "why": _sentence(asha, len(trials), found, choice),
    }


def _sentence(asha: Asha, trials: int, found: _Found, choice: Choice) -> str:
    curves = counted(choice.curves, "complete curve")
    if found.sources:
        curves += f" of {', '.join(found.sources[:3])}" + (
            f" and {n} more" if (n := len(found.sources) - 3) > 0 else ""
        )
    points = "point" if asha.lose_at_most == 1 else "points"
    aim = f"lose_at_most {asha.lose_at_most:g} {points} with confidence {asha.confidence:g}"
    searches = f"{counted(choice.searches, 'search', 'searches')} of {counted(trials, 'trial')}"
    if setting := choice.setting:
        where = f"after epoch {setting.first} alone" if setting.rungs == 1 else f"from epoch {setting.first} on"
        verb = "stops trials" if asha.mode == "stop" else "has trials pause"
        return (
            f"ASHA {verb} {where} with reduction_factor {setting.factor}, chosen for {aim}: in "
            f"{searches} made of {curves}, the best trial lost more in {setting.lost:.1%} of the replays, and "
            f"{1 - setting.epochs:.0%} of the epochs were saved"
        )
    if choice.searches < choice.needed:
        return (
            f"the record is too thin for {aim}, so ASHA promotes instead, which promises nothing: {curves} make "
            f"{searches}, and {choice.needed:,} are needed, which are {choice.needed * trials:,} curves"
        )
    return (
        f"no setting is known to be careful enough for {aim}, so ASHA promotes instead, which promises nothing: in "
        f"{searches} made of {curves}, the most careful one lost more too often"
    )


def _on_record(asha: Asha, trial: Trial, own: Folder, out: str) -> _Found:
    epochs = trial.recipe.epochs
    curves: dict[str, Curve] = {}
    sources: list[str] = []
    for name, found in _named(asha, trial, out) if asha.curves else _earlier(trial, own, out):
        fit = {
            one: brought_to(curve, epochs)
            for one, curve in found.items()
            # a trial that was trained in two runs, or whose run was copied, has one curve
            if one not in curves and curve.validated
            if epochs <= LONGEST * len(curve.accuracies) <= LONGEST**2 * epochs
        }
        if fit:
            curves |= fit
            sources.append(name)
    return _Found([*curves.values()], sources)


def _named(asha: Asha, trial: Trial, out: str) -> Iterator[tuple[str, dict[str, Curve]]]:
    for name in asha.curves:
        shipped = name == CURVE_BANK and not (Folder.at(out) / name).exists(EXPERIMENT)
        if shipped or name.endswith(".parquet"):
            if (select := trial.recipe.select) != "accuracy":
                raise ExperimentError(
                    f"asha.curves names {name}, whose curves are of accuracy, and select is {select}; name runs instead"
                )
            file = shipped_file(CURVE_BANK_FILE) if shipped else Path(name)
            yield file.name, _in_parquet(file)
        else:
            folder = open_run(name, out=out)
            state = read_state(folder)
            if not _ran_to_the_end(state):
                raise ExperimentError(
                    f"asha.curves names {name}, in which not every trial has run to its end: those that did are a "
                    "choice, and no sample; name a run without early stopping that is complete"
                )
            if state.experiment.samples_proposed:
                raise ExperimentError(
                    f"asha.curves names {name}, whose trials were proposed by tpe: they were not drawn alike; name a "
                    "run of another sampler"
                )
            yield folder.name, _curves_of(folder, state, trial)


def _earlier(trial: Trial, own: Folder, out: str) -> Iterator[tuple[str, dict[str, Curve]]]:
    """Yield the curves of each run beside this one in which all trials ended: those of the same data and metric.

    Runs in which tpe proposed trials are left out: such trials are not drawn alike.
    """
    for name in list_runs(out):
        folder = Folder.at(out) / name
        if str(folder) == str(own):
            continue
        try:
            state = read_state(folder)
            if _ran_to_the_end(state) and not state.experiment.samples_proposed:
                yield name, _curves_of(folder, state, trial)
        except StorageError:
            raise
        except (RunFolderError, ExperimentError) as error:  # such as one whose trials cannot be listed any more
            log.warning("the curves of %s are left out: %s", name, first_line(error))


def _ran_to_the_end(state: RunState) -> bool:
    """Return whether all trials of the search have finished or diverged: what was not chosen is a fair sample.

    One that diverged has no complete curve; it would have been the worst.
    """
    status = [one.status for one in state.progress.values() if one.stage in _SEARCHED]
    return bool(status) and set(status) <= {"finished", "diverged"}


def _curves_of(folder: Folder, state: RunState, trial: Trial) -> dict[str, Curve]:
    """Return the complete curves of the search in a run, by trial: of those with the data set and metric of `trial`."""
    data, select = trial.recipe.dataset, trial.recipe.select
    done = [
        one.trial.id
        for one in state.progress.values()
        if one.stage in _SEARCHED
        and one.status == "finished"
        and (one.trial.recipe.dataset, one.trial.recipe.select) == (data, select)
    ]
    with warned_together():
        found = {one: curve_of(read_epochs(folder, one), select) for one in done}
    return {one: curve for one, curve in found.items() if curve}


def _in_parquet(path: Path) -> dict[str, Curve]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Mapping[str, Any]] = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
        by_trial: dict[str, list[Mapping[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row["epoch"]):
            by_trial.setdefault(row["trial"], []).append(row)
        _refuse_incomplete(by_trial)
        return {
            one: Curve(
                [float(row["val_accuracy"]) for row in of], [float(row["seconds"]) for row in of], validated=True
            )
            for one, of in by_trial.items()
        }
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        raise ExperimentError(
            f"asha.curves names {path}, from which no curves can be read ({first_line(error)}); give a Parquet "
            f"file with the columns {', '.join(COLUMNS)}, such as benchmarks/curve_bank.py writes, or the name of a run"
        ) from error


def _refuse_incomplete(by_trial: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Refuse, by a ValueError, rows that are no complete curves, such as those in metrics.parquet of a run."""
    for trial, rows in by_trial.items():
        if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError(f"the epochs of {trial} are not 1 to {len(rows)}, each once")
        if not all(one["seconds"] < other["seconds"] for one, other in pairwise(rows)):
            raise ValueError(f"the seconds of {trial} do not rise with its epochs: they count from its start")
    if len(lengths := sorted({len(rows) for rows in by_trial.values()})) > 1:
        raise ValueError(
            f"its trials have {lengths[0]} to {lengths[-1]} epochs, as if some were stopped; all must have as many"
        )
