"""Combinations that are likely to be good, by the trials so far: the tree-structured Parzen estimator of Optuna.

Two densities are fitted to the trials so far, one to the best and one to the others; what is proposed has a high ratio
of the two (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"). The densities are of all axes
together, as in BOHB (Falkner et al. 2018, arXiv:1807.01774). We differ from Optuna in that several combinations are
proposed at once, before any of them is trained, so that they are known and can be written down. Each counts as a bad
one while the next is proposed ("constant liar"), which keeps them apart.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raytrain.data.data_key import DataKey
from raytrain.errors import ExperimentError
from raytrain.experiment.search.grid import Axis, Grid, branches, fields, is_range, rounded
from raytrain.experiment.search.repeated import repeated_axis

_READ_BEFORE = frozenset({*DataKey._fields, "init"})
"""Recipe fields that name what is read before a run starts: images, and weights to start from."""
TRIES = 20
"""Number of proposals that are looked at for each one that is wanted, until as many are acceptable."""


@dataclass(frozen=True)
class Observation:
    """What a trained combination has reached.

    Attributes:
        values: Values by recipe field; other fields than those of the grid may be among them.
        quality: What it has reached on validation, of which more is better; None if it diverged or failed, which
            counts as worse than everything.
        stopped_at: Epoch after which it was stopped or paused; None for one that ran to its end. One that was stopped
            counts as worse than all that ran to their end, and the earlier the worse.
    """

    values: Mapping[str, Any]
    quality: float | None
    stopped_at: int | None = None


def propose(
    grid: Grid,
    observed: Iterable[Observation],
    *,
    count: int,
    seed: int,
    acceptable: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> list[dict[str, Any]]:
    """Return combinations that are likely to be good, each as its values by recipe field.

    The same arguments give the same combinations.

    Args:
        grid: Axes of the search.
        observed: What has been trained, in a fixed order. What is not in the grid is left out.
        count: Number of combinations; fewer are returned where too few acceptable ones are found.
        seed: Seed of the sampler.
        acceptable: Function that says whether a combination may be trained.

    Raises:
        ExperimentError: Optuna is not installed.
    """
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs every study that is made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group` is new, and the version pinned
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=0, multivariate=True, group=_is_conditional(grid), constant_liar=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for one in observed:
        if told := _told(grid, one):
            study.add_trial(told)
    proposals: list[dict[str, Any]] = []
    for _ in range(TRIES * count):
        if len(proposals) == count:
            break
        values = _suggested(study.ask(), grid)
        if acceptable(values):  # else it counts as a bad one in this round, so that others are proposed
            proposals.append(values)
    return proposals


def contains(grid: Grid, values: Mapping[str, Any]) -> bool:
    """Return whether a combination could be drawn from a grid: a value for each axis, and none of another field."""
    return set(values) <= fields(grid) and _placed(grid, values) is not None


def refuse_unfit(grid: Grid, *, samples: int | None, asha: bool, validated: bool, pretrained: bool = False) -> None:
    """Refuse a search that tpe cannot do.

    Args:
        grid: Axes of the search.
        samples: Number of combinations in all; None where the experiment does not say it.
        asha: Whether trials are stopped early.
        validated: Whether the recipe has a validation split.
        pretrained: Whether networks start from the weights of their library.

    Raises:
        ValueError: It cannot.
    """
    if samples is None:
        raise ValueError("sampler: tpe needs samples, the number of combinations in all rounds, such as samples: 40")
    if early := sorted(field for field in fields(grid) if field.partition(".")[0] in _READ_BEFORE):
        raise ValueError(
            f"sampler: tpe proposes values while the run goes on, and what {' and '.join(early)} say is read before it "
            "starts; take them out of the grid, or use sampler: random"
        )
    if twice := repeated_axis(grid):  # files are refused for any sampler, but experiments are made in Python too
        raise ValueError(twice.message)
    if pretrained and any(field.partition(".")[0] == "arch" for field in fields(grid)):
        raise ValueError(
            "sampler: tpe proposes values while the run goes on, and init: pretrained reads the weights of every arch "
            "before it starts; take arch out of the grid, or use sampler: random"
        )
    if asha and "epochs" in fields(grid):
        raise ValueError(
            "asha takes its rungs from the longest trial, which sampler: tpe may propose at any time; take epochs out "
            "of the grid, or run without asha (--no-asha)"
        )
    if not validated:
        raise ValueError("sampler: tpe learns from validation accuracy, and val_size is 0; set val_size")


def refuse_without_optuna() -> None:
    """Refuse a search that needs Optuna where it is not installed.

    Raises:
        ExperimentError: It is not.
    """
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ExperimentError(
            "sampler: tpe needs Optuna, which is not installed; in the checkout of raytrain: pip install '.[optuna]'"
        ) from error
    return optuna


@dataclass(frozen=True)
class _Parameter:
    """An axis as Optuna has it: a range, or the positions of its values.

    Attributes:
        name: Name of the field, after those of the values that the axis depends on: "optimizer=sgd/momentum".
        kind: Name of the range; "choice" for positions.
        low: Lower end of the range, or 0.
        high: Upper end of the range, or the last position.
    """

    name: str
    kind: str
    low: float
    high: float

    @classmethod
    def of(cls, name: str, axis: Axis) -> "_Parameter":
        """Return the parameter that stands for an axis."""
        if is_range(axis):
            assert isinstance(axis, dict)
            ((kind, (low, high)),) = axis.items()
            return cls(name, kind, low, high)
        return cls(name, "choice", 0, len(branches(axis)) - 1)

    def distribution(self) -> Any:
        """Return Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(range(int(self.high) + 1))
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high))
        return FloatDistribution(self.low, self.high, log=self.kind == "loguniform")

    def suggested(self, trial: Any) -> Any:
        """Return the value that a trial of Optuna's proposes: a number in the range, or a position."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, range(int(self.high) + 1))
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low), int(self.high))
        number = trial.suggest_float(self.name, self.low, self.high, log=self.kind == "loguniform")
        return rounded(number, self.low, self.high)


def _told(grid: Grid, one: Observation) -> Any:
    """Return an observation as a trial of Optuna's; None where it is not in the grid."""
    from optuna.trial import TrialState, create_trial

    placed = _placed(grid, one.values)
    if placed is None:
        return None
    pruned = one.quality is None or one.stopped_at is not None
    return create_trial(
        params={parameter.name: value for parameter, value in placed.items()},
        distributions={parameter.name: parameter.distribution() for parameter in placed},
        # Optuna ranks pruned trials below complete ones, the longer before the shorter, and those without values last
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        value=None if pruned else one.quality,
        intermediate_values={one.stopped_at or 0: one.quality} if pruned and one.quality is not None else None,
    )


def _placed(grid: Grid, values: Mapping[str, Any], *, path: str = "") -> dict[_Parameter, Any] | None:
    """Return the parameters that have an effect at a combination, each with its value; None outside of the grid."""
    placed: dict[_Parameter, Any] = {}
    for field, axis in grid.items():
        if field not in values:
            return None
        value, parameter = values[field], _Parameter.of(f"{path}{field}", axis)
        if parameter.kind != "choice":
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole or (isinstance(value, float) and parameter.kind != "int")):
                return None
            if not parameter.low <= value <= parameter.high:
                return None
            placed[parameter] = value
            continue
        found = [n for n, (option, _) in enumerate(branches(axis)) if _as_in_a_file(option) == _as_in_a_file(value)]
        if not found:
            return None
        placed[parameter] = found[0]
        option, axes = branches(axis)[found[0]]
        below = _placed(axes, values, path=f"{parameter.name}={option}/")
        if below is None:
            return None
        placed |= below
    return placed


def _suggested(trial: Any, grid: Grid, *, path: str = "") -> dict[str, Any]:
    """Return the combination that a trial of Optuna's proposes."""
    values: dict[str, Any] = {}
    for field, axis in grid.items():
        parameter = _Parameter.of(f"{path}{field}", axis)
        suggested = parameter.suggested(trial)
        if parameter.kind != "choice":
            values[field] = suggested
            continue
        value, axes = branches(axis)[suggested]
        values |= {field: value, **_suggested(trial, axes, path=f"{parameter.name}={value}/")}
    return values


def _as_in_a_file(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _is_conditional(grid: Grid) -> bool:
    return any(axes for axis in grid.values() if not is_range(axis) for _, axes in branches(axis))
