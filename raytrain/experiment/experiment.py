"""Experiment: a recipe, what varies, and how to run it; `trials()` are the complete recipes."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from raytrain.errors import ExperimentError
from raytrain.experiment.search import grid, tpe
from raytrain.experiment.search.combination import combined, combined_unless_excluded, plain, why_the_same
from raytrain.experiment.search.exclusion import canonical_options, matches, refuse_unknown_arguments
from raytrain.experiment.search.grid import Axis, Sampler, checked_axis
from raytrain.experiment.sections import MAX_TRIALS, Asha, Confirm, Resources, Section, Seed, Separate
from raytrain.experiment.trial import Trial
from raytrain.experiment.trial_checks import refuse_what_cannot_run
from raytrain.training.choices import as_tuple, canonical
from raytrain.training.initial.sources import PRETRAINED
from raytrain.training.recipe import Recipe

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Experiment(Section):
    """What a YAML file under `experiments/` says, with every default filled in."""

    name: str
    """Name of the run folder."""
    recipe: Recipe = Recipe()
    """The recipe that all trials start from."""
    grid: dict[str, Axis] = Field(default_factory=dict)
    """Axes by recipe field, or by an argument of its component (`arch.depth`): values, values with axes of their own,
    or a range to draw from. Every combination is a trial, or as many as `samples` says."""
    samples: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """Number of combinations to draw from the grid; absent for every one. Ranges need it."""
    sampler: Sampler = "random"
    """How samples are drawn: random, independently; sobol, which covers the ranges more evenly; or tpe, in rounds, each
    proposed by what the trials before have reached. grid draws none: every combination is a trial."""
    round_size: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 8
    """Number of samples in a round of tpe. Give at least as many as trials run at a time."""
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
    separate: Separate | None = None
    """Further seeds until configurations are told apart; absent means none."""
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

    @field_validator("grid", mode="before")
    @classmethod
    def _axes(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value  # pydantic says so
        return {str(field): checked_axis(str(field), axis) for field, axis in value.items()}

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
        return tuple({field: canonical_options(field, wanted) for field, wanted in entry.items()} for entry in value)

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"{list(value)} names a seed twice; list each seed once")
        if value == ():
            raise ValueError("the list is empty; give at least one seed, or remove it")
        return value

    @model_validator(mode="after")
    def _samples_are_drawn(self) -> Self:
        drawn = grid.ranges(self.grid)
        if self.sampler == "grid" and (drawn or self.samples is not None):
            what = f"{', '.join(drawn)} drawn from ranges" if drawn else f"samples: {self.samples}"
            raise ValueError(
                f"sampler: grid takes every combination of listed values, and the experiment has {what}; "
                f"{'list the values' if drawn else 'remove samples'}, or give sampler: random or sobol"
            )
        if drawn and self.samples is None:
            raise ValueError(
                f"the grid draws {', '.join(drawn)} from ranges, and samples is missing; say how many samples to draw, "
                "such as samples: 20"
            )
        if self.samples is not None and not self.grid:
            raise ValueError(f"samples is {self.samples}, and there is no grid to draw from; give one, or remove it")
        return self

    @model_validator(mode="after")
    def _tpe_can_propose(self) -> Self:
        if self.sampler == "tpe":
            tpe.refuse_unfit(
                self.grid,
                samples=self.samples,
                asha=self.asha is not None,
                validated=self.recipe.val_size > 0,
                pretrained=self.recipe.init == PRETRAINED,
            )
        return self

    @model_validator(mode="after")
    def _asha_can_judge(self) -> Self:
        if self.asha and self.recipe.val_size == 0 and not self.varies("val_size"):
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
        if self.recipe.val_size == 0 and not self.varies("val_size"):
            raise ValueError(
                "confirm chooses by validation accuracy, and val_size is 0; set val_size, or remove confirm"
            )
        return self

    @model_validator(mode="after")
    def _separate_has_every_seed(self) -> Self:
        if not self.separate:
            return self
        if self.asha:
            raise ValueError(
                "separate compares all seeds of every configuration, and asha stops some of them early; "
                "run without asha (--no-asha)"
            )
        if self.confirm:
            raise ValueError("separate and confirm both train further seeds; remove one of them")
        if (listed := len(self.seeds or (0,))) > self.separate.max_seeds:
            raise ValueError(
                f"separate.max_seeds is {self.separate.max_seeds} and {listed} seeds are listed; give at least {listed}"
            )
        return self

    def replace(self, **changes: Any) -> "Experiment":
        """Return this experiment with `changes`, validated as a new one is."""
        return Experiment.model_validate({**self.model_dump(), **changes})

    def varies(self, field: str) -> bool:
        """Return whether a recipe field is an axis of the grid."""
        return field in grid.fields(self.grid)

    def differs_in(self, field: str) -> bool:
        """Return whether trials may differ in a recipe field: the grid or an entry of `include` has it."""
        return self.varies(field) or any(field in entry for entry in self.include)

    @property
    def samples_listed(self) -> int | None:
        """The number of samples that are known before anything has been trained; None where every combination is."""
        return min(self.samples, self.round_size) if self.samples and self.sampler == "tpe" else self.samples

    @property
    def samples_proposed(self) -> int:
        """The number of samples that tpe proposes, by what the trials before have reached; 0 for other samplers."""
        return (self.samples or 0) - (self.samples_listed or 0)

    def combinations(self) -> list[dict[str, Any]]:
        """Return the combinations of the grid that are known before anything has been trained, as values by axis."""
        if self.samples_listed:
            return grid.draw(self.grid, samples=self.samples_listed, sampler=self.sampler)
        return grid.combinations(self.grid)

    def proposed(self, values: Mapping[str, Any]) -> list[Trial]:
        """Return the trials of a combination that tpe has proposed, one for each seed.

        There are none where it cannot be trained, or is none of this grid, which may have changed since.
        """
        if self.sampler != "tpe" or not tpe.contains(self.grid, values):
            return []
        try:
            recipe = combined(self.recipe, values)
        except ExperimentError:
            return []
        if recipe.batch_size < self.resources.most_workers or any(matches(recipe, entry) for entry in self.exclude):
            return []
        return [Trial.of(recipe.replace(seed=seed)) for seed in self.seeds or (self.recipe.seed,)]

    def trials(self) -> list[Trial]:
        """Return the trials in listed order; combinations that train the same are one.

        In its recipe, fields without effect have the values of `recipe`, so that it stays the same trial when the grid
        gets further values of them. Of a search with tpe they are the first round.

        Raises:
            ExperimentError: A combination is invalid, nothing is left, or there are more than `MAX_TRIALS`.
        """
        distinct: dict[tuple[Any, ...], Recipe] = {}
        for recipe in self._recipes():
            distinct.setdefault(recipe.effect, recipe)
        trials = [Trial.of(plain(recipe, like=self.recipe)) for recipe in distinct.values()]
        refuse_what_cannot_run(
            trials, asha=self.asha, separate=self.separate, workers=self.resources.most_workers, sampler=self.sampler
        )
        return trials

    def alternatives(self) -> dict[str, list[Trial]]:
        """Return the combinations that train the same as a trial, by its id, where there are any.

        Earlier versions took the first one that was listed for the trial.
        """
        listed: dict[tuple[Any, ...], list[Recipe]] = {}
        for recipe in self._recipes():
            listed.setdefault(recipe.effect, []).append(recipe)
        found: dict[str, list[Trial]] = {}
        for same in listed.values():
            chosen = plain(same[0], like=self.recipe)
            if any(one != chosen for one in same):
                found[Trial.of(chosen).id] = [Trial.of(one) for one in same]
        return found

    def repeated(self) -> str:
        """Return a sentence about the combinations that train the same as another, "" where there are none."""
        recipes = self._recipes()
        several = (len(recipes) - len({recipe.effect for recipe in recipes})) // len(self.seeds or (0,))
        if not several:
            return ""
        why = why_the_same(recipes, listed="drawn" if self.samples else "listed")
        what = "combination trains" if several == 1 else "combinations train"
        left_out = f"{several} {what} the same as another, and {'is' if several == 1 else 'are'} left out"
        return f"{left_out}: {why}" if why else left_out

    def _recipes(self) -> list[Recipe]:
        seeds = self.seeds or (self.recipe.seed,)
        count = (self.samples or grid.size(self.grid)) + len(self.include)
        if count * len(seeds) > MAX_TRIALS:
            raise ExperimentError(
                f"the grid has {count * len(seeds):,} trials, more than the {MAX_TRIALS:,} allowed; "
                "remove values or axes"
            )
        combinations = self.combinations()
        refuse_unknown_arguments(self.exclude, self.grid, self.recipe)
        made = (combined_unless_excluded(self.recipe, values, exclude=self.exclude) for values in combinations)
        recipes = [recipe for recipe in made if recipe]
        # With no grid the product is the recipe itself: `include` alone then means the listed trials alone.
        if self.include and not self.grid:
            recipes = []
        recipes += (combined(self.recipe, entry) for entry in self.include)
        if not recipes:
            if self.samples_proposed:
                raise ExperimentError(
                    f"`exclude` leaves nothing of the first round of tpe (combinations: {len(combinations)}); "
                    "give a larger round_size (--round-size), or remove an entry of exclude"
                )
            raise ExperimentError(f"`exclude` leaves no trial of {len(combinations)}; remove an entry")
        return [one if one.seed == seed else one.replace(seed=seed) for seed in seeds for one in recipes]
