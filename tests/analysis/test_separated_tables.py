"""Tests of what is said of a run that looked at its pairs after each seed where it has several tables, or others do."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.analysis.wording import explain, footer
from raytrain.cli.app import app
from raytrain.experiment.experiment import Experiment
from raytrain.storage.folder import Folder

WriteRun = Callable[..., None]

AHEAD = [21, 19, 22, 18, 20, 21]
"""Images of 1,000 by which the rate of 0.1 is ahead, by seed."""


def write_separated(write_run: WriteRun, name: str = "run", **keys: Any) -> None:
    """Write a run that looked after each of six seeds; of two learning rates, the first is ahead by `AHEAD`."""
    keys = {"grid": {"lr": [0.1, 0.2]}, "seeds": list(range(6)), "separate": {"points": 0.3}} | keys
    trials = [trial.recipe for trial in Experiment.model_validate({"name": name, **keys}).trials()]
    write_run(name, [range(900 + (AHEAD[one.seed] if one.lr == 0.1 else 0)) for one in trials], predicted=False, **keys)


def of_two_data_sets(write_run: WriteRun, place: Path, name: str = "run", **keys: Any) -> None:
    """Write such a run, of an earlier version, on two data sets."""
    write_separated(write_run, name, grid={"lr": [0.1, 0.2], "dataset": ["numbers", "photos"]}, **keys)
    path = place / name / "manifest.json"
    manifest = json.loads(path.read_text())
    data = {label: f"fingerprint of {label}" for label in manifest["data"]}
    path.write_text(json.dumps({**manifest, "data": data}))


@pytest.mark.parametrize("options", [[], ["--sort", "lr"], ["--explain"]])
def test_below_each_table_stand_the_pairs_of_its_data_set(
    write_run: WriteRun, tmp_path: Path, options: list[str]
) -> None:
    of_two_data_sets(write_run, tmp_path)
    said = CliRunner().invoke(app, ["results", "run", *options]).stderr
    assert said.count("Of 1 pair, 1 is separated, ") == 2
    assert "2 pairs" not in said
    if options == ["--explain"]:
        assert said.count(" is below.") == 2
        assert all(" is ahead of " in one for one in said.split(" is below.")[1:])


def test_json_has_the_pairs_of_all_tables(write_run: WriteRun, tmp_path: Path) -> None:
    of_two_data_sets(write_run, tmp_path)
    (found,) = json.loads(CliRunner().invoke(app, ["results", "run", "--json"]).stdout)["separations"]
    assert [(pair["answer"], pair["seeds"]) for pair in found["pairs"]] == [("ahead", 4), ("ahead", 4)]


def test_what_no_test_compares_is_said_of_such_a_run_too(write_run: WriteRun, tmp_path: Path) -> None:
    of_two_data_sets(write_run, tmp_path)
    ranking = read_record(Folder.at(str(tmp_path / "run"))).ranking
    sets = "The rows have 2 sets of test images, which no test compares."
    assert footer(ranking)[-2:] == [ranking.separated_text, sets]
    assert sets in " ".join(explain(ranking))
    many = replace(ranking, uncompared=3, test_sets=1)
    assert footer(many)[-1] == "Only the first 4 rows are compared and ranked."
    lost = replace(ranking, select="macro_f1", standings=[replace(one, score=None) for one in ranking.standings])
    assert "The macro F1 score of 4 rows is not known" in footer(lost)[-1]


@pytest.mark.parametrize("options", [[], ["--explain"]])
def test_beside_another_run_the_command_is_named_that_shows_what_the_pairs_have_shown(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    out = tmp_path / "my runs"
    out.mkdir()
    for name, width in (("run", 2), ("plain", 3)):
        separate = {"points": 0.3} if name == "run" else None
        write_separated(write_run, name, recipe={"width": width}, separate=separate)
        (tmp_path / name).rename(out / name)
    monkeypatch.delenv("RAYTRAIN_OUT")
    call = CliRunner().invoke(app, ["results", "run", "plain", "--out", str(out), *options])
    assert "run looked at its pairs after each seed. The ranks do not allow for that." in call.stderr
    assert "plain looked" not in call.stderr
    (line,) = [line for line in call.stderr.splitlines() if line.startswith("What the pairs of run have shown: ")]
    program, *words = shlex.split(line.partition(": ")[2])
    assert (program, words) == ("raytrain", ["results", "run", "--out", str(out), "--explain"])
    assert " is ahead of " in CliRunner().invoke(app, words).stderr
