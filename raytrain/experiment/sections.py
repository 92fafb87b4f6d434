"""The sections of an experiment: early stopping, confirmation with fresh seeds, and what one trial runs on."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from raytrain.training.choices import as_tuple

MAX_TRIALS = 10_000
MAX_WORKERS = 4096

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A part of an experiment: frozen, and strict about keys and types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Asha(Section):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934)."""

    mode: Literal["stop", "promote"] = "stop"
    """stop: a trial below the cut of its rung is stopped for good. promote: every trial pauses at its rung, and the
    best 1/eta of a rung go on, whoever came first."""
    grace_period: Annotated[int | float, Field(gt=0)] = 0.25
    """First rung, the paper's r, before which no trial is stopped: a number of epochs, or below 1 a share of them."""
    reduction_factor: Annotated[int | float, Field(gt=1)] = 3
    """Reduction factor, the paper's eta: at each rung about 1 in eta trials goes on; the next is eta times later."""
    rungs: Annotated[int, Field(ge=1)] | None = None
    """Largest number of rungs, from the first on; absent means as many as there are below the last epoch, as in the
    paper. With one, a trial that goes on from it runs to its end."""
    rescue: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 0
    """Number of stopped or paused trials, the best ones, that run to their end afterwards, to measure what stopping
    missed."""
    lose_at_most: Annotated[int | float, Field(ge=0, le=100)] | None = None
    """Validation accuracy that the best trial may lose by early stopping, in percentage points: grace_period,
    reduction_factor and rungs are then chosen from learning curves on record. Where these are too few, or no setting is
    careful enough, the mode is promote with its default setting, and what is lost is not limited."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """The probability that a setting is chosen and more than `lose_at_most` is lost is at most 1 - `confidence`."""
    curves: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """Runs, or Parquet files of benchmarks/curve_bank.py, whose complete learning curves `lose_at_most` goes by;
    curve-bank for those that come with raytrain. Absent means the runs in the same folder with the same data set, of
    half to twice as many epochs."""

    @field_validator("grace_period")
    @classmethod
    def _whole_epochs(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"{value:g} epochs is not a whole number; give whole epochs, or a share below 1")
        return value

    @model_validator(mode="after")
    def _chosen_or_given(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        chosen = ("grace_period", "reduction_factor", "rungs")
        fixed = chosen if self.lose_at_most is not None else ("confidence", "curves")
        given = [name for name in fixed if getattr(self, name) != defaults[name]]
        if given and self.lose_at_most is not None:
            raise ValueError(f"lose_at_most chooses {given[0]}, and {given[0]} is given too; remove one of them")
        if given:
            raise ValueError(f"{given[0]} is given without lose_at_most, which it belongs to; give both, or remove it")
        return self

    def first_rung(self, epochs: int) -> int:
        """Return the epoch of the first rung for trials of `epochs` epochs."""
        if self.grace_period >= 1:
            return int(self.grace_period)
        return math.ceil(round(self.grace_period * epochs, 9))  # 0.07 * 100 is a little above 7


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


class Confirm(Section):
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


class Separate(Section):
    """Seeds are added until an always-valid test has decided every pair of configurations, or there are enough seeds.

    Decided is a pair of which one is shown to be ahead, or whose difference is shown to be smaller than what matters.
    """

    points: Annotated[int | float, Field(gt=0, le=100)]
    """Smallest difference in test accuracy that matters, in percentage points."""
    max_seeds: Annotated[int, Field(ge=2, le=MAX_TRIALS)] = 20
    """Largest number of seeds of a configuration, with those of `seeds`."""


class Resources(Section):
    """What one trial runs on. `auto` is derived from the machine or cluster that is there."""

    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Annotated[tuple[int, int], BeforeValidator(_range)] = 1
    """Number of processes that train one trial together, each on its share of every batch. [1, 4] is elastic: as many
    as the cluster has room for; when nodes come or go, the trial continues from its checkpoint with more or fewer."""
    gpus_per_worker: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """Number of GPUs per worker, at most 1; a fraction puts several trials on one GPU. auto: 1 where there are GPUs."""
    cpus_per_worker: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Number of CPU cores, and of threads, per worker. auto: all cores, divided among the trials."""
    max_concurrent: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Largest number of trials at one time. auto: as many as fit."""
    accelerator_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Type of GPU that each worker must have, by Ray's name for it: T4, L4, A10G, A100, H100, ..."""
    custom: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """Custom Ray resources that each worker takes from its node, such as `bigmem: 1`."""
    trainer: Literal["auto", "local", "workers"] = "auto"
    """How Ray Train trains a trial. local: in the process of the Tune trial, which one worker can do. workers: in a
    worker group of its own. auto: workers on GPUs and where there are several, otherwise local."""

    @field_validator("gpus_per_worker")
    @classmethod
    def _one_gpu(cls, value: Literal["auto"] | float) -> Literal["auto"] | float:
        if value != "auto" and value > 1:
            raise ValueError("a worker trains on one GPU: give 1, or a share below it; for several GPUs, set workers")
        return value

    @model_validator(mode="after")
    def _local_is_one_worker(self) -> Self:
        if self.trainer == "local" and self.most_workers > 1:
            raise ValueError(
                f"trainer: local is for one worker, and there are up to {self.most_workers}; set trainer: auto, or "
                "workers: 1"
            )
        return self

    @property
    def fewest_workers(self) -> int:
        """The number of workers that a trial does not run without."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """The number of workers that a trial never exceeds."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]
