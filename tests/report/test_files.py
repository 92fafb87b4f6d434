"""Tests of the Parquet files of a run: those of several runs are read as one table."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import dataset, parquet
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.report import records
from raytrain.report.files import write_tables
from raytrain.storage.folder import Folder


def written(folder: Folder) -> Path:
    write_tables(read_record(folder))
    return Path(str(folder))


@pytest.fixture
def two_runs(make_run: Any) -> list[Path]:
    """A run whose only trial failed before its first epoch was counted, with whole numbers, and a good one."""
    failed = make_run("aaa", ends={0: "waiting"}, recipe={"val_size": 5000, "test_size": 100, "lr": 1})
    good = make_run("zzz", ends={1: "failed"}, grid={"lr": [0.1, 0.2]})
    return [written(failed), written(good)]


@pytest.mark.parametrize("name", ["trials.parquet", "metrics.parquet"])
def test_a_column_has_the_same_type_in_every_run(two_runs: list[Path], name: str) -> None:
    first, second = (parquet.read_schema(folder / name) for folder in two_runs)
    assert first == second
    assert pa.null() not in first.types


def test_several_runs_are_read_as_one_table_whichever_comes_first(two_runs: list[Path]) -> None:
    for folders in (two_runs, two_runs[::-1]):
        files = [str(folder / "trials.parquet") for folder in folders]
        frame = pd.read_parquet(files)
        assert frame["test_accuracy"].dropna().between(0.5, 0.999).all()
        assert {*frame["val_size"]} == {5000, 0.1}
        assert dataset.dataset(files).to_table().num_rows == len(frame) == 3


def test_the_metrics_of_a_run_without_an_epoch_have_their_columns(two_runs: list[Path]) -> None:
    empty, rows = (parquet.read_table(folder / "metrics.parquet") for folder in two_runs)
    assert empty.num_rows == 0
    assert empty.column_names == rows.column_names


def test_every_column_of_the_trials_has_a_type_of_its_own(make_run: Any) -> None:
    ranking = read_record(make_run(recipe={"select": "macro_f1"})).ranking
    names = {name for row in records.flat_rows(ranking) for name in row}
    assert {"macro_f1_low", "rank", "epochs_planned"} <= names <= records.trial_types().keys()


def test_the_parquet_that_results_writes_has_the_types_of_the_run_folder(two_runs: list[Path], tmp_path: Path) -> None:
    first, second = two_runs
    for run in two_runs:
        output = ["--format", "parquet", "--output", str(tmp_path / f"{run.name}.parquet")]
        assert CliRunner().invoke(app, ["results", str(run), *output]).exit_code == 0
    of_results = parquet.read_schema(tmp_path / "aaa.parquet")
    assert of_results == parquet.read_schema(tmp_path / "zzz.parquet") == parquet.read_schema(second / "trials.parquet")
    listed = ["results", "--out", str(first.parent), "--format", "parquet", "--output", str(tmp_path / "runs.parquet")]
    assert CliRunner().invoke(app, listed).exit_code == 0
    schema = parquet.read_schema(tmp_path / "runs.parquet")
    assert (schema.field("error").type, schema.field("chosen").type) == (pa.string(), pa.string())
    assert schema.field("test_accuracy").type == pa.float64()
