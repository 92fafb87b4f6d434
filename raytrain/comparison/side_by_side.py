"""Two runs, or two trials, side by side: in what they differ, and whether they are equally good on the test images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raytrain.analysis.ranking import Standing
from raytrain.analysis.record import RunRecord
from raytrain.analysis.statistics.sample import Sample
from raytrain.analysis.statistics.significance import holm
from raytrain.analysis.tested_images import tested_images
from raytrain.comparison.circumstances import Difference, circumstances, differences, settings
from raytrain.comparison.two_configurations import Compared, accuracies, compared
from raytrain.errors import ExperimentError
from raytrain.metrics.predictions import metrics_of
from raytrain.metrics.selection import SELECTIONS, Select
from raytrain.runs.results import TrialResult

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Side:
    """A run, or a trial of it.

    Attributes:
        record: Record of the run.
        trial: The trial; None for the whole run.
    """

    record: RunRecord
    trial: TrialResult | None = None

    def __str__(self) -> str:
        return f"{self.record.name}/{self.trial.digest}" if self.trial else self.record.name


@dataclass(frozen=True)
class AccuracyDifference:
    """The test accuracies of a configuration of one side and one of the other.

    Attributes:
        first: Trials of the first, by id, a seed each.
        second: Trials of the second.
        first_accuracy: Mean test accuracy of the first, a fraction in [0, 1].
        second_accuracy: Mean test accuracy of the second.
        metric: The metric that is compared: what `select` names in both, else accuracy.
        first_value: Mean of that metric over the seeds of the first.
        second_value: The same of the second.
        p_value: P-value that the two are equally good by that metric, corrected by Holm's method for all rows; None
            where nothing compares them.
        test: The test, in words, or why there is none.
    """

    first: Sequence[str]
    second: Sequence[str]
    first_accuracy: float
    second_accuracy: float
    metric: Select
    first_value: float
    second_value: float
    p_value: float | None
    test: str

    @property
    def difference(self) -> str:
        """The second value minus the first, as text: in percentage points, or of a loss in nats."""
        difference = self.second_value - self.first_value
        return f"{difference:+.4f}" if SELECTIONS[self.metric].in_nats else f"{100 * difference:+.2f}"


@dataclass(frozen=True)
class SideBySide:
    """What differs between two sides.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        differences: Recipes or experiments, data, code, versions and machine, where they differ.
        accuracies: A row for each configuration that both have; where they have none in common, or where trials were
            named, one row for the chosen or named ones.
    """

    first: str
    second: str
    differences: Sequence[Difference]
    accuracies: Sequence[AccuracyDifference]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, with the version of their layout."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def side_by_side(first: Side, second: Side) -> SideBySide:
    """Return in what two runs or trials differ; beside a trial, a run is its chosen trial.

    Raises:
        ExperimentError: A run beside a trial has no finished trial.
    """
    if first.trial or second.trial:
        first, second = _as_trial(first), _as_trial(second)
    here, there = _described(first), _described(second)
    rows = [(one, other, _compared(first, second, one, other)) for one, other in _pairs(first, second)]
    corrected = iter(holm([found.p_value for _, _, found in rows if found.p_value is not None]))
    beside = [
        AccuracyDifference(
            [result.trial for result in one.results],
            [result.trial for result in other.results],
            one.test_accuracy or 0.0,
            other.test_accuracy or 0.0,
            found.metric,
            found.first,
            found.second,
            None if found.p_value is None else next(corrected),
            found.test,
        )
        for one, other, found in rows
    ]
    return SideBySide(str(first), str(second), differences(here, there), beside)


def _as_trial(side: Side) -> Side:
    trial = side.trial or side.record.chosen_trial
    if trial is None:
        raise ExperimentError(
            f"no trial of {side.record.name} has finished, so none stands for it beside a trial; name one, as in "
            f"{side.record.name}/TRIAL"
        )
    return Side(side.record, trial)


def _described(side: Side) -> Mapping[str, Mapping[str, str]]:
    if side.trial:
        return {**settings("recipe", side.trial.recipe), **circumstances(side.record, side.trial)}
    experiment = side.record.state.experiment.model_dump(mode="json", exclude={"name"})
    return {**settings("experiment", experiment), **circumstances(side.record)}


def _pairs(first: Side, second: Side) -> list[tuple[Standing, Standing]]:
    here, there = ({_key(one): one for one in _finished(side)} for side in (first, second))
    common = [] if first.trial or second.trial else [(here[key], there[key]) for key in here if key in there]
    if common:
        return common
    one, other = _representative(first), _representative(second)
    return [(one, other)] if one and other else []


def _finished(side: Side) -> list[Standing]:
    return [one for one in side.record.ranking.standings if one.test_accuracy is not None]


def _key(standing: Standing) -> str:
    recipe = {name: value for name, value in standing.results[0].recipe.items() if name != "seed"}
    return json.dumps([recipe, standing.results[0].phase], sort_keys=True)


def _representative(side: Side) -> Standing | None:
    """Return what stands for a side that has no configuration in common with the other."""
    if side.trial is None:
        return side.record.chosen or side.record.ranking.first_complete
    if side.trial.test_accuracy is None:
        return None
    seen = side.record.predictions.get(side.trial.trial)
    metrics = {side.trial.trial: metrics_of(seen)} if seen and len(seen.labels) else {}
    return Standing("", [side.trial], side.trial.test_accuracy, side.trial.val_accuracy, metrics=metrics)


def _compared(first: Side, second: Side, one: Standing, other: Standing) -> Compared:
    if not _same_images(first, second, one, other):
        return accuracies(one, other, why_not="not compared: the data differ")
    return compared((one, first.record.predictions), (other, second.record.predictions))


def _same_images(first: Side, second: Side, one: Standing, other: Standing) -> bool:
    """Return whether two configurations were tested on the same images, as in the table of two runs.

    Images of another size or background have another fingerprint, and are the same images.
    """
    recipes = {"first": one.results[0].recipe, "second": other.results[0].recipe}
    data = {"first": first.record.manifest.get("data", {}), "second": second.record.manifest.get("data", {})}
    here, there = (f"{recipe['dataset']} at " for recipe in recipes.values())
    if here == there and any(
        data["first"][label] != data["second"][label]
        for label in data["first"].keys() & data["second"].keys()
        if label.startswith(here)
    ):
        return False  # the data set has changed in between
    images = tested_images(recipes, data)
    samples = [
        Sample.of(standing.results, side.record.predictions, dataset=images[name])
        for name, side, standing in (("first", first, one), ("second", second, other))
    ]
    return samples[0].on_the_same_images(samples[1])
