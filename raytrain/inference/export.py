"""A trial's weights taken out of its run folder, with what it takes to use them."""

import logging
import pickle
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from raytrain import __version__
from raytrain.analysis.record import RunRecord, read_record
from raytrain.errors import ExperimentError, RunFolderError, unknown
from raytrain.inference.model_file import ModelDescription
from raytrain.metrics.selection import selection_of
from raytrain.provenance.manifest import inputs_of
from raytrain.runs.folder import open_run
from raytrain.runs.results import TrialResult
from raytrain.runs.trial_files import checkpoint_folder
from raytrain.runs.user_code import keep_code, read_code
from raytrain.training import checkpoint
from raytrain.training.recipe import Recipe
from raytrain.training.state import evaluated_weights
from raytrain.training.trial import normalization_of
from raytrain.user_code.reference import digests_in

log = logging.getLogger(__name__)

BEST, LAST = "best", "last"


def find_trial(name: str, *, out: str) -> tuple[RunRecord, TrialResult, str]:
    """Return the run, the trial and why that one, for `RUN` or `RUN/TRIAL`.

    A trial may be given by its id, or by the digest at its end as tables print it, or the first letters of either.

    Raises:
        RunFolderError: There is no such run, or no such trial in it, or none that has finished.
    """
    try:
        folder = open_run(name, out=out)
    except RunFolderError:
        run, slash, trial = name.rstrip("/").rpartition("/")
        if not (slash and run):
            raise
        try:
            folder = open_run(run, out=out)
        except RunFolderError:
            folder = None
        if folder is None:
            raise
        record = read_record(folder)
        return record, *trial_of(record, trial)
    record = read_record(folder)
    return record, *trial_of(record, None)


def trial_of(record: RunRecord, trial: str | None) -> tuple[TrialResult, str]:
    """Return a trial of a run, and why that one.

    Args:
        record: Record of the run.
        trial: Id of the trial, the digest at its end, or the first letters of either; None for the chosen trial.

    Raises:
        RunFolderError: There is no such trial, or none has finished.
    """
    return _chosen(record) if trial is None else (_named(record, trial), "named explicitly")


def export_trial(record: RunRecord, result: TrialResult, *, which: str) -> tuple[ModelDescription, dict[str, Tensor]]:
    """Return the description and the weights of a trial: a state_dict of contiguous float tensors on the CPU.

    Args:
        record: Record of the run.
        result: Result of the trial.
        which: `BEST` for the weights whose accuracies the table shows, or `LAST` for those after the last epoch.

    Raises:
        RunFolderError: There is no checkpoint that can be read, or PyTorch does not load what is in it, or the user's
            code is missing or changed.
        ModelError: The checkpoint is of an older version, and the library does not say what its weights were trained
            with.
        ExperimentError: `which` is neither.
    """
    if which not in {BEST, LAST}:
        raise ExperimentError(unknown(str(which), (BEST, LAST), "choice of weights"))
    inputs = inputs_of(record.manifest, result.recipe)
    there = checkpoint_folder(record.folder, result.trial)
    try:
        saved = checkpoint.load(there, state_needed=which != BEST)
    except pickle.UnpicklingError as error:
        raise RunFolderError(
            f"{there}: the weights of the last epoch cannot be read: the training state with them holds something else "
            "than tensors and plain values. The weights of the best epoch by validation have a file of their own: "
            "--which best"
        ) from error
    if saved is None:
        raise RunFolderError(
            f"{there} has no checkpoint that can be read: it was removed, or the trial ended before its first"
        )
    mean, std = normalization_of(Recipe(**result.recipe), saved, mean=inputs.mean, std=inputs.std)
    if which == BEST and saved.best:
        epoch, weights = saved.best["epoch"], saved.best["weights"]
    else:
        epoch, weights = saved.epoch, evaluated_weights(saved.state)
    measured = result.status == "finished" and epoch == result.best_epoch
    wanted = result.best_epoch if which == BEST and saved.best else result.epochs
    if result.status == "finished" and epoch != wanted:
        lost = f"the checkpoint of epoch {result.epochs} is lost"
        log.warning("%s: %s; these are the weights of epoch %d, not of epoch %s", there, lost, epoch, wanted)
    fingerprint = record.manifest.get("data", {}).get(Recipe(**result.recipe).data_key.label)
    described = ModelDescription(
        run=record.name,
        trial=result.trial,
        which=which,
        epoch=epoch,
        recipe=result.recipe,
        classes=inputs.classes,
        mean=mean,
        std=std,
        precision=saved.state.get("precision") or _measured_precision(record, result.trial),
        val_accuracy=result.val_accuracy if epoch == result.best_epoch else None,
        test_accuracy=result.test_accuracy if measured else None,
        fingerprint=fingerprint,
        versions={"raytrain": __version__, "torch": torch.__version__},
        code=read_code(record.folder, Recipe(**result.recipe).user_code),
    )
    state_dict: Any = OrderedDict((name, tensor.contiguous()) for name, tensor in weights.items())
    # the versions of the network's modules, without which some, as torchvision's MNASNet, load no weights
    state_dict._metadata = getattr(weights, "_metadata", None) or getattr(saved.state.get("model"), "_metadata", None)
    return described, state_dict


def allow_network(record: RunRecord, result: TrialResult, *, allowed: bool) -> None:
    """Let the network of a trial run in this process, which code of the user's own may only where it is allowed.

    Raises:
        RunFolderError: It is not allowed; or the code is missing or changed.
    """
    keep_code(record.folder, digests_in([str(result.recipe["arch"])]), allowed=allowed)


def _named(record: RunRecord, trial: str) -> TrialResult:
    results = [result for result in record.listed if result.status != "unfinished" or result.epochs]
    found = [one for one in results if one.trial == trial] or [
        one for one in results if one.trial.startswith(trial) or one.digest.startswith(trial)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunFolderError(f"{trial!r} matches {', '.join(one.trial for one in found)}; give more letters")
    known = ", ".join(one.trial for one in results) or "none yet"
    raise RunFolderError(f"there is no trained trial {trial!r} in {record.folder}; the trained ones are: {known}")


def _chosen(record: RunRecord) -> tuple[TrialResult, str]:
    chosen = record.chosen_trial
    if chosen is None:
        raise RunFolderError(f"no trial of {record.folder} has finished; name one that has a checkpoint: RUN/TRIAL")
    if record.chosen is None:
        if sum(standing.status == "finished" for standing in record.ranking.standings) == 1:
            return chosen, "of the only configuration that has finished"
        first = chosen in record.ranking.standings[0].results
        row = "the first row" if first else "the first row of which all seeds have finished"
        return (
            chosen,
            f"{row}; without a validation split the test set chose it, so its accuracy is biased upwards",
        )
    return chosen, f"chosen by validation {selection_of(chosen.recipe).words}"


def _measured_precision(record: RunRecord, trial: str) -> str:
    """Return the arithmetic that a trial was measured in; fp32 for one that was never measured."""
    ends = [event for event in record.events if event.get("trial") == trial and "precision" in event]
    return ends[-1]["precision"] if ends else "fp32"
