"""Tests of benchmarks/: what is compared is compared the right way round, and shown as it was measured."""

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

from raytrain.analysis.statistics.sequential import floors_of

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import comparison

    return comparison


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the module that makes tables of records, which it looks for in `tmp_path`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import record

    monkeypatch.setattr(record, "RECORDS", tmp_path)
    return record


@pytest.fixture
def write(comparison: ModuleType, record: ModuleType) -> Callable[..., Path]:
    """Return a function that writes the record "some" where tables are made of it."""

    def written(*rows: Any, target: tuple[str, float, str] | None = None, **details: object) -> Path:
        kept = comparison.Record("some")
        for row in rows:
            kept.add(row)
        if target:
            kept.target(*target, met=True)
        kept.details |= details
        return kept.write(record.RECORDS / "bench-some.json")

    return written


def test_fewer_seconds_are_better_and_more_images_per_second_too(comparison: ModuleType):
    seconds = comparison.Comparison("x", "y", "s", [1.0, 2.0, 1.0], [3.0, 4.0, 8.0])
    images = comparison.Comparison("x", "y", "images/s", [30.0, 20.0, 80.0], [10.0, 10.0, 10.0])
    assert seconds.ratios == [3.0, 2.0, 8.0]
    assert images.ratios == [3.0, 2.0, 8.0]
    assert seconds.ratio == images.ratio == 3.0


@pytest.mark.parametrize(("ours", "met"), [(1.09, True), (1.11, False)])
def test_a_bound_on_the_cost_is_met_below_it_only(comparison: ModuleType, ours: float, met: bool):
    row = comparison.Comparison("x", "y", "s", [ours], [1.0]).aiming(cost_at_most=1.1)
    assert row.met is met
    assert ("MISSED" in str(row)) is not met


@pytest.mark.parametrize(("theirs", "met"), [(3.1, True), (2.9, False)])
def test_a_gain_is_met_above_it_only(comparison: ModuleType, theirs: float, met: bool):
    assert comparison.Comparison("x", "y", "s", [1.0], [theirs]).aiming(at_least=3.0).met is met


def test_who_goes_first_changes_from_pair_to_pair(comparison: ModuleType):
    order: list[str] = []
    ours, theirs = comparison.interleaved(
        lambda: order.append("ours") or 1.0, lambda: order.append("theirs") or 2.0, pairs=3
    )
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (ours, theirs) == ([1.0] * 3, [2.0] * 3)


def test_without_a_name_there_are_random_images_of_the_shape_of_cifar(comparison: ModuleType):
    dataset, called = comparison.real_or_random(None)
    assert called == "random images"
    assert dataset.train.images.shape == (50_000, 32, 32, 3)
    assert len(dataset.test) == 10_000


def test_a_record_says_what_was_measured_where_and_the_table_shows_it(
    comparison: ModuleType, record: ModuleType, write: Callable[..., Path]
):
    row = comparison.Comparison("an epoch", "the other loop", "s", [1.0, 2.0], [4.0, 4.0]).aiming(at_least=5.0)
    written = json.loads(write(row, target=("makespan over the bound", 1.05, "≤ 1.1")).read_text())
    assert written["rows"][0]["ratios"] == [4.0, 2.0]
    assert written["machine"]["cores"] >= 1
    assert "host" not in written["machine"]
    assert "git_diff" not in written["code"]
    table = record.benchmarks(["some"])
    assert "| an epoch | 1.5 s | the other loop: 4 s | 3.00 (2.00–4.00, 2 pairs) | ≥ 5 ×, missed |" in table
    assert "| makespan over the bound | 1.05 | | | ≤ 1.1 |" in table
    assert f"torch {written['code']['packages']['torch']}" in table


def test_a_table_can_show_one_comparison_of_a_record(
    comparison: ModuleType, record: ModuleType, write: Callable[..., Path]
):
    write(
        comparison.Comparison("an epoch", "the other loop", "s", [1.0], [4.0]),
        comparison.Comparison("a batch", "the other loop", "s", [1.0], [2.0]),
        target=("makespan over the bound", 1.05, "≤ 1.1"),
    )
    rows = [line for line in record.benchmarks(["some[1]"]).splitlines() if line.startswith("| ")][2:]
    assert rows == ["| a batch | 1 s | the other loop: 2 s | 2.00 |  |"]


def test_a_sentence_stands_for_comparisons_that_have_no_record_yet(
    comparison: ModuleType, record: ModuleType, write: Callable[..., Path]
):
    text = "<!-- benchmarks: some other[1] -->\nold\n<!-- end of benchmarks -->\n"
    assert "-->\n\nThere is no record yet of some and other[1].\n<!--" in record.with_tables(text)
    write(comparison.Comparison("an epoch", "the other loop", "s", [1.0], [4.0]))
    shown = record.with_tables(text)
    assert "| an epoch | 1 s | the other loop: 4 s | 4.00 |  |\n" in shown
    assert shown.endswith("\n\nThere is no record yet of other[1].\n<!-- end of benchmarks -->\n")


def test_the_tables_of_a_simulation_show_its_rows_its_targets_and_its_draws(
    record: ModuleType, write: Callable[..., Path]
):
    table = {"columns": ["noise", "wrong, %"], "rows": [["0.1", "4.9"]]}
    write(target=("the most", 0.049, "≤ 0.05"), draws=2000, tables=[table])
    text = "<!-- simulation: some -->\nold\n<!-- end of simulation -->\n"
    lines = record.with_tables(text).splitlines()
    assert lines[2:5] == ["| noise | wrong, % |", "| :-- | --: |", "| 0.1 | 4.9 |"]
    assert "| the most | 0.049 | ≤ 0.05 |" in lines
    assert any(line.startswith("2,000 draws of each") for line in lines)
    assert "old" not in lines


def test_the_least_variance_of_networks_in_a_bank_is_that_of_their_predictions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import referee_bank

    draw = np.random.default_rng(0)
    correct = draw.random((12, 64)) < 0.7
    recipes = {name: np.arange(3) + 3 * number for number, name in enumerate(referee_bank.RECIPES)}
    bank = referee_bank.Bank(recipes, np.arange(12) % 3, correct.mean(axis=1), correct)
    ours, theirs = draw.integers(0, 12, (2, 5, 4))
    found = bank.differences(ours, theirs)
    for session in range(5):
        apart = correct[ours[session]].astype(np.int8) - correct[theirs[session]]
        np.testing.assert_allclose(found.floors[session], floors_of(apart), atol=1e-12)
        np.testing.assert_allclose(found.values[session], apart.mean(axis=1), atol=1e-12)


@pytest.mark.parametrize(("accuracy", "images", "noise"), [(0.99, 10_000, 0.001), (0.998, 10_000, 0.0005)])
def test_equal_rows_near_100_per_cent_have_the_accuracy_and_the_noise_that_are_asked_for(
    accuracy: float, images: int, noise: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import equal_rows

    draw = np.random.default_rng(0)
    rows = [equal_rows.on_grid([10], noise, images, draw, accuracy=accuracy) for _ in range(600)]
    found = np.array([one.samples[0].accuracies for one in rows])
    assert [one.truth for one in rows] == pytest.approx([accuracy] * 600)
    assert found.mean() == pytest.approx(accuracy, abs=4 * np.sqrt(accuracy * (1 - accuracy) / images / 600))
    assert np.sqrt(found.var(axis=1, ddof=1).mean()) == pytest.approx(noise, rel=0.2)
    assert np.mean([one.networks[0] for one in rows]) == pytest.approx(accuracy, abs=noise / 10)


@pytest.mark.parametrize("table", ["rows", "by select", "near 100 %", "one seed"])
def test_each_row_of_simulated_errors_has_a_cell_for_each_column(table: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import rank_errors

    settings = rank_errors.TABLES[table].settings
    for setting in settings[:: len(settings) - 1]:
        assert len(rank_errors.row((table, setting), draws=1)) == len(rank_errors.TABLES[table].columns)


def test_a_benchmark_of_plans_goes_on_with_the_runs_that_are_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import plan

    asked: list[int | None] = []

    def measured(_: list[str], *, epochs: int | None, minutes: float) -> dict[str, object]:
        asked.append(epochs)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return {"epochs": 7, "planned": {"low": 50, "median": 60 * minutes, "high": 70}, "taken": 60.0 + len(asked)}

    monkeypatch.setattr(plan, "measured", measured)
    words = ["plan.py", "--minutes", "1", "--rows", str(tmp_path / "rows"), "--output", str(tmp_path / "record.json")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(KeyboardInterrupt):
        plan.main()
    assert plan.main() == 0
    assert asked == [None, 7, 7, None, 7, 7, 7, None, 7, 7]
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["details"]["five networks to their end"]["planned over taken"] == [60 / 61, 60 / 62, 60 / 63]
    assert record["targets"][-1]["measured"] == 1.0


SCRIPTS = {path.name: text for path in BENCHMARKS.glob("*.py") if "__main__" in (text := path.read_text())}
"""The text of each benchmark that can be run; the others are imported by these."""


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_every_script_says_how_it_is_run(script: str):
    assert f"python benchmarks/{script}" in SCRIPTS[script].split('"""')[1]


def test_the_mutants_of_a_seed_are_the_same_and_each_is_another_program(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("cosmic_ray")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mutants

    possible = mutants.places(["storage"])
    sample = mutants.drawn(possible, count=20, seed=0)
    assert sample == mutants.drawn(possible, count=20, seed=0) != mutants.drawn(possible, count=20, seed=1)
    assert len({(mutant.module, mutant.line, mutant.column) for mutant in sample}) == 20
    for mutant in sample:
        code, changed = mutant.codes
        compile(changed, mutant.module, "exec")
        assert changed.splitlines()[mutant.line - 1] != code.splitlines()[mutant.line - 1]


def test_the_tests_of_a_mutant_are_those_that_run_its_statement_the_shortest_of_its_package_first(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from covering_tests import CoveringTests, statement_lines

    code = "if (\n    a\n    < b\n):\n    c = (\n        1\n    )\n"
    assert [*statement_lines(code, 3)] == [1, 2, 3, 4]
    assert [*statement_lines(code, 6)] == [5, 6, 7]
    seconds = {
        "tests/a/x.py::long": 50.0,
        "tests/a/x.py::short": 1.0,
        "tests/b/y.py::other": 0.5,
        "tests/a/z.py::s": 2.0,
    }
    by_line = {
        ("m.py", 2): frozenset({"tests/b/y.py::other", "tests/a/x.py"}),
        ("m.py", 9): frozenset({"tests/z.py"}),
    }
    covering = CoveringTests(by_line, seconds)
    chosen = ["tests/a/x.py::short", "tests/a/x.py::long", "tests/b/y.py::other"]
    assert covering.of("m.py", range(1, 5), first="tests/a", seconds=60) == chosen
    assert covering.of("m.py", range(1, 5), first="tests/a", seconds=10) == [chosen[0], chosen[2]]
    assert covering.of("m.py", [3], first="tests/a", seconds=60) == []


def test_the_score_of_mutants_is_the_share_that_did_not_survive(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("cosmic_ray")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mutants

    ends = ["killed", "survived", "took too long", "killed"]
    outcomes = {
        mutants.Mutant("raytrain/runs/writing/lock.py", n, 0, "core/AddNot", 0): end for n, end in enumerate(ends)
    }
    outcomes[mutants.Mutant("raytrain/data/split.py", 1, 0, "core/AddNot", 0)] = "survived"
    assert mutants.summary(outcomes) == {
        "all": {"killed": 2, "survived": 2, "took too long": 1, "score": 0.6},
        "data": {"survived": 1, "score": 0.0},
        "runs": {"killed": 2, "survived": 1, "took too long": 1, "score": 0.75},
    }


def test_abuse_knows_a_right_call_of_every_command_and_a_bad_value_of_every_parameter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import abuse
    import abuse_inputs

    from raytrain.cli.app import app

    functions = dict(abuse_inputs.commands(app))
    assert set(functions) == set(abuse.BASES)
    given = {(bad.command, bad.parameter) for bad in abuse_inputs.bad_values(app)}
    declared = {
        (command, name): parameter.annotation
        for command, function in functions.items()
        for name, parameter in signature(function).parameters.items()
    }
    contexts = {one for one, type_ in declared.items() if type_ is typer.Context}
    assert ("resume",) in {command for command, _ in contexts}
    assert given == declared.keys() - contexts  # nobody can give a context
    calls = {
        (bad.option, bad.value): abuse.words_of(bad) for bad in abuse_inputs.bad_values(app) if bad.command == ("diff",)
    }
    assert calls["", "s3://"] == ["diff", "--", "x", "s3://"]  # the second argument, which comes last
    assert calls["--json", "maybe"] == ["diff", "x", "y", "--json=maybe"]


@pytest.fixture
def fine_tuning(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fine_tuning

    return fine_tuning


def test_epochs_are_counted_to_95_per_cent_of_what_the_same_seed_reaches_from_random_weights(fine_tuning: ModuleType):
    slow, quick = [0.1, 0.5, 0.78, 0.8], [0.5, 0.77, 0.78, 0.79]
    never = [0.1, 0.2, 0.3, 0.4]
    found = fine_tuning.row("digits", "CIFAR-10", [(slow, quick), (slow, slow), (slow, never)])
    assert found == [
        "digits, from CIFAR-10",
        "3",
        "80.0 (80.0–80.0)",
        "79.0 (40.0–80.0)",
        "3 (3–3)",
        "3 (2–> 4)",
    ]


def test_a_part_has_the_first_images_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part, count in (("train", 100), ("test", 40)):
        labels = [number % 10 for number in range(count)]
        table = pa.table({"img": [str(number) for number in range(count)], "label": labels})
        pq.write_table(table, tmp_path / f"{part}-0.parquet")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import image_parts

    of_each = image_parts.first_of_each_class
    made = image_parts.write_part(tmp_path, tmp_path / "part", train=of_each(2), test=of_each(1))
    assert pq.read_table(made / "train.parquet")["img"].to_pylist() == [str(number) for number in range(20)]
    assert pq.read_table(made / "test.parquet")["label"].to_pylist() == list(range(10))


def test_a_table_of_what_was_measured_says_when_and_where_or_that_there_is_no_record(
    record: ModuleType, write: Callable[..., Path]
):
    text = "<!-- measured: some -->\nold\n<!-- end of measured -->\n"
    assert "There is no record yet; `benchmarks/some.py` writes it." in record.with_tables(text)
    write(tables=[{"columns": ["trained on", "epochs"], "rows": [["digits", "4"]]}])
    shown = record.with_tables(text)
    assert "| trained on | epochs |\n| :-- | --: |\n| digits | 4 |\n" in shown
    assert "Measured 20" in shown


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "seconds"), [(1, (0.1, 2)), (1000, (0.1, 2)), (1001, (0.2, 5)), (20000, (0.2, 5))])
def test_the_targets_of_many_trials_are_those_of_their_number(
    monkeypatch: pytest.MonkeyPatch, trials: int, seconds: tuple[float, float]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import many_trials

    assert many_trials.limits(trials) == seconds


def test_another_trial_is_worse_only_where_it_got_fewer_test_images_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import searches

    right = {"best": 60, "worse": 30, "better": 90, "alike": 61}
    seen = {trial: SimpleNamespace(correct=np.arange(100) < count) for trial, count in right.items()}
    whole: Any = SimpleNamespace(predictions=seen)
    assert {trial: searches.comparison_of(whole, "best", trial) for trial in right} == {
        "best": "the same trial",
        "worse": "another, worse",
        "better": "another, better",
        "alike": "another, not separated",
    }
