"""Going on with a run: whether the experiment is the one that was run before, and what a longer one takes over."""

import logging
import re
from typing import Any

from raytrain.errors import RunFolderError
from raytrain.experiment.experiment import NAME, Experiment
from raytrain.experiment.reading import read_run
from raytrain.experiment.search.grid import fields, order
from raytrain.experiment.trial import Trial
from raytrain.runs.folder import EXPERIMENT, is_from_a_run
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import checkpoint_folder
from raytrain.runs.user_code import code_difference
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.field_rules import is_same_course
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)

_KEEP = " Where samples are drawn, other values or ranges draw others: list those to keep under include."
_MANIFEST = re.compile(r"epoch-(\d+)\.json")
"""Name of a checkpoint's manifest, as `training.checkpoint` writes it after the files that it vouches for."""


def refuse_other_experiment(folder: Folder, experiment: Experiment) -> None:
    """Refuse to go on with a run folder in which another experiment was run.

    What does not change the trials of the search may change: where they run, and what comes after them. There may be
    more epochs. And what varies may change, values, seeds and samples, as long as some trials are in both.

    Raises:
        RunFolderError: Another was run, and the first differences are shown; or no run has written its experiment.yaml,
            which this one would replace.
    """
    if not is_from_a_run(folder):
        raise RunFolderError(
            f"{folder}/{EXPERIMENT} was not written by a run, and this run would replace it.\n"
            "Give this run another name (--name, or `name` in its file) or another --out, or move that file away."
        )
    before = _experiment_in(folder)
    now = experiment.model_dump(mode="json")
    differences = _differences(_what_counts(before, now), _what_counts(now, now))
    varied = _differences(_what_varies(before), _what_varies(now))
    changed = code_difference(folder, before, now)
    if not differences and varied and not changed and _common(before, experiment):
        return
    if differences := differences + varied:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise RunFolderError(
            f"{folder} holds another experiment ({shown}).\n"
            f"{changed + chr(10) if changed else ''}"
            "Give this one another name (--name, or `name` in its file), undo the change, or delete that run "
            "(--fresh, or `raytrain rm`).\n"
            "A run can grow: under the same name, add values to the grid, samples, seeds or epochs."
            f"{_KEEP if (before['samples'] or now['samples']) and varied else ''}"
        )


def named_after(folder: Folder, experiment: Experiment) -> Experiment:
    """Return the experiment in a run folder under the name of the folder, which may have been copied or renamed.

    Raises:
        RunFolderError: No run can have the name of the folder.
    """
    if experiment.name == folder.name:
        return experiment
    if not NAME.fullmatch(folder.name):
        raise RunFolderError(
            f"{folder} is the run {experiment.name!r}, renamed, and no run can have that name; rename the folder to "
            "letters, digits and . _ -"
        )
    return experiment.replace(name=folder.name)


def epochs_before(folder: Folder) -> int | None:
    """Return the epochs of the recipe that was run in a run folder before, or None where none was."""
    return _experiment_in(folder)["recipe"]["epochs"] if folder.exists(EXPERIMENT) else None


def earlier_epochs(state: RunState, *, before: int | None = None) -> list[int]:
    """Return the smaller numbers of epochs that trials of a run may have been trained for, the largest first.

    Those of trials that were added are on record with them: the experiment may have been replaced since, and they are
    added again only after the search.

    Args:
        state: State of the run.
        before: Number of epochs of the recipe in the earlier run, from `epochs_before`.
    """
    now = state.experiment
    if now.differs_in("epochs"):
        return []
    added = {int(event["recipe"]["epochs"]) for event in state.events if event["event"] == "added"}
    return sorted((one for one in {before, *added} if one is not None and one < now.recipe.epochs), reverse=True)


def removed_trials(folder: Folder, state: RunState) -> str:
    """Return a sentence on the trials that were started and that the experiment does not list any more; "" for none.

    Those that it lists with another number of epochs do not count, nor do seeds that were added to these.

    Args:
        folder: The run folder.
        state: State of the run.
    """
    count = len(state.unlisted - _of_other_lengths(folder, state)) if state.unlisted else 0
    if not count:
        return ""
    are = "1 earlier trial is" if count == 1 else f"{count:,} earlier trials are"
    listed = "; list them under include to have them there" if state.experiment.samples else ""
    return f"{are} not in the experiment any more: kept, and not in the tables{listed}"


def _of_other_lengths(folder: Folder, state: RunState) -> set[str]:
    """Return the ids of unlisted trials that are listed with another number of epochs, and perhaps of other trials."""
    now = state.experiment
    if now.differs_in("epochs"):
        return set()  # trials of another length are removed as all others are
    listed = [one.trial.recipe for one in state.progress.values()]
    ended = (line for line in read_lines(folder, "trials.jsonl") if line["trial"] in state.unlisted)
    lengths = {epochs_before(folder), *(line["recipe"].get("epochs") for line in ended)} - {None, now.recipe.epochs}
    found = {_id_with(recipe, epochs) for epochs in lengths if epochs for recipe in listed}
    courses = {_course(recipe) for recipe in listed}
    added = [event for event in state.events if event["event"] == "added" and event["recipe"].get("epochs") in lengths]
    return found | {one["trial"] for one in added if _course(Recipe.model_validate(one["recipe"])) in courses}


def _course(recipe: Recipe) -> str:
    """Return what trials have in common that differ in the number of epochs, or as a seed that was added may."""
    return recipe.model_copy(update={"epochs": 1, "seed": 0, "val_size": 0}).digest


def refuse_more_epochs(folder: Folder, experiment: Experiment) -> None:
    """Refuse to run only failed trials of an experiment that has more epochs than the one in the run folder.

    None of its trials can have failed, and once it is stored, the next command would take over no epochs.

    Raises:
        RunFolderError: It has more.
    """
    before = epochs_before(folder)
    if before is not None and before < experiment.recipe.epochs:
        raise RunFolderError(
            f"{folder} was run with epochs: {before}, and no trial has failed with epochs: {experiment.recipe.epochs} "
            "yet; give the earlier number to run failed trials alone, or run all trials"
        )


def _experiment_in(folder: Folder) -> dict[str, Any]:
    return read_run(folder).model_dump(mode="json")


_SPACE = frozenset({"grid", "include", "exclude", "samples", "sampler", "seeds"})
"""Keys of an experiment that say what varies; they may change if some trials are in both experiments."""
_ELSE = frozenset({"name", "resources", "confirm", "separate"})
"""Keys that change no trial of the search; the name is another one where the folder was copied or renamed."""


def _what_counts(experiment: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return what must be as it was before, with what has only been added to taken as it is `now`."""
    asha: dict[str, Any] | None = experiment.get("asha")
    counts: dict[str, Any] = {
        **{key: value for key, value in experiment.items() if key not in _SPACE | _ELSE},
        "asha": {key: value for key, value in asha.items() if key != "rescue"} if asha else None,
    }
    if set(_seeds(experiment)) & set(_seeds(now)):
        counts["recipe"] = {**counts["recipe"], "seed": now["recipe"]["seed"]}
    if _has_more_epochs(experiment, now):
        counts["recipe"] = {**counts["recipe"], "epochs": now["recipe"]["epochs"]}
    return counts


def _what_varies(experiment: dict[str, Any]) -> dict[str, Any]:
    """Return what says which trials there are, beside the recipe that they start from."""
    varies = {key: value for key, value in experiment.items() if key in _SPACE} | {"seeds": _seeds(experiment)}
    # a drawn point gives each axis its share by its place: in another order, other combinations are drawn
    return varies | ({"order of the axes": order(experiment["grid"])} if experiment["samples"] else {})


def _common(before: dict[str, Any], experiment: Experiment) -> bool:
    """Return whether some trial of `experiment` was one before, or was one of fewer epochs."""
    now = experiment.model_dump(mode="json")
    if _has_more_epochs(before, now):
        before = {**before, "recipe": {**before["recipe"], "epochs": now["recipe"]["epochs"]}}
    earlier = {trial.id for trial in Experiment.model_validate(before).trials()}
    return any(trial.id in earlier for trial in experiment.trials())


def _has_more_epochs(before: dict[str, Any], now: dict[str, Any]) -> bool:
    return before["recipe"]["epochs"] < now["recipe"]["epochs"] and not _varies_epochs(now)


def _seeds(experiment: dict[str, Any]) -> list[int]:
    return experiment["seeds"] or [experiment["recipe"]["seed"]]


def _varies_epochs(experiment: dict[str, Any]) -> bool:
    return "epochs" in fields(experiment["grid"]) or any("epochs" in entry for entry in experiment["include"])


def _differences(before: object, now: object, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys: list[str] = list(dict.fromkeys([*before, *now]))
        return [
            difference
            for key in keys
            for difference in _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if before == now else [f"{path}: {before} before, {now} now"]


def adopt_earlier(trials: list[Trial], run: Folder, state: RunState, *, before: int | None = None) -> None:
    """Give each trial the checkpoints of the same one with fewer epochs, of the most epochs that there are.

    Args:
        trials: Trials to train.
        run: The run folder.
        state: State of the run.
        before: Number of epochs of the recipe in the earlier run, from `epochs_before`.
    """
    for epochs in earlier_epochs(state, before=before):
        adopt_shorter(trials, run, epochs_before=epochs)


def adopt_shorter(trials: list[Trial], run: Folder, *, epochs_before: int) -> list[Trial]:
    """Give each trial the checkpoints of the one that had `epochs_before` epochs, if that is the same course.

    Args:
        trials: Trials to train.
        run: The run folder.
        epochs_before: Number of epochs of the recipe in the earlier run.

    Returns:
        The trials that go on from there.
    """
    adopted = [trial for trial in trials if _adopts(trial, run, epochs_before)]
    if adopted:
        epochs = "epoch" if epochs_before == 1 else f"{epochs_before} epochs"
        one = len(adopted) == 1
        go_on = "1 trial continues after its" if one else f"{len(adopted):,} trials continue after their"
        log.info("%s first %s", go_on, epochs)
    again = [
        trial
        for trial in trials
        if not is_same_course(trial.recipe)
        and _shorter(trial, run, epochs_before).names()
        and not _newest_epoch(checkpoint_folder(run, trial.id))
    ]
    if again:
        one = len(again) == 1
        start = "1 trial starts again, because its" if one else f"{len(again):,} trials start again, because their"
        log.info("%s course depends on the number of epochs", start)
    return adopted


def _shorter(trial: Trial, run: Folder, epochs: int) -> Folder:
    """Return the checkpoint folder of the trial that is the same but for a smaller number of epochs.

    Nothing is in it where there can be no such trial, as where the recipe has more `warmup_epochs` than these.
    """
    return checkpoint_folder(run, _id_with(trial.recipe, epochs))


def _id_with(recipe: Recipe, epochs: int) -> str:
    """Return the id that the trial of a recipe has with another number of epochs, also one that it cannot have."""
    return Trial.of(recipe.model_copy(update={"epochs": epochs})).id


def epochs_to_adopt(trial: Trial, run: Folder, *, epochs_before: int) -> int:
    """Return how many epochs of the trial that had `epochs_before` a longer one takes over; 0 for none.

    One that has checkpoints of its own takes over none. Files without a manifest are of a command that was killed while
    it took them over.
    """
    if trial.recipe.epochs <= epochs_before or not is_same_course(trial.recipe):
        return 0
    if _newest_epoch(checkpoint_folder(run, trial.id)):
        return 0
    return _newest_epoch(_shorter(trial, run, epochs_before))


def _newest_epoch(checkpoints: Folder) -> int:
    found = (_MANIFEST.fullmatch(name) for name in checkpoints.names())
    return max((int(match[1]) for match in found if match), default=0)


def _adopts(trial: Trial, run: Folder, epochs_before: int) -> bool:
    if not epochs_to_adopt(trial, run, epochs_before=epochs_before):
        return False
    there, here = _shorter(trial, run, epochs_before), checkpoint_folder(run, trial.id)
    newest_first = sorted(there.names(), reverse=True)
    for name in sorted(newest_first, key=lambda name: name.endswith(".json")):  # last, as they vouch for the others
        here.write(name, there.read(name))
    return True
