"""Whether a trial that was trained again gives what is on record: bit for bit, or as near as another seed would be."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from raytrain.analysis.record import RunRecord
from raytrain.analysis.statistics.p_values import p_text
from raytrain.analysis.statistics.sample import Sample
from raytrain.analysis.statistics.significance import ALPHA, mcnemar, one_against_several
from raytrain.comparison.circumstances import Difference, circumstances, differences
from raytrain.errors import RunFolderError
from raytrain.metrics.predictions import Predictions
from raytrain.runs.results import TrialResult, configurations

SCHEMA_VERSION = 1
DECISIVE = ("processor", "device", "precision", "threads", "workers")
"""What of the machine must be equal, beside all versions, for equal bits on a CPU."""
MCNEMARS = "McNemar's"
"""The test on the test images, which judges where there is one seed on record."""
Verdict = Literal["equal", "within the noise", "different"]


@dataclass(frozen=True)
class Verification:
    """What training a trial again has shown.

    Attributes:
        trial: The trial, by id.
        verdict: "equal" bit for bit; "within the noise" of seeds or test images, where equal bits cannot be expected;
            else "different".
        exact: Whether equal bits were expected: on a CPU, in one process, with the same data, versions, processor,
            precision and number of threads.
        accuracy: Test accuracy on record, a fraction in [0, 1].
        accuracy_again: Test accuracy of the rerun; None unless it finished.
        p_value: P-value that the rerun is a seed like those on record; None where the bits decide.
        test: The test, in words.
        first_epoch: First epoch that differs; None where all are equal.
        images: Number of test images whose predicted class differs; None where they cannot be compared.
        differences: In what the data, code, versions and machine differ.
        measured: Names of the final numbers that differ, such as "test_loss".
    """

    trial: str
    verdict: Verdict
    exact: bool
    accuracy: float
    accuracy_again: float | None
    p_value: float | None
    test: str
    first_epoch: int | None
    images: int | None
    differences: Sequence[Difference]
    measured: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether the record is confirmed."""
        return self.verdict != "different"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, with the version of their layout."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def sentences(self) -> Iterator[str]:
        """Yield what was found, in words."""
        if self.verdict == "equal":
            yield f"{self.trial}: every epoch and every prediction is equal, bit for bit."
        elif self.accuracy_again is None:
            yield f"{self.trial}: the rerun did not finish."
        else:
            yield (
                f"{self.trial}: {100 * self.accuracy:.2f} % on record, {100 * self.accuracy_again:.2f} % again. "
                + "; ".join(self._where())
                + "."
            )
        if self.p_value is not None:
            noise = "the test images explain" if self.test.startswith(MCNEMARS) else "seeds differ"
            found = f"no more than {noise}" if self.holds else "more than chance explains"
            said = p_text(self.p_value)
            yield f"That is {found}: p {said if said.startswith('<') else f'= {said}'} ({self.test})."
        elif self.verdict == "different" and self.exact:
            yield "Equal bits were expected: the data, versions, processor and threads are the same, on a CPU."
        for difference in self.differences:
            yield f"Differs in {difference}."
        if self.verdict == "different" and not self.differences:
            yield "Nothing on record differs: neither data, code, versions nor threads."

    def _where(self) -> Iterator[str]:
        if self.first_epoch is not None:
            yield f"epoch {self.first_epoch} is the first that differs"
        if self.images is not None:
            images = "1 test image is" if self.images == 1 else f"{self.images:,} test images are"
            yield f"{images} predicted as another class"
        if self.measured and self.first_epoch is None:
            yield f"final numbers that differ: {', '.join(self.measured)}"


def verify(record: RunRecord, result: TrialResult, again: RunRecord) -> Verification:
    """Compare a finished trial with the same recipe, trained again.

    Where equal bits cannot be expected, the rerun is judged as one more seed: Student's test of one observation against
    the seeds of the configuration on record, at 5 %. With one seed on record the noise of seeds is not known; then
    McNemar's test on the test images judges, at 5 %.

    The code does not excuse a difference: whether it gives the same numbers is what is verified.

    Args:
        record: Record of the run.
        result: The trial of it.
        again: Record of the run with the rerun, its only trial.

    Raises:
        RunFolderError: The trial, or its predictions, are not on record.
    """
    before = predictions_of(record, result)
    assert result.test_accuracy is not None, "it has predictions"
    (repeated,) = again.state.results()
    now = circumstances(again, repeated)
    found, device = differences(circumstances(record, result), now), now["machine"]
    exact = device["device"] == "cpu" and device["workers"] == "1" and not any(map(_decides, found))
    after = again.predictions.get(repeated.trial)
    if after is None or repeated.test_accuracy is None:
        return Verification(result.trial, "different", exact, result.test_accuracy, None, None, "", None, None, found)
    first_epoch = _first_that_differs(record.epochs.get(result.trial, ()), again.epochs.get(repeated.trial, ()))
    same_images = np.array_equal(before.labels, after.labels) and not any(one.part == "data" for one in found)
    images = int((before.predicted != after.predicted).sum()) if same_images else None
    numbers = _measured(repeated)
    measured = [name for name, value in _measured(result).items() if value != numbers[name]]
    equal = (
        first_epoch is None
        and images == 0
        and np.array_equal(before.probabilities, after.probabilities)
        and not measured
    )
    p_value, test = None, ""
    if not equal and not exact and same_images:
        group = next(one for one in configurations(record.listed) if result in one)
        sample = Sample.of(group, record.predictions)
        if len(sample.accuracies) > 1:
            p_value = one_against_several(repeated.test_accuracy, sample.accuracies, floor=sample.floor)
            test = f"one more seed against the {len(sample.accuracies)} on record"
        else:
            p_value = mcnemar(before.correct, after.correct)
            test = (
                f"{MCNEMARS} on {len(before.labels):,} test images; one seed on record does not show the noise of seeds"
            )
    within = p_value is not None and p_value >= ALPHA
    verdict: Verdict = "equal" if equal else "within the noise" if within else "different"
    return Verification(
        result.trial,
        verdict,
        exact,
        result.test_accuracy,
        repeated.test_accuracy,
        p_value,
        test,
        first_epoch,
        images,
        found,
        measured,
    )


def predictions_of(record: RunRecord, result: TrialResult) -> Predictions:
    """Return the predictions of a trial, without which it cannot be verified.

    Raises:
        RunFolderError: There are none, or the epochs, with which they are compared, are lost.
    """
    found = record.predictions.get(result.trial)
    if found is None or result.test_accuracy is None:
        raise RunFolderError(f"{result.trial} has no predictions on record: only a finished trial can be verified")
    if not record.epochs.get(result.trial):
        raise RunFolderError(
            f"{result.trial} has no epochs on record, so there is nothing to compare: its metrics.jsonl is lost.\n"
            "To rebuild it: raytrain resume RUN --repair"
        )
    return found


def _decides(difference: Difference) -> bool:
    return difference.part in {"data", "versions"} or (difference.part == "machine" and difference.name in DECISIVE)


def _measured(result: TrialResult) -> dict[str, Any]:
    names = ("best_epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy")
    return {name: getattr(result, name) for name in (*names, "test_tta_accuracy")}


def _first_that_differs(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the first epoch whose numbers differ, the time left out, or that only one has; None for none."""
    here, there = ({row["epoch"]: _numbers(row) for row in rows} for rows in (before, after))
    return next((epoch for epoch in sorted({*here, *there}) if here.get(epoch) != there.get(epoch)), None)


def _numbers(row: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in row.items() if name != "seconds"}, sort_keys=True)
