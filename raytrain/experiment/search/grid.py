"""The axes of a grid: values that are listed, that depend on another field, or that are drawn from a range.

An axis is kept in one of three forms:

- a tuple: its values;
- a mapping with one key of `RANGES`: the range that samples are drawn from, `{"loguniform": (1e-4, 1.0)}`;
- any other mapping: its keys are the values, and each has axes of its own, `{"sgd": {"momentum": (0.8, 0.9)}}`. In a
  file and in JSON they are text, also where the value is a number, true or false.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args

from raytrain.errors import unknown
from raytrain.experiment.search.arguments import is_argument
from raytrain.training.choices import as_tuple, canonical
from raytrain.training.recipe import Recipe

Axis = tuple[Any, ...] | dict[Any, Any]
"""An axis in one of the three forms above."""
Grid = Mapping[str, Axis]
"""Axes by recipe field."""
Sampler = Literal["grid", "random", "sobol", "tpe"]

SIGNIFICANT_DIGITS = 4
"""Digits of a drawn number: more would make tables wide and say nothing."""


def _uniform(low: float, high: float, share: float) -> float:
    return rounded(low + (high - low) * share, low, high)


def _loguniform(low: float, high: float, share: float) -> float:
    return rounded(low * (high / low) ** share, low, high)


def _int(low: float, high: float, share: float) -> int:
    return min(math.floor(low + (high - low + 1) * share), int(high))


def rounded(value: float, low: float, high: float) -> float:
    """Return a drawn number with `SIGNIFICANT_DIGITS`, within the ends of its range."""
    return float(min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), low), high))


RANGES: dict[str, Callable[[float, float, float], float]] = {
    "uniform": _uniform,
    "loguniform": _loguniform,
    "int": _int,
}
"""Functions from the ends of a range and a share in [0, 1] to the value there, by the name of the range."""


def checked_axis(field: str, given: object) -> Axis:
    """Return an axis as experiments keep it.

    Args:
        field: Recipe field that varies, or an argument of its component, such as `arch.depth`.
        given: What a file says: a list, a range, or values with axes of their own.

    Raises:
        ValueError: It is none of these.
    """
    if field == "seed":
        raise ValueError("'seed' is not a grid axis; list seeds under `seeds:`, beside grid")
    if field not in Recipe.model_fields and not is_argument(field):
        raise ValueError(unknown(field, Recipe.model_fields, "recipe field"))
    if isinstance(given, Mapping):
        if len(given) == 1 and next(iter(given)) in {*RANGES, "choice"}:
            ((kind, value),) = given.items()
            return _listed(field, value) if kind == "choice" else {kind: _ends(field, kind, value)}
        return _conditional(field, given)
    return _listed(field, given)


def _listed(field: str, given: object) -> tuple[Any, ...]:
    values = as_tuple(given)
    if not isinstance(values, tuple):
        raise ValueError(  # noqa: TRY004 (pydantic reports a ValueError)
            f"given {given!r}; must be a list of values, or a range such as {{uniform: [0, 1]}}: {', '.join(RANGES)}"
        )
    if not values:
        raise ValueError(f"the axis {field!r} is empty; give it at least one value, or remove it")
    return tuple(canonical(field, one) for one in values)


def _ends(field: str, kind: str, given: object) -> tuple[float, float]:
    values = as_tuple(given)
    numbers: Any = values if isinstance(values, tuple) else ()
    if len(numbers) != 2 or not all(type(one) in {int, float} and math.isfinite(one) for one in numbers):
        raise ValueError(f"{kind} of {field!r} is {given!r}; give its two ends, such as {{{kind}: [1, 8]}}")
    low, high = numbers
    if low >= high:
        raise ValueError(f"{kind} of {field!r} goes from {low:g} to {high:g}; give the lower end first")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"loguniform of {field!r} begins at {low:g}; both ends must be above 0")
    if kind == "int" and not all(type(one) is int for one in numbers):
        raise ValueError(f"int of {field!r} goes from {low:g} to {high:g}; give whole numbers")
    return low, high


def _conditional(field: str, given: Mapping[Any, Any]) -> dict[Any, Any]:
    if not given:
        raise ValueError(f"the axis {field!r} is empty; give it at least one value, or remove it")
    axes: dict[Any, Any] = {}
    for key, below in given.items():
        value = value_of_key(field, key)
        if not isinstance(value, (str, bool, int, float) if _takes_numbers(field) else str):
            raise ValueError(  # noqa: TRY004 (pydantic reports a ValueError)
                f"the value {value!r} of the axis {field!r} is no name; only a name has axes of its own"
            )
        if below is not None and not isinstance(below, Mapping):
            raise ValueError(
                f"the value {value!r} of the axis {field!r} has {below!r} below it; give it axes of its own, such as "
                f"{{{value}: {{momentum: [0.8, 0.9]}}}}, or {{}} for none. The ranges are {', '.join(RANGES)}"
            )
        if (kept := canonical(field, value)) in axes:
            raise ValueError(f"the axis {field!r} has the value {value!r} twice; put all axes of it below one of them")
        axes[kept] = {name: checked_axis(name, axis) for name, axis in (below or {}).items()}
    return axes


def value_of_key(field: str, key: object) -> Any:
    """Return the value of an axis that a key stands for, below which it has axes of its own.

    Keys of a file are text. Where the field takes numbers, or true and false, the key is read as one if it can be; so
    it is for an argument, whose type is not known here.
    """
    if not isinstance(key, str) or not _takes_numbers(field):
        return key
    for kind in (int, float):
        with suppress(ValueError, OverflowError):
            if math.isfinite(number := kind(key)):
                return number
    return {"true": True, "false": False}.get(key.lower(), key)


def _takes_numbers(field: str) -> bool:
    if field not in Recipe.model_fields:
        return True
    kind = Recipe.model_fields[field].annotation
    return not {bool, int, float}.isdisjoint((kind, *get_args(kind)))


def is_range(axis: Axis) -> bool:
    """Return whether the values of an axis are drawn."""
    return isinstance(axis, dict) and len(axis) == 1 and next(iter(axis)) in RANGES


def branches(axis: Axis) -> list[tuple[Any, Grid]]:
    """Return the values of an axis that is no range, each with the axes that depend on it."""
    return list(axis.items()) if isinstance(axis, dict) else [(value, {}) for value in axis]


def fields(grid: Grid) -> frozenset[str]:
    """Return the recipe fields that vary in a grid, those of dependent axes included."""
    below = [fields(axes) for axis in grid.values() if not is_range(axis) for _, axes in branches(axis)]
    return frozenset(grid).union(*below)


def order(grid: Mapping[str, Any]) -> list[str]:
    """Return the axes, and the values that have axes of their own, as they come: what a drawn point is read by."""
    found: list[str] = []
    for field, axis in grid.items():
        found.append(field)
        if isinstance(axis, dict) and not is_range(axis):
            for value, below in axis.items():
                found += [str(value), *order(below)]
    return found


def ranges(grid: Grid) -> list[str]:
    """Return the names of the fields that are drawn from ranges."""
    return [field for field in sorted(fields(grid)) if any(is_range(axis) for axis in _axes_of(grid, field))]


def _axes_of(grid: Grid, field: str) -> Iterator[Axis]:
    for name, axis in grid.items():
        if name == field:
            yield axis
        if not is_range(axis):
            for _, below in branches(axis):
                yield from _axes_of(below, field)


def values_of(grid: Grid, field: str) -> list[Any]:
    """Return the values that a field may have in a grid; of a range its two ends."""
    return [
        value
        for axis in _axes_of(grid, field)
        for value in (next(iter(axis.values())) if isinstance(axis, dict) and is_range(axis) else list(axis))
    ]


def size(grid: Grid) -> int:
    """Return the number of combinations of a grid without ranges."""
    return math.prod(sum(size(below) for _, below in branches(axis)) for axis in grid.values())


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """Return every combination of the values of a grid without ranges; the last axis varies fastest."""
    choices = [
        [{field: value, **rest} for value, below in branches(axis) for rest in combinations(below)]
        for field, axis in grid.items()
    ]
    return [{name: one[name] for one in chosen for name in one} for chosen in itertools.product(*choices)]


def draw(grid: Grid, *, samples: int, sampler: Sampler) -> list[dict[str, Any]]:
    """Return combinations that are drawn from a grid.

    A listed value is drawn with equal probability. The first n of a larger number of samples are the same n, so a
    search can grow.

    Args:
        grid: Axes, of which some or none are ranges.
        samples: Number of combinations.
        sampler: random draws independently (Bergstra & Bengio 2012, "Random search for hyper-parameter optimization");
            sobol takes the points of a scrambled Sobol' sequence (Sobol' 1967, Owen 1998), which cover the space more
            evenly; so does the first round of tpe, whose later rounds `search.tpe` proposes. grid draws nothing.
    """
    points = _UNIT_POINTS[sampler](samples, _dimensions(grid))
    return [_at(grid, iter(point)) for point in points]


def _dimensions(grid: Grid) -> int:
    below = [_dimensions(axes) for axis in grid.values() if not is_range(axis) for _, axes in branches(axis)]
    return len(grid) + sum(below)


def _at(grid: Grid, shares: Iterator[float]) -> dict[str, Any]:
    """Return the combination at a point of the unit cube; every axis takes its share, also where it has no effect."""
    chosen: dict[str, Any] = {}
    for field, axis in grid.items():
        share = next(shares)
        if is_range(axis):
            assert isinstance(axis, dict)
            ((kind, (low, high)),) = axis.items()
            chosen[field] = RANGES[kind](low, high, share)
            continue
        listed = branches(axis)
        picked = min(int(share * len(listed)), len(listed) - 1)
        for number, (value, below) in enumerate(listed):
            rest = _at(below, shares)
            if number == picked:
                chosen |= {field: value, **rest}
    return chosen


def _random_points(count: int, dimensions: int) -> Any:
    import numpy as np

    # A generator for each sample: a sample does not depend on how many there are. Its seed is [0, number], as the array
    # that NumPy would make of it, part by part.
    seeds = np.stack([np.zeros(count, np.uint32), np.arange(count, dtype=np.uint32)], axis=1)
    return [np.random.default_rng(seed).random(dimensions).tolist() for seed in seeds]


def _sobol_points(count: int, dimensions: int) -> Any:
    from scipy.stats import qmc

    # a power of 2, as the sequence is balanced in; what is not asked for is left out
    sequence = qmc.Sobol(dimensions, scramble=True, rng=0)
    return sequence.random_base2(max(count - 1, 0).bit_length())[:count].tolist()


_UNIT_POINTS: dict[str, Callable[[int, int], Any]] = {
    "random": _random_points,
    "sobol": _sobol_points,
    "tpe": _sobol_points,
}
