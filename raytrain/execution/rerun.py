"""A trial trained again: the same recipe on the recorded data, into a run folder of its own."""

import shlex
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from raytrain.analysis.record import RunRecord
from raytrain.comparison.circumstances import data_label, differences, of_code
from raytrain.data import advised_where_gone
from raytrain.errors import DataError, RunFolderError
from raytrain.execution.inputs import load_splits
from raytrain.execution.options import RunOptions
from raytrain.execution.run import RunOutcome, Shown, run
from raytrain.experiment.experiment import NAME, Experiment
from raytrain.experiment.sections import Resources
from raytrain.experiment.trial import Trial
from raytrain.provenance.repository import commit_of, has_commit
from raytrain.provenance.versions import describe_code
from raytrain.runs.folder import is_same_folder
from raytrain.runs.results import TrialResult
from raytrain.storage.folder import Folder
from raytrain.training.initial.copies import keep_source
from raytrain.training.recipe import Recipe


class OtherImagesError(DataError):
    """The images are not those that a trial was trained on."""


def rerun(
    record: RunRecord, result: TrialResult, experiment: Experiment, options: RunOptions, shown: Shown
) -> RunOutcome:
    """Train the recipe of a trial again, in this process, with as many CPU threads as then; return the new run.

    The code is what is installed. The run of the trial is only read.

    Args:
        record: Record of the run.
        result: The trial of it.
        experiment: What to run, from `experiment_of_rerun`.
        options: Options of the new run.
        shown: Function that shows the run while it trains.

    Raises:
        RunFolderError: The new run would be written into the old one.
        OtherImagesError: The images are not those on record.
        RaytrainError: The run cannot start, or not go on.
    """
    folder = Folder.at(options.out) / experiment.name
    if is_same_folder(folder, record.folder):
        raise RunFolderError(f"{folder} is the run itself, which a rerun never changes; choose another --name or --out")
    _refuse_other_images(record, result)
    recipe = Recipe(**result.recipe)
    keep_source(record.folder, recipe.init, recipe.arch)
    ended = [one for one in record.events if one["event"] == "finished" and one.get("trial") == result.trial]
    if ended and (threads := ended[-1].get("threads")):
        options = replace(options, threads=int(threads))
    return run(experiment, options, shown=shown)


def experiment_of_rerun(record: RunRecord, result: TrialResult, *, name: str | None) -> Experiment:
    """Return the experiment of one trial, as it was trained, under `name` or a name made of those of run and trial.

    A run that left the GPUs unused is repeated without one.

    Raises:
        RunFolderError: The recipe is of another version of raytrain.
    """
    chosen = name or f"{record.name}-rerun-{result.digest}"
    if name is None and not NAME.fullmatch(chosen):  # the run was renamed, or has a long name
        chosen = f"rerun-{result.digest}"
    try:
        without_gpu = record.state.experiment.resources.gpus_per_worker == 0
        resources = Resources(gpus_per_worker=0) if without_gpu else Resources()
        return Experiment(name=chosen, recipe=Recipe(**result.recipe), resources=resources)
    except ValueError as error:
        raise RunFolderError(f"the recipe of {result.trial} is not one of this version: {error}") from error


def missing_commits(record: RunRecord) -> list[str]:
    """Return the commits that a run was trained at and that are not in the repository here; [] where all are."""
    here = next((folder for folder in (Path(), Path(str(files("raytrain")))) if commit_of(folder)), None)
    sessions = record.manifest.get("sessions", ())
    commits = dict.fromkeys(str(commit) for one in sessions if (commit := one.get("code", {}).get("git_commit")))
    return [commit for commit in commits if here is None or not has_commit(here, commit)]


def other_commits(record: RunRecord) -> list[tuple[str, str]]:
    """Return the commits that a run was trained at and that are in the repository here, which is at another one.

    Each comes with that one: the commit that a run here records. [] where there is no repository.
    """
    here = describe_code()["git_commit"]
    missing = missing_commits(record)
    sessions = record.manifest.get("sessions", ())
    commits = dict.fromkeys(str(commit) for one in sessions if (commit := one.get("code", {}).get("git_commit")))
    return [(commit, here) for commit in commits if here and commit != here and commit not in missing]


def refuse_other_code(again: RunRecord) -> None:
    """Refuse a rerun that was trained before, if its code or versions are not those that a run here would have.

    Args:
        again: Record of the run with the rerun, its only trial.

    Raises:
        RunFolderError: They differ.
    """
    (trial,) = again.state.results()
    ended = next((one["time"] for one in reversed(again.events) if one.get("trial") == trial.trial), "")
    sessions = again.manifest.get("sessions", ())
    # a later session may have only written the tables anew
    then = [one.get("code", {}) for one in sessions if str(one["started"]) <= ended]
    if found := differences(of_code(then), of_code([describe_code()])):
        raise RunFolderError(
            f"{again.folder} was trained before, and not with what is here now: {'; '.join(map(str, found))}.\n"
            "Nothing was trained, so nothing here was verified; add --fresh to train it again."
        )


def _refuse_other_images(record: RunRecord, result: TrialResult) -> None:
    label = data_label(result)
    recorded = record.manifest.get("data", {}).get(label)
    recipe = Recipe(**result.recipe)
    old = shlex.quote(recipe.dataset)
    advice = f"If the data set lies elsewhere now, put a link to it in its old place: ln -s PATH {old}"
    with advised_where_gone(recipe.dataset, advice):
        found = load_splits([Trial.of(recipe)])[recipe.data_key].fingerprint
    if recorded != found:
        raise OtherImagesError(
            f"{label} has the fingerprint {found}, but {recorded or 'none'} is on record: these are other images.\n"
            "Restore them where the recipe looks for them, and train again."
        )
