"""The results of trials: what is known of each, and in which order they stand."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from heapq import nsmallest
from itertools import compress
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from raytrain.errors import RunFolderError
from raytrain.metrics.means import mean_over_seeds
from raytrain.metrics.selection import selection_of
from raytrain.runs.checks import ADVICE, check_result, damaged
from raytrain.runs.events import STATUSES, Status
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.recipe import Recipe
from raytrain.training.trial_id import trial_digest

Phase = Literal["search", "confirm"]


@dataclass(frozen=True)
class TrialResult:
    """What came back from one trial.

    Attributes:
        trial: The trial's id.
        status: "finished", "stopped" or "paused" by ASHA, "diverged" (the loss was not finite), "failed" or
            "unfinished".
        recipe: Every field of the recipe, by name.
        parameters: Number of trainable parameters.
        epochs: Number of finished epochs.
        best_epoch: Epoch whose weights the losses and accuracies describe; for a trial that did not finish, the epoch
            with the best validation accuracy.
        train_loss: Cross-entropy in nats on the training split without augmentation; None unless finished.
        train_accuracy: Accuracy on the training split without augmentation, a fraction in [0, 1]; None unless finished.
        val_loss: Cross-entropy in nats on the validation split; None without a validation split.
        val_accuracy: Accuracy on the validation split, a fraction in [0, 1]; None without a validation split.
        test_loss: Cross-entropy in nats on the test set, which is read once, at the end; None unless finished.
        test_accuracy: Accuracy on the test set, a fraction in [0, 1]; None unless finished.
        test_tta_accuracy: Accuracy on the test set with test-time augmentation; None unless the recipe has `tta`.
        seconds: Wall-clock seconds of the finished epochs.
        attempts: Number of starts; to go on after a pause is none.
        error: Reason why the trial diverged or failed; None otherwise.
        val_balanced_accuracy: Mean of the recalls of the classes on the validation split, a fraction; None unless the
            recipe's `select` asks for it.
        val_macro_f1: Mean of the F1 scores of the classes on the validation split, in the same way.
        val_top5_accuracy: Top-5 accuracy on the validation split, in the same way.
        val_ece: Expected calibration error on the validation split, in the same way.
        phase: "search", or "confirm" for a chosen configuration that is trained again with fresh seeds.
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
    test_tta_accuracy: float | None = None
    val_balanced_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_top5_accuracy: float | None = None
    val_ece: float | None = None

    @property
    def val_quality(self) -> tuple[float, float]:
        """What the validation split says of the trial, by the recipe's `select`, then by its loss: more is better.

        Without a validation split, the least of all.
        """
        selection = selection_of(self.recipe)
        return selection.key(getattr(self, selection.val_field), self.val_loss)

    @cached_property
    def configuration(self) -> Hashable:
        """What the trials of one configuration have in common, to be compared: run, phase and recipe but its seed."""
        recipe = self.recipe | {"seed": None}
        values = [tuple(value) if isinstance(value, list) else value for value in recipe.values()]
        return run_of(self), self.phase, frozenset(zip(recipe, values, strict=True))

    @property
    def digest(self) -> str:
        """The digest of the trial's recipe, eight hex digits, which its id ends in."""
        return trial_digest(self.trial)

    def flat(self) -> dict[str, Any]:
        """Return one row for a table: the recipe's fields beside the rest, a list as its names joined by "+"."""
        row = asdict(self)
        recipe = {key: "+".join(value) if isinstance(value, list) else value for key, value in self.recipe.items()}
        # the recipe's own `epochs` are those planned
        recipe["epochs_planned"] = recipe.pop("epochs")
        del row["recipe"]
        return row | recipe


def ranked(results: Iterable[TrialResult], *, most: int | None = None) -> list[TrialResult]:
    """Return the results, best first.

    Finished trials come first, then those stopped or paused (the later the better), then the rest. Among finished ones
    validation accuracy, or what the recipe's `select` names, decides, then validation loss; without a validation split,
    the test accuracy does.

    Args:
        results: The results.
        most: Number of the best to return, without sorting the others: a live table has a screen of thousands.
    """
    if most is None:
        return sorted(results, key=_sort_key)
    by_status: dict[Status, list[TrialResult]] = {status: [] for status in STATUSES}
    for result in results:
        by_status[result.status].append(result)
    found: list[TrialResult] = []
    for of_status in by_status.values():
        found += nsmallest(max(most - len(found), 0), of_status, key=_sort_key)
    return found


def _sort_key(result: TrialResult) -> tuple[float, ...]:
    """Return what `ranked` sorts by."""
    accuracy = result.val_accuracy if result.val_accuracy is not None else result.test_accuracy
    loss = result.val_loss if result.val_loss is not None else result.test_loss
    # A trial that was stopped later has beaten more rivals than one that was stopped earlier.
    rung = 0 if result.status == "finished" else -result.epochs
    known = accuracy is not None and loss is not None
    selection = selection_of(result.recipe)
    value = getattr(result, selection.val_field, None)
    quality = (accuracy or 0.0) if value is None else selection.quality(value)
    return (
        STATUSES.index(result.status),
        rung,
        -quality,
        (loss or 0.0) if known else float("inf"),
    )


def run_of(result: TrialResult) -> str:
    """Return the run of a trial that stands beside those of other runs, "" where there is one run."""
    return result.trial.rpartition("/")[0]


def configurations(results: Iterable[TrialResult]) -> list[list[TrialResult]]:
    """Return the results in groups of one configuration and one status, in order."""
    groups: dict[tuple[Hashable, str], list[TrialResult]] = {}
    for result in results:
        groups.setdefault((result.configuration, result.status), []).append(result)
    return list(groups.values())


def mean_val_quality(results: Sequence[TrialResult]) -> tuple[float, float]:
    """Return the mean of `TrialResult.val_quality` over some trials, at least one."""
    first, then = zip(*(result.val_quality for result in results), strict=True)
    return mean_over_seeds(first), mean_over_seeds(then)


def varied_fields(recipes: Iterable[dict[str, Any]]) -> list[str]:
    """Return the recipe fields that differ between recipes, in the recipe's order, `arch` left out."""
    first, *others = list(recipes) or [{}]
    alike = [name for name in first if name != "arch"]
    shared = [first[name] for name in alike]
    for other in others:
        values = list(map(other.get, alike))
        if values == shared:  # one comparison of lists, not one for each of fifty fields
            continue
        same = [value == of_first for value, of_first in zip(values, shared, strict=True)]
        alike, shared = list(compress(alike, same)), list(compress(shared, same))
    return [name for name in first if name != "arch" and name not in alike]


def read_results(folder: Folder, *, listed: Mapping[str, Recipe] = MappingProxyType({})) -> list[TrialResult]:
    """Return every line of trials.jsonl in a run folder, in order; a trial that was run again has several.

    Args:
        folder: The run folder.
        listed: Recipes of the trials that the experiment lists, by trial id: a line with the same is not checked again,
            which takes ten times as long as to compare them.

    Raises:
        RunFolderError: It is damaged, or was written by an incompatible version.
    """
    names = {field.name for field in fields(TrialResult)}
    defaults = Recipe().model_dump(mode="json")
    results: list[TrialResult] = []
    for line in read_lines(folder, "trials.jsonl", check=check_result, advice=ADVICE):
        if not line.keys() <= names:
            unknown = ", ".join(sorted(line.keys() - names))
            raise RunFolderError(
                f"{folder}/trials.jsonl was written by another version of raytrain; unknown fields: {unknown}"
            )
        # an older version's recipes lack the fields that came later
        recipe = defaults | line["recipe"]
        known = listed.get(line["trial"])
        if known is None or known.as_json() != recipe:
            try:
                check_recipe(line)
            except ValueError as error:
                raise damaged(f"{folder}/trials.jsonl", error) from error
        results.append(TrialResult(**line | {"recipe": recipe}))
    return results


def check_recipe(line: Any) -> None:
    """Raise ValueError for a line of trials.jsonl whose recipe is none; an older version's lacks later fields."""
    try:
        Recipe.model_validate(line["recipe"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, ("recipe", *first["loc"])))
        raise ValueError(f"{where}: {first['msg']}, given {first['input']!r}") from None
