"""Tests of `results --where` that leaves no row: columns, files and baselines are as with all rows."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from raytrain.cli.app import app

WriteRun = Callable[..., None]
NOTHING = ("--where", "lr > 100")


def results_of(*words: str) -> Any:
    return CliRunner().invoke(app, ["results", *words])


@pytest.fixture
def runs(write_run: WriteRun) -> tuple[str, str]:
    """Return the names of two runs on the same images."""
    for name, lr in (("one", 0.1), ("two", 0.2)):
        write_run(name, [range(900)], recipe={"lr": lr, "dataset": "cifar10", "select": "macro_f1"})
    return "one", "two"


@pytest.mark.parametrize("format_", ["table", "md", "csv"])
def test_the_run_is_still_a_column_of_several_runs(runs: tuple[str, str], format_: str) -> None:
    shown = results_of(*runs, "--columns", "run,trial", "-f", format_, *NOTHING)
    headings = shown.stdout.replace(",", " ").split()
    assert (shown.exit_code, "run" in headings, "trial" in headings) == (0, True, True), shown.stderr
    assert results_of("one", "--columns", "run,trial", "-f", format_, *NOTHING).exit_code == 2


def test_files_keep_their_columns_and_types(runs: tuple[str, str], tmp_path: Path) -> None:
    for words in (runs, ("one",), (*runs, "--columns", "run,lr,rank")):
        for name, options in (("all.parquet", ()), ("none.parquet", NOTHING)):
            written = results_of(*words, *options, "-f", "parquet", "-o", str(tmp_path / name))
            assert written.exit_code == 0, written.stderr
        rows, none = (parquet.read_table(tmp_path / name) for name in ("all.parquet", "none.parquet"))
        assert (none.num_rows, none.schema) == (0, rows.schema)
        headings = [results_of(*words, *options, "-f", "csv").stdout.splitlines()[0] for options in ((), NOTHING)]
        assert headings == [",".join(rows.column_names)] * 2


def test_the_tables_of_several_data_sets_keep_their_columns(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("one", [range(900)], recipe={"dataset": "photos", "val_size": 20}, fingerprint="a")
    write_run("two", [range(900)], recipe={"dataset": "numbers", "val_size": 20}, fingerprint="b")
    for name, options in (("all.parquet", ()), ("none.parquet", NOTHING)):
        assert results_of("one", "two", *options, "-f", "parquet", "-o", str(tmp_path / name)).exit_code == 0
    rows, none = (parquet.read_table(tmp_path / name) for name in ("all.parquet", "none.parquet"))
    assert (rows.num_rows, none.num_rows, none.schema) == (2, 0, rows.schema)
    assert rows.column_names[:3] == ["data", "rank", "chosen"]


def test_an_unknown_column_to_sort_by_is_refused_as_with_rows(runs: tuple[str, str]) -> None:
    for words in (("one",), runs):
        with_rows, without = (results_of(*words, "--sort", "-second", *options) for options in ((), NOTHING))
        assert (with_rows.exit_code, without.exit_code) == (2, 2)
        assert "unknown column for --sort 'second'; did you mean 'seconds'?" in without.stderr
        assert without.stderr == with_rows.stderr
    assert results_of("one", "--sort", "-seconds", *NOTHING).exit_code == 0


def test_the_rows_of_a_baseline_stay_at_the_epoch_of_the_run(runs: tuple[str, str]) -> None:
    def shown(*options: str) -> list[dict[str, Any]]:
        text = results_of(*runs, "--baseline", "student", "--json", *options).stdout
        return [row for row in json.loads(text)["trials"] if row["status"] == "baseline"]

    assert len(shown()) > 0
    assert shown(*NOTHING) == shown()
    table = results_of(*runs, "--baseline", "student", "-f", "csv", "--columns", "run,trial,epochs", *NOTHING)
    assert len([*csv.DictReader(io.StringIO(table.stdout))]) == len(shown())
