"""Trial results, their ranking, and a run folder read back; see `run_folder` for what writes it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.predictions import FILE, Predictions

Status = Literal["finished", "stopped", "diverged", "failed", "unfinished"]

Phase = Literal["search", "confirm"]

STATUSES: tuple[Status, ...] = ("finished", "stopped", "diverged", "failed", "unfinished")
"""How a trial can have ended, best first: this is also the order in which they rank."""


@dataclass(frozen=True)
class TrialResult:
    """What came back from one trial.

    Attributes:
        trial: The trial's id.
        status: finished; stopped by ASHA; diverged (the loss was not finite); failed; or unfinished.
        recipe: Every field of the recipe.
        parameters: Trainable parameters.
        epochs: Epochs done.
        best_epoch: The epoch whose weights the accuracies are of; for a trial that did not finish, its best
            epoch on the validation split.
        train_loss: Cross-entropy in nats on the training split without augmentation; None unless finished.
        train_accuracy: As `train_loss`, a fraction in [0, 1].
        val_loss: On the validation split; None without one.
        val_accuracy: As `val_loss`, a fraction in [0, 1].
        test_loss: On the test set, which is read once, at the end; None unless finished.
        test_accuracy: As `test_loss`, a fraction in [0, 1].
        seconds: Wall-clock time of its epochs.
        attempts: How often it was started, in all.
        error: Why it diverged or failed.
        phase: search; or confirm, when a configuration that the search chose was trained again with fresh seeds.
    """

    trial: str
    status: Status
    recipe: dict[str, Any]
    parameters: int
    epochs: int
    best_epoch: int | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    seconds: float = 0.0
    attempts: int = 1
    error: str | None = None
    phase: Phase = "search"

    def flat(self) -> dict[str, Any]:
        """Return one row for a table: the recipe's fields beside the rest, a list as its names joined by "+"."""
        row = asdict(self)
        recipe = {key: "+".join(value) if isinstance(value, list) else value for key, value in self.recipe.items()}
        # the recipe's own `epochs` are those planned
        recipe["epochs_planned"] = recipe.pop("epochs")
        del row["recipe"]
        return row | recipe


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Return the results, best first.

    Finished trials come first, then those stopped (the later the better), then the rest. Among finished ones
    validation accuracy decides, then validation loss; without a validation split, test accuracy does.
    """

    def key(result: TrialResult) -> tuple[float, ...]:
        accuracy = result.val_accuracy if result.val_accuracy is not None else result.test_accuracy
        loss = result.val_loss if result.val_loss is not None else result.test_loss
        # A trial that was stopped later has beaten more rivals than one that was stopped earlier.
        rung = 0 if result.status == "finished" else -result.epochs
        known = accuracy is not None and loss is not None
        return (
            STATUSES.index(result.status),
            rung,
            -(accuracy or 0.0),
            (loss or 0.0) if known else float("inf"),
        )

    return sorted(results, key=key)


def run_of(result: TrialResult) -> str:
    """Return the run of a trial that stands beside those of other runs, "" where there is one run."""
    return result.trial.rpartition("/")[0]


def configurations(results: Iterable[TrialResult]) -> list[list[TrialResult]]:
    """Return the results in groups of one recipe whatever its seed, one status and one phase, in order."""
    groups: dict[str, list[TrialResult]] = {}
    for result in results:
        recipe = {name: value for name, value in result.recipe.items() if name != "seed"}
        groups.setdefault(json.dumps([run_of(result), recipe, result.status, result.phase], sort_keys=True), []).append(
            result
        )
    return list(groups.values())


def varied_fields(recipes: Iterable[dict[str, Any]]) -> list[str]:
    """Return the recipe fields that differ between recipes, in the recipe's order, `arch` left out."""
    first, *others = [dict(recipe) for recipe in recipes] or [{}]
    return [name for name in first if name != "arch" and any(other.get(name) != first[name] for other in others)]


def read_results(folder: Folder) -> list[TrialResult]:
    """Return the results in a run folder, in the order the trials ended.

    Raises:
        RunFolderError: It was written by an incompatible version.
    """
    known = {field.name for field in fields(TrialResult)}
    results: dict[str, TrialResult] = {}
    for line in read_lines(folder, "trials.jsonl"):
        if not line.keys() <= known:
            unknown = ", ".join(sorted(line.keys() - known))
            raise RunFolderError(f"{folder}/trials.jsonl has fields of another raytrain version: {unknown}")
        results.pop(line["trial"], None)
        results[line["trial"]] = TrialResult(**line)
    return list(results.values())


def read_predictions(folder: Folder, trial: str) -> Predictions | None:
    """Return what a trial's network says about each test image; None for a trial that did not finish."""
    there = folder / "trials" / trial
    return Predictions.from_bytes(there.read(FILE)) if there.exists(FILE) else None


def read_all_predictions(folder: Folder, results: Iterable[TrialResult]) -> dict[str, Predictions]:
    """Return the predictions of the finished trials, by trial, as far as they are there."""
    read = {result.trial: read_predictions(folder, result.trial) for result in results if result.status == "finished"}
    return {trial: found for trial, found in read.items() if found is not None}


def open_run(run: str, *, out: str) -> Folder:
    """Return the run folder that `run` means: a path, a URI, or a name under `out`.

    Raises:
        RunFolderError: There is none.
    """
    under_out = Folder.at(out) / run
    if "://" not in run and under_out.exists("experiment.yaml"):
        return under_out
    folder = Folder.at(run)
    if folder.exists("experiment.yaml"):
        return folder
    known = list_runs(out)
    hint = f"there are {', '.join(known)}" if known else "there is no run yet"
    raise RunFolderError(f"no run {run!r} under {out}, and no run folder of that path; {hint}")


def list_runs(out: str) -> list[str]:
    """Return the names of the runs under a folder or URI.

    Raises:
        RunFolderError: It cannot be listed.
    """
    folder = Folder.at(out)
    try:
        return [name for name in folder.names() if (folder / name).exists("experiment.yaml")]
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be listed ({error}); give the folder that holds runs") from error
