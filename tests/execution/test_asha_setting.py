"""Tests of ASHA's setting for what one accepts to lose: chosen from runs on record, kept, said; nothing is trained."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from raytrain.analysis.audit import audit
from raytrain.cli.app import app
from raytrain.errors import ExperimentError, RaytrainError
from raytrain.execution.options import RunOptions
from raytrain.execution.plan import make_plan
from raytrain.execution.run import RunOutcome, run
from raytrain.experiment.experiment import Experiment
from raytrain.report import tables

RECIPE: dict[str, Any] = {"width": 2, "image_size": 8, "epochs": 9}
FULL: dict[str, Any] = {"name": "full", "recipe": RECIPE, "grid": {"lr": [0.01 * n for n in range(1, 13)]}}
NEW: dict[str, Any] = {
    "name": "new",
    "recipe": RECIPE,
    "grid": {"lr": [0.11, 0.22, 0.33, 0.44]},
    "asha": {"lose_at_most": 0.2, "confidence": 0.7},
}
"""A search of four trials: 0.7 needs three such searches, which are 12 curves."""


@pytest.fixture(autouse=True)
def _nothing_is_trained(train_as_said: Any) -> None:
    """The higher the learning rate, the better, from the first epoch on."""
    train_as_said(lambda recipe, epoch: recipe.lr + epoch / 100)


def run_here(out: Path, keys: dict[str, Any], **changes: Any) -> RunOutcome:
    return run(Experiment.model_validate(keys | changes), RunOptions(out=str(out), local=True))


def chosen(out: Path, name: str = "new") -> list[dict[str, Any]]:
    lines = (out / name / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "asha chosen"]


def test_a_complete_run_beside_the_new_one_chooses_its_setting(tmp_path: Path) -> None:
    run_here(tmp_path, FULL)
    outcome = run_here(tmp_path, NEW)
    (event,) = chosen(tmp_path)
    assert (event["mode"], event["curves"]) == ("stop", 12)
    # who is best is known after an epoch, so the cheapest setting is careful enough
    assert (event["grace_period"], event["reduction_factor"]) == (1, 4)
    assert {rung["rung"] for rung in outcome.record.events if rung["event"] == "rung"} <= {1, 4}


def test_a_run_that_goes_on_keeps_its_setting_whatever_is_on_record_by_then(tmp_path: Path) -> None:
    run_here(tmp_path, NEW)
    before = chosen(tmp_path)
    assert before[0]["mode"] == "promote"
    run_here(tmp_path, FULL)
    run_here(tmp_path, NEW, seeds=[0, 1])
    assert chosen(tmp_path) == before


def test_a_run_that_grows_in_epochs_chooses_anew_because_rungs_are_epochs_of_the_shorter_trials(tmp_path: Path) -> None:
    run_here(tmp_path, FULL)
    run_here(tmp_path, NEW)
    run_here(tmp_path, NEW, recipe={**RECIPE, "epochs": 18})
    assert [event["epochs"] for event in chosen(tmp_path)] == [9, 18]


def test_where_the_record_is_too_thin_trials_pause_and_a_line_says_how_many_curves_are_needed(tmp_path: Path) -> None:
    outcome = run_here(tmp_path, NEW)
    assert "paused" in {one.status for one in outcome.results}
    why = chosen(tmp_path)[0]["why"]
    assert "too thin" in why
    assert "0 complete curves make 0 searches of 4 trials, and 3 are needed, which are 12 curves" in why


def test_a_run_in_which_trials_were_stopped_or_of_other_data_is_no_record(tmp_path: Path) -> None:
    falling = {"lr": FULL["grid"]["lr"][::-1]}  # who comes later is worse, and is stopped
    run_here(tmp_path, FULL, grid=falling, asha={"grace_period": 1})
    run_here(tmp_path, FULL, name="longer", recipe={**RECIPE, "epochs": 19})
    run_here(tmp_path, NEW)
    assert chosen(tmp_path)[0]["curves"] == 0
    with pytest.raises(ExperimentError, match="not every trial has run to its end"):
        run_here(tmp_path, NEW, name="named", asha={**NEW["asha"], "curves": ["full"]})


def test_of_a_run_whose_stopped_trials_were_all_rescued_every_curve_counts(tmp_path: Path) -> None:
    falling = {"lr": FULL["grid"]["lr"][::-1]}
    run_here(tmp_path, FULL, grid=falling, asha={"grace_period": 1, "rescue": 12})
    run_here(tmp_path, NEW)
    assert chosen(tmp_path)[0]["curves"] == 12


def test_a_trial_counts_once_though_it_is_in_several_runs(tmp_path: Path) -> None:
    run_here(tmp_path, FULL)
    run_here(tmp_path, FULL, name="same")
    shutil.copytree(tmp_path / "full", tmp_path / "copied")
    run_here(tmp_path, NEW)
    (event,) = chosen(tmp_path)
    assert event["curves"] == 12
    assert "12 complete curves of copied," in event["why"]


def test_a_file_of_curves_beside_the_run_that_it_was_made_of_adds_nothing(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    trials = [one.trial for one in run_here(out, FULL).results]
    bank = curves_file(tmp_path / "bank.parquet", trials=[*trials[:5], "another"])
    run_here(out, NEW, asha={**NEW["asha"], "curves": ["full", str(bank)]})
    assert chosen(out)[0]["curves"] == 13


def test_trials_that_tpe_proposed_are_no_record_and_its_first_round_is_one(tmp_path: Path) -> None:
    tpe = {"grid": {"lr": {"uniform": [0.01, 0.5]}}, "sampler": "tpe", "samples": 6}
    run_here(tmp_path, FULL, name="proposed", **tpe, round_size=3)
    run_here(tmp_path, NEW)
    assert chosen(tmp_path)[0]["curves"] == 0
    with pytest.raises(ExperimentError, match="whose trials were proposed by tpe"):
        run_here(tmp_path, NEW, name="named", asha={**NEW["asha"], "curves": ["proposed"]})
    run_here(tmp_path, FULL, name="drawn", **tpe)
    run_here(tmp_path, NEW, name="newer")
    assert chosen(tmp_path, "newer")[0]["curves"] == 6


def test_only_the_trials_of_the_same_data_set_count_in_a_run_of_several(tmp_path: Path) -> None:
    draw, photos = np.random.default_rng(0), tmp_path / "photos"
    for place in (f"{name}/{number}.png" for name in "ab" for number in range(10)):
        (photos / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(photos / place)
    run_here(tmp_path, FULL, grid={"lr": [0.01 * n for n in range(1, 7)], "dataset": ["digits", str(photos)]})
    run_here(tmp_path, NEW)
    assert chosen(tmp_path)[0]["curves"] == 6


def test_a_run_whose_trials_cannot_be_listed_any_more_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_here(tmp_path, FULL)
    run_here(tmp_path, FULL, name="other")
    file = tmp_path / "other" / "experiment.yaml"
    file.write_text(file.read_text().replace("exclude: []", "exclude: [{optimizer: sgd}]"))
    run_here(tmp_path, NEW)
    assert chosen(tmp_path)[0]["curves"] == 12
    assert "the curves of other are left out" in caplog.text


def test_the_plan_says_what_is_chosen_and_leaves_no_trace(tmp_path: Path) -> None:
    run_here(tmp_path, FULL)
    plan = make_plan(Experiment.model_validate(NEW), out=str(tmp_path), local=True)
    assert plan
    assert plan.mode == "stop"
    assert plan.rungs == [1, 4]
    assert "from epoch 1 on with reduction_factor 4" in plan.asha_chosen
    assert "3 searches of 4 trials made of 12 complete curves of full" in plan.asha_chosen
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_audit_says_what_was_chosen_and_what_was_really_lost(tmp_path: Path) -> None:
    run_here(tmp_path, FULL)
    record = run_here(tmp_path, NEW, asha={**NEW["asha"], "rescue": 1}, seeds=[2, 1]).record
    sentences = tables.summary(audit(record.results, record.epochs, record.events))
    assert sentences[0].startswith("The setting: ")
    assert any("none ended above the best trial" in sentence for sentence in sentences)


def curves_file(
    path: Path, *, without: str = "", trials: Sequence[str] = tuple(f"t{number}" for number in range(20))
) -> Path:
    rows = [
        {"trial": trial, "epoch": epoch, "val_accuracy": number / 100 + epoch / 1000, "seconds": float(epoch)}
        for number, trial in enumerate(trials)
        for epoch in range(1, 19)
    ]
    pq.write_table(pa.Table.from_pylist([{k: v for k, v in row.items() if k != without} for row in rows]), path)
    return path


def test_curves_in_a_parquet_file_of_up_to_twice_the_epochs_count(tmp_path: Path) -> None:
    bank = curves_file(tmp_path / "bank.parquet")
    run_here(tmp_path / "runs", NEW, asha={**NEW["asha"], "curves": [str(bank)]})
    (event,) = chosen(tmp_path / "runs")
    assert (event["mode"], event["curves"]) == ("stop", 20)
    assert "of bank.parquet" in event["why"]


def test_the_curves_that_come_with_raytrain_have_a_name_unless_a_run_is_called_so(tmp_path: Path) -> None:
    named = {**NEW["asha"], "curves": ["curve-bank"]}
    run_here(tmp_path, NEW, recipe={**RECIPE, "epochs": 27}, asha=named)
    (event,) = chosen(tmp_path)
    assert event["curves"] == 96
    assert "of curve-bank.parquet" in event["why"]
    run_here(tmp_path, FULL, name="curve-bank")
    run_here(tmp_path, NEW, name="newer", asha=named)
    assert chosen(tmp_path, "newer")[0]["curves"] == 12


def test_a_file_of_curves_is_refused_where_trials_are_selected_by_another_metric(tmp_path: Path) -> None:
    bank = curves_file(tmp_path / "bank.parquet")
    with pytest.raises(ExperimentError, match="are of accuracy, and select is balanced_accuracy"):
        run_here(
            tmp_path / "runs",
            NEW,
            recipe={**RECIPE, "select": "balanced_accuracy"},
            asha={**NEW["asha"], "curves": [str(bank)]},
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [("missing", "no curves can be read"), ("column", "val_accuracy"), ("text", "no curves can be read")],
)
def test_a_file_of_curves_that_cannot_be_read_is_one_clear_error(tmp_path: Path, content: str, said: str) -> None:
    bank = tmp_path / "bank.parquet"
    if content == "column":
        curves_file(bank, without="val_accuracy")
    elif content == "text":
        bank.write_text("no Parquet")
    with pytest.raises(ExperimentError, match=said):
        run_here(tmp_path / "runs", NEW, asha={**NEW["asha"], "curves": [str(bank)]})
    assert not (tmp_path / "runs" / "new").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"seconds": 2.0}, "the seconds of t0 do not rise with its epochs"),
        (lambda row: row | {"epoch": row["epoch"] - 1}, "the epochs of t0 are not 1 to 18, each once"),
        (lambda row: row | {"epoch": 1}, "the epochs of t0 are not 1 to 18, each once"),
        (
            lambda row: None if row["trial"] == "t1" and row["epoch"] > 6 else row,
            "its trials have 6 to 18 epochs, as if some were stopped",
        ),
    ],
)
def test_a_file_whose_rows_are_no_complete_curves_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    bank = curves_file(tmp_path / "bank.parquet")
    rows = [changed for row in pq.read_table(bank).to_pylist() if (changed := change(row))]
    pq.write_table(pa.Table.from_pylist(rows), bank)
    with pytest.raises(ExperimentError, match=re.escape(said)):
        run_here(tmp_path / "runs", NEW, asha={**NEW["asha"], "curves": [str(bank)]})


def test_the_metrics_file_of_a_run_is_refused_as_curves_and_the_run_itself_is_taken(tmp_path: Path) -> None:
    run_here(tmp_path, FULL)
    metrics = tmp_path / "full" / "metrics.parquet"
    with pytest.raises(ExperimentError, match="no curves can be read"):
        run_here(tmp_path, NEW, asha={**NEW["asha"], "curves": [str(metrics)]})
    run_here(tmp_path, NEW, asha={**NEW["asha"], "curves": ["full"]})
    assert chosen(tmp_path)[0]["curves"] == 12


def test_a_run_of_curves_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RaytrainError, match="there is no run 'nowhere'"):
        run_here(tmp_path, NEW, asha={**NEW["asha"], "curves": ["nowhere"]})


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{lose_at_most: 0.2, grace_period: 3}", "lose_at_most chooses grace_period, and grace_period is given too"),
        ("{lose_at_most: 0.2, rungs: 1}", "lose_at_most chooses rungs, and rungs is given too"),
        ("{confidence: 0.9}", "confidence is given without lose_at_most"),
        ("{lose_at_most: 0.2, confidence: 1}", "confidence"),
        ("{lose_at_most: -1}", "lose_at_most"),
        ("{lose_at_mots: 0.2}", "lose_at_most"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused_before_anything_is_read(
    tmp_path: Path, section: str, said: str
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"recipe: {{epochs: 4}}\ngrid: {{lr: [0.1, 0.2]}}\nasha: {section}\n")
    result = CliRunner().invoke(app, ["plan", "--list", str(file), "--out", str(tmp_path / "runs")])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid": {"epochs": [4, 8]}}, "curves of one length"),
        ({"grid": {"lr": {"uniform": [0.1, 1]}}, "samples": 4, "sampler": "tpe"}, "tpe proposes better ones"),
        ({"recipe": {**RECIPE, "select": "nll"}}, "points of accuracy"),
        ({"grid": {"select": ["nll"], "lr": [0.1, 0.2]}}, "points of accuracy"),
    ],
)
def test_a_search_that_curves_say_nothing_about_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        Experiment.model_validate(NEW | changes).trials()
