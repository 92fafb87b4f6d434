"""Experiment: a recipe, what varies, and how to run it; `trials()` are the complete recipes."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from raytrain.errors import ExperimentError
from raytrain.training.component import name_of
from raytrain.training.recipe import Recipe, as_tuple, canonical

MAX_TRIALS = 10_000
MAX_WORKERS = 4096
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Asha(_Section):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), in its stopping form."""

    grace_period: Annotated[int | float, Field(gt=0)] = 0.25
    """First rung, the paper's r, before which no trial is stopped: a number of epochs, or below 1 a share of them."""
    reduction_factor: Annotated[int | float, Field(gt=1)] = 3
    """Reduction factor, the paper's eta: at each rung about 1 in eta trials goes on; the next is eta times later."""
    rescue: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 0
    """Number of stopped trials, the best ones, that run to their end afterwards, to measure what stopping missed."""

    @field_validator("grace_period")
    @classmethod
    def _whole_epochs(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"{value:g} epochs is not a whole number; give whole epochs, or a share below 1")
        return value

    def first_rung(self, epochs: int) -> int:
        """Return the epoch of the first rung for trials of `epochs` epochs."""
        return math.ceil(self.grace_period * epochs) if self.grace_period < 1 else int(self.grace_period)


def _range(value: object) -> object:
    """Refuse a list of workers that is no range; anything else is pydantic's to judge."""
    if isinstance(value, list | tuple):
        bounds: list[Any] = list(value)
        whole = len(bounds) == 2 and all(type(bound) is int for bound in bounds)
        if not whole or not 1 <= bounds[0] <= bounds[1] <= MAX_WORKERS:
            raise ValueError(
                f"{bounds} is no range of workers; give the fewest and the most of 1 to {MAX_WORKERS}, such as [1, 4]"
            )
    return as_tuple(value)


class Confirm(_Section):
    """The best configurations of a search are trained again with fresh seeds, without early stopping, and ranked.

    The best of many is in part the luckiest: the accuracy that it was chosen by is higher than what it reaches when
    it is trained again. Fresh seeds chose nothing, so their accuracies have no such bias.
    """

    top: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 3
    """Number of configurations, the best by mean validation accuracy."""
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (1, 2, 3)
    """Seeds that each configuration is trained with, once each; none of them may be a seed of the search."""
    train_on: Literal["train", "all"] = "train"
    """Images to train on: train, or all for the validation images too, where the weights are then of the last epoch."""


class Resources(_Section):
    """What one trial runs on. `auto` is derived from the machine or cluster that is there."""

    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Annotated[tuple[int, int], BeforeValidator(_range)] = 1
    """Number of processes that train one trial together, each on its share of every batch. [1, 4] is elastic: as many
    as the cluster has room for; when nodes come or go, the trial continues from its checkpoint with more or fewer."""
    gpus_per_worker: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """Number of GPUs per worker; a fraction puts several trials on one GPU. auto: 1 where there are GPUs, else 0."""
    cpus_per_worker: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Number of CPU cores, and of threads, per worker. auto: all cores, divided among the trials."""
    max_concurrent: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Largest number of trials at one time. auto: as many as fit."""
    accelerator_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Type of GPU that each worker must have, by Ray's name for it: T4, L4, A10G, A100, H100, ..."""
    custom: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """Custom Ray resources that each worker takes from its node, such as `bigmem: 1`."""

    @property
    def fewest_workers(self) -> int:
        """The number of workers that a trial does not run without."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """The number of workers that a trial never exceeds."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


@dataclass(frozen=True)
class Trial:
    """One complete recipe to train.

    Attributes:
        id: Readable name that ends in the recipe's digest; also the name of the trial's folder.
        recipe: The recipe to train.
    """

    id: str
    recipe: Recipe

    @classmethod
    def of(cls, recipe: Recipe) -> "Trial":
        """Return the trial of `recipe`; the same recipe has the same id in every experiment."""
        lr = f"{recipe.lr:g}".replace("+", "")
        names = [name_of(component) for component in (recipe.arch, recipe.optimizer, recipe.schedule)]
        parts = (*names[:2], f"lr{lr}", names[2], f"s{recipe.seed}", recipe.digest)
        return cls("-".join(parts), recipe)


class Experiment(_Section):
    """What a YAML file under `experiments/` says, with every default filled in."""

    name: str
    """Name of the run folder."""
    recipe: Recipe = Recipe()
    """The recipe that all trials start from."""
    grid: dict[str, Annotated[tuple[Any, ...], BeforeValidator(as_tuple)]] = {}
    """Values by recipe field; every combination of them is a trial."""
    exclude: Annotated[tuple[dict[str, Any], ...], BeforeValidator(as_tuple)] = ()
    """Combinations to leave out: trials that match every field of an entry, where a list matches any of its values."""
    include: Annotated[tuple[dict[str, Any], ...], BeforeValidator(as_tuple)] = ()
    """Further trials, each as changes to `recipe`."""
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(as_tuple)] | None = None
    """Seeds that every trial is run with, once each; absent means the recipe's own seed."""
    asha: Asha | None = None
    """Early stopping; absent means that every trial runs to the end."""
    confirm: Confirm | None = None
    """Training of the best configurations with fresh seeds after the search; absent means none."""
    resources: Resources = Resources()
    """Workers, GPUs and CPU cores of one trial."""

    @field_validator("name")
    @classmethod
    def _safe_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(
                f"{value[:80]!r} cannot name a run: use 1 to 64 letters, digits, '.', '_' or '-', "
                "starting with a letter or digit"
            )
        return value

    @field_validator("grid")
    @classmethod
    def _axes_have_values(cls, value: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for axis, values in value.items():
            if not values:
                raise ValueError(f"the axis {axis!r} is empty; give it at least one value, or remove it")
            if axis == "seed":
                raise ValueError("'seed' is not a grid axis; list seeds under `seeds:`, beside grid")
        return {axis: tuple(canonical(axis, one) for one in values) for axis, values in value.items()}

    @field_validator("exclude", "include")
    @classmethod
    def _entries_name_no_seed(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if any("seed" in entry for entry in value):
            raise ValueError("'seed' cannot be in an entry: every trial is run with each of `seeds:`; list seeds there")
        return value

    @field_validator("include")
    @classmethod
    def _canonical_entries(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple({field: canonical(field, one) for field, one in entry.items()} for entry in value)

    @field_validator("exclude")
    @classmethod
    def _canonical_exclusions(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple({field: _canonical_options(field, wanted) for field, wanted in entry.items()} for entry in value)

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"{list(value)} names a seed twice; list each seed once")
        if value == ():
            raise ValueError("the list is empty; give at least one seed, or remove it")
        return value

    @model_validator(mode="after")
    def _asha_can_judge(self) -> Self:
        if self.asha and self.recipe.val_size == 0 and "val_size" not in self.grid:
            raise ValueError(
                "asha stops trials by validation accuracy, and val_size is 0; "
                "set val_size, or run without asha (--no-asha)"
            )
        return self

    @model_validator(mode="after")
    def _confirm_is_fresh(self) -> Self:
        if not self.confirm:
            return self
        searched = self.seeds or (self.recipe.seed,)
        if used := sorted(set(self.confirm.seeds) & set(searched)):
            raise ValueError(
                f"confirm.seeds has {used[0]}, which the search uses too; give seeds that chose nothing, such as "
                f"{[max((*searched, *self.confirm.seeds)) + 1 + n for n in range(len(self.confirm.seeds))]}"
            )
        if self.recipe.val_size == 0 and "val_size" not in self.grid:
            raise ValueError(
                "confirm chooses by validation accuracy, and val_size is 0; set val_size, or remove confirm"
            )
        return self

    def replace(self, **changes: Any) -> "Experiment":
        """Return this experiment with `changes`, validated as a new one is."""
        return Experiment.model_validate({**self.model_dump(), **changes})

    def trials(self) -> list[Trial]:
        """Return the trials in listed order, each recipe once.

        Raises:
            ExperimentError: A combination is invalid, nothing is left, or there are more than `MAX_TRIALS`.
        """
        seeds = self.seeds or (self.recipe.seed,)
        count = (math.prod(len(values) for values in self.grid.values()) + len(self.include)) * len(seeds)
        if count > MAX_TRIALS:
            raise ExperimentError(
                f"the grid has {count:,} trials, more than the {MAX_TRIALS:,} allowed; remove values or axes"
            )
        combinations = [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        recipes = [
            recipe
            for recipe in map(self._recipe, combinations)
            if not any(_matches(recipe, entry) for entry in self.exclude)
        ]
        # With no grid the product is the recipe itself: `include` alone then means the listed trials alone.
        if self.include and not self.grid:
            recipes = []
        recipes += map(self._recipe, self.include)
        if not recipes:
            raise ExperimentError(f"`exclude` leaves no trial of {len(combinations)}; remove an entry")
        seeded = [recipe.replace(seed=seed) for seed in seeds for recipe in recipes]
        trials = list({recipe.digest: Trial.of(recipe) for recipe in seeded}.values())
        self._refuse_what_cannot_run(trials)
        return trials

    def _refuse_what_cannot_run(self, trials: list[Trial]) -> None:
        workers = self.resources.most_workers
        smallest = min(trial.recipe.batch_size for trial in trials)
        if smallest < workers:
            raise ExperimentError(
                f"batch_size {smallest} is less than one image for each of {workers} workers; "
                f"give at least {workers}, or fewer workers"
            )
        if self.asha and any(trial.recipe.val_size == 0 for trial in trials):
            raise ExperimentError(
                "asha stops trials by validation accuracy, and val_size is 0 in some trials; "
                "set val_size, or run without asha (--no-asha)"
            )
        longest = max(trial.recipe.epochs for trial in trials)
        if self.asha and self.asha.first_rung(longest) > longest:
            raise ExperimentError(
                f"asha.grace_period is {self.asha.grace_period:g} epochs and no trial has more than "
                f"{longest}; lower it, or give a share below 1"
            )

    def _recipe(self, changes: Mapping[str, Any]) -> Recipe:
        try:
            return self.recipe.replace(**changes)
        except ValidationError as error:
            raise CombinationError(dict(changes), error) from error


class CombinationError(ExperimentError):
    """A combination of the grid, or an entry of `include`, is no valid recipe."""

    def __init__(self, changes: dict[str, Any], cause: ValidationError) -> None:
        self.changes = changes
        self.cause = cause
        first = cause.errors()[0]
        super().__init__(f"{changes}: {'.'.join(map(str, first['loc']))} {first['msg']}".strip())


def _canonical_options(field: str, wanted: Any) -> Any:
    """Return the value in an entry of `exclude`, or each of those that it lists.

    Raises:
        ValueError: The field does not take one: nothing would match it.
    """
    several = isinstance(wanted, list) and (field != "augment" or any(isinstance(one, list) for one in wanted))
    if several:
        return [canonical(field, one, strict=True) for one in wanted]
    return canonical(field, wanted, strict=True)


def _matches(recipe: Recipe, entry: Mapping[str, Any]) -> bool:
    return all(_equals_any(getattr(recipe, field), wanted) for field, wanted in entry.items())


def _equals_any(value: object, wanted: object) -> bool:
    if isinstance(value, tuple):  # `augment` is itself a list: [crop] is a value, [[crop], []] are two
        options: list[Any] = wanted if isinstance(wanted, list) else [wanted]
        return any(list(value) == list(option) for option in options if isinstance(option, list | tuple))
    if isinstance(wanted, list | tuple):
        return value in wanted
    return value == wanted
