"""What the shipped experiments say of the student's curves is what the curves say."""

import re
from pathlib import Path
from statistics import fmean

import pytest
from scipy import stats

from raytrain.baselines.baselines import open_baseline

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@pytest.fixture(scope="module")
def accuracies() -> dict[str, list[float]]:
    """Return the test accuracy of each network after each epoch."""
    curves = {curve.name: curve for curve in open_baseline("student").curves}
    return {name: [value for value in curves[name].test_accuracy if value is not None] for name in NETWORKS}


@pytest.mark.parametrize("epoch", [10, 50])
def test_the_agreement_of_an_early_order_with_the_last_is_as_compare_yaml_says(
    epoch: int, accuracies: dict[str, list[float]]
) -> None:
    ends = [[of(curve) for curve in accuracies.values()] for of in (lambda c: c[-1], lambda c: fmean(c[-20:]), max)]
    early = [curve[epoch - 1] for curve in accuracies.values()]
    taus = [round(float(stats.kendalltau(early, end).statistic), 1) for end in ends]
    (row,) = re.findall(rf"epoch {epoch} +(\S+) +(\S+) +(\S+)", (EXPERIMENTS / "compare.yaml").read_text())
    assert [float(value) for value in row] == taus
