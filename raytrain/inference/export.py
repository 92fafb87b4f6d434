"""A trial's weights taken out of its run folder, with what it takes to use them."""

from typing import TYPE_CHECKING

from raytrain import __version__
from raytrain.analysis.ranking import rank
from raytrain.errors import RunFolderError
from raytrain.inference.model_file import ModelDescription
from raytrain.runs.manifest import inputs_of, read_manifest
from raytrain.runs.results import TrialResult, open_run, read_all_predictions, read_results
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

if TYPE_CHECKING:
    from torch import Tensor

BEST, LAST = "best", "last"


def find_trial(name: str, *, out: str) -> tuple[Folder, TrialResult, str]:
    """Return the run folder, the trial and why that one, for `RUN` or `RUN/TRIAL`.

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
        return folder, _named(folder, trial), "the one that was named"
    result, why = _chosen(folder)
    return folder, result, why


def export_trial(folder: Folder, result: TrialResult, *, which: str) -> tuple[ModelDescription, dict[str, "Tensor"]]:
    """Return the description and the weights of a trial: a state_dict of contiguous float tensors on the CPU.

    Args:
        folder: The run folder.
        result: The trial.
        which: `BEST` for the weights that the run's table judges, or `LAST` for those after the last epoch.

    Raises:
        RunFolderError: There is no checkpoint that can be read.
    """
    import torch

    from raytrain.training import checkpoint
    from raytrain.training.loop import TrainState
    from raytrain.training.recipe import Recipe

    manifest = read_manifest(folder)
    inputs = inputs_of(manifest, result.recipe)
    device = torch.device("cpu")
    there = folder / "trials" / result.trial / "checkpoint"
    saved = checkpoint.load(there, device=device)
    if saved is None:
        raise RunFolderError(
            f"{there} has no checkpoint that can be read: it was removed, or the trial ended before its first"
        )
    if which == BEST and saved.best:
        epoch, weights = saved.best["epoch"], saved.best["weights"]
    else:
        state = TrainState.create(Recipe(**result.recipe), num_classes=len(inputs.classes), device=device)
        state.load_state_dict(saved.state)
        epoch, weights = saved.epoch, state.evaluated_model.state_dict()
    measured = result.status == "finished" and epoch == result.best_epoch
    fingerprint = manifest.get("data", {}).get(f"{inputs.dataset} at {inputs.image_size} px")
    described = ModelDescription(
        run=folder.name,
        trial=result.trial,
        which=which,
        epoch=epoch,
        recipe=result.recipe,
        classes=inputs.classes,
        mean=inputs.mean,
        std=inputs.std,
        precision=_precision(folder, result.trial),
        val_accuracy=result.val_accuracy if epoch == result.best_epoch else None,
        test_accuracy=result.test_accuracy if measured else None,
        fingerprint=fingerprint,
        versions={"raytrain": __version__, "torch": torch.__version__},
    )
    return described, {name: tensor.contiguous() for name, tensor in weights.items()}


def _named(folder: Folder, trial: str) -> TrialResult:
    results = read_results(folder)
    found = [one for one in results if one.trial == trial] or [
        one for one in results if one.trial.startswith(trial) or one.trial.rpartition("-")[2].startswith(trial)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunFolderError(f"{trial!r} is the beginning of {', '.join(one.trial for one in found)}; give more of it")
    known = ", ".join(one.trial for one in results) or "none yet"
    raise RunFolderError(f"no trial {trial!r} has ended in {folder}; those that have: {known}")


def _chosen(folder: Folder) -> tuple[TrialResult, str]:
    results = read_results(folder)
    ranking = rank(results, read_all_predictions(folder, results))
    finished = [standing for standing in ranking.standings if standing.status == "finished"]
    if not finished:
        raise RunFolderError(f"no trial of {folder} has finished; name one that has a checkpoint: RUN/TRIAL")
    standing = ranking.chosen if ranking.chosen in finished else None
    if standing is None:
        best = max(finished[0].results, key=lambda one: one.test_accuracy or 0.0)
        return best, "the best on the test set, for want of a validation split: its accuracy is flattered by the choice"
    best = max(standing.results, key=lambda one: (one.val_accuracy or 0.0, -(one.val_loss or 0.0)))
    return best, "chosen by validation accuracy"


def _precision(folder: Folder, trial: str) -> str:
    """Return the arithmetic that a trial was measured in; fp32 for one that was never measured."""
    events = [event for event in read_lines(folder, "events.jsonl") if event.get("trial") == trial]
    ends = [event for event in events if "precision" in event]
    return ends[-1]["precision"] if ends else "fp32"
