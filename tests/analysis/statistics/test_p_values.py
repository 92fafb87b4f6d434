"""Tests of raytrain.analysis.statistics.p_values: no p-value is 0, neither where it is kept nor where it is shown."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from typer.testing import CliRunner

from raytrain.analysis.statistics.bootstrap import MetricSample
from raytrain.analysis.statistics.p_values import LEAST, p_text
from raytrain.analysis.statistics.significance import (
    holm,
    mcnemar,
    mcnemar_of_all,
    one_against_several,
    paired_t,
    welch,
)
from raytrain.cli.app import app
from raytrain.comparison.verification import Verification

MANY = [0.9 + 1e-4 * (-1) ** seed for seed in range(1000)]
"""Seeds that agree so well that floating-point numbers have no name for the chance of another one far away."""


def test_a_p_value_that_is_too_small_for_a_float_is_the_least_and_not_0() -> None:
    right = np.stack([np.ones(2000, dtype=bool), np.zeros(2000, dtype=bool)])
    one, other = (MetricSample([value], np.linspace(0, 1e-3, 100)[None] * value, "x") for value in (0.9, 0.1))
    assert mcnemar(*right) == LEAST
    assert mcnemar_of_all(right)[0, 1] == LEAST
    assert mcnemar_of_all(right)[0, 0] == mcnemar(right[0], right[0]) == 1
    assert welch(MANY, [value - 0.5 for value in MANY]) == LEAST
    assert one_against_several(0.1, MANY) == LEAST
    assert paired_t(MANY) == LEAST
    assert one.p_value(other) == LEAST
    assert holm([LEAST, 0.5]) == [2 * LEAST, 0.5]


@pytest.mark.parametrize(
    ("p_value", "text"), [(1.0, "1"), (0.03124, "0.0312"), (2e-40, "2e-40"), (LEAST, "< 1e-300"), (0.0, "< 1e-300")]
)
def test_a_p_value_has_three_digits_or_is_below_a_number(p_value: float, text: str) -> None:
    assert p_text(p_value) == text


def test_tables_files_and_verifications_show_no_p_of_0(write_run: Callable[..., None]) -> None:
    write_run("run", [range(2000), range(100)], grid={"lr": [0.1, 0.2]}, images=2000)
    write_run("other", [range(100)], recipe={"lr": 0.3}, images=2000)
    for words in (["results", "run", "--columns", "lr,p_value"], ["diff", "run", "other"]):
        shown = CliRunner().invoke(app, words).stdout
        assert "< 1e-300" in shown
    _, row = json.loads(CliRunner().invoke(app, ["results", "run", "--json"]).stdout)["trials"]
    assert row["p_value"] == LEAST
    (pair,) = json.loads(CliRunner().invoke(app, ["diff", "run", "other", "--json"]).stdout)["accuracies"]
    assert pair["p_value"] == LEAST
    again = Verification("a", "different", False, 0.9, 0.1, LEAST, "McNemar's", None, 9, [], ["test_loss"])
    assert "more than chance explains: p < 1e-300 (McNemar's)." in " ".join(again.sentences())
    again = Verification("a", "different", False, 0.9, 0.1, 0.01, "McNemar's", None, 9, [], ["test_loss"])
    assert "p = 0.01 (McNemar's)." in " ".join(again.sentences())
