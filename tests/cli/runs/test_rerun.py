"""Tests of `raytrain diff` and `raytrain rerun`: what differs is named, and what is on record is trained again."""

import copy
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.execution.rerun import experiment_of_rerun, missing_commits, other_commits
from raytrain.experiment.sections import Resources
from raytrain.metrics.predictions import Predictions
from raytrain.provenance.versions import describe_code
from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test trains, and imports PyTorch and SciPy


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def trained(tiny_images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs: `one` with two rates and one seed, `several` with one rate and three seeds."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = f"{{dataset: {tiny_images}, image_size: 8, width: 2, epochs: 2, batch_size: 16, val_size: 8}}"
    (folder / "one.yaml").write_text(f"recipe: {recipe}\ngrid: {{lr: [0.01, 0.02]}}\n")
    (folder / "several.yaml").write_text(f"recipe: {recipe}\ngrid: {{lr: [0.02]}}\nseeds: [0, 1, 2]\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.write_report", lambda *_, **__: None)
        for name in ("one", "several"):
            done = call("tune", "--grid", f"{folder}/{name}.yaml", "--local", "-q", "--out", f"{folder}/runs")
            assert done.exit_code == 0, done.output
    return folder / "runs"


@pytest.fixture(autouse=True)
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("raytrain.report.page.write_report", lambda *_, **__: None)
    shutil.copytree(trained, "runs")
    return tmp_path / "runs"


def trial(runs: Path, run: str, **fields: Any) -> str:
    """Return the id of the trial of a run whose recipe has these fields."""
    (found,) = [one.trial for one in read_results(Folder.at(runs / run)) if fields.items() <= one.recipe.items()]
    return found


def change(file: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def change_lines(file: Path, edit: Callable[[Any], None]) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        edit(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- diff


def test_a_run_does_not_differ_from_its_copy(runs: Path) -> None:
    shutil.copytree(runs / "one", runs / "copy")
    shown = call("diff", "one", "copy")
    assert shown.exit_code == 0, shown.output
    assert "The recipes, data, code, versions and machines are the same." in shown.stdout
    found = json.loads(call("diff", "one", "copy", "--json").stdout)
    assert (found["schema_version"], found["first"], found["second"]) == (1, "one", "copy")
    assert found["differences"] == []
    assert len(found["accuracies"]) == 2
    assert {row["p_value"] for row in found["accuracies"]} == {1.0}


def test_each_part_in_which_two_runs_differ_is_named(runs: Path) -> None:
    shutil.copytree(runs / "one", runs / "other")

    def edit(manifest: Any) -> None:
        code = manifest["sessions"][0]["code"]
        code["git_commit"], code["packages"]["torch"] = "0" * 40, "2.0.0"
        manifest["sessions"][0]["machine"]["processor"] = "Z80"
        manifest["data"] = dict.fromkeys(manifest["data"], "feedbeef")

    change(runs / "other" / "manifest.json", edit)
    found = json.loads(call("diff", "one", "other", "--json").stdout)
    assert [(one["part"], one["name"]) for one in found["differences"]] == [
        ("data", next(iter(json.loads((runs / "one/manifest.json").read_text())["data"]))),
        ("code", "commit"),
        ("versions", "torch"),
        ("machine", "processor"),
    ]
    assert [one["second"] for one in found["differences"]] == ["feedbeef", "0" * 40, "2.0.0", "Z80"]
    assert {(one["p_value"], one["test"]) for one in found["accuracies"]} == {(None, "not compared: the data differ")}
    assert "feedbeef" in call("diff", "one", "other").stdout


def test_two_experiments_differ_in_their_fields_and_a_configuration_of_both_is_tested(runs: Path) -> None:
    found = json.loads(call("diff", "one", "several", "--json").stdout)
    fields = {one["name"]: (one["first"], one["second"]) for one in found["differences"]}
    assert fields == {"grid.lr": ("0.01, 0.02", "0.02"), "seeds": ("none", "0, 1, 2")}
    (row,) = found["accuracies"]
    assert row["first"] == [trial(runs, "one", lr=0.02)]
    assert len(row["second"]) == 3
    assert row["test"] == "one seed against 3, by Student's t"
    assert 0 < row["p_value"] <= 1


def test_two_trials_differ_in_their_recipes_and_are_paired_by_image(runs: Path) -> None:
    rates = [trial(runs, "one", lr=lr) for lr in (0.01, 0.02)]
    found = json.loads(call("diff", f"one/{rates[0]}", f"runs/one/{rates[1][-8:]}", "--json").stdout)
    assert [(one["part"], one["name"], one["first"], one["second"]) for one in found["differences"]] == [
        ("recipe", "lr", "0.01", "0.02")
    ]
    (row,) = found["accuracies"]
    assert (row["first"], row["second"]) == ([rates[0]], [rates[1]])
    assert row["test"] == "McNemar's, paired on 10 test images"


def test_a_run_that_is_not_there_is_said() -> None:
    for words in (("diff", "one", "nowhere"), ("diff", "one/nothing", "one"), ("rerun", "one/nothing")):
        refused = call(*words)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "Traceback" not in refused.stderr


# ---------------------------------------------------------------- rerun


def test_a_trial_that_is_trained_again_is_equal_bit_for_bit_and_its_run_is_left_alone(runs: Path) -> None:
    before = content(runs / "one")
    named = trial(runs, "one", lr=0.01)
    done = call("rerun", f"one/{named[-8:]}", "--verify")
    assert done.exit_code == 0, done.output
    assert "every epoch and every prediction is equal, bit for bit" in done.stdout
    assert content(runs / "one") == before
    (again,) = read_results(Folder.at(runs / f"one-rerun-{named[-8:]}"))
    assert again.trial == named
    told = json.loads(call("rerun", f"one/{named}", "--verify", "--json", "-q", "--name", "x").stdout)
    assert (told["verdict"], told["exact"], told["differences"]) == ("equal", True, [])


def test_without_a_trial_the_chosen_one_is_trained_again(runs: Path) -> None:
    done = call("rerun", "several", "--name", "again", "--json")
    assert done.exit_code == 0, done.output
    assert "chosen" in done.stderr
    (row,) = json.loads(done.stdout)["trials"]
    assert row["trial"] in {one.trial for one in read_results(Folder.at(runs / "several"))}


@pytest.mark.parametrize("better", [0.01, 0.02])
def test_a_tie_in_validation_accuracy_is_decided_by_the_loss_and_not_by_the_test_set(runs: Path, better: float) -> None:
    def tie(row: Any) -> None:
        chosen = row["recipe"]["lr"] == better
        row.update(val_accuracy=1.0, val_loss=0.1 if chosen else 0.2, test_accuracy=0.5 if chosen else 1.0)

    change_lines(runs / "one" / "trials.jsonl", tie)
    assert call("results", "one", "--assert", f"lr == {better}", "--assert", "test_accuracy == 0.5").exit_code == 0
    assert call("export", "one", "-o", "model.pth").exit_code == 0
    assert json.loads(Path("model.json").read_text())["recipe"]["lr"] == better


def test_a_number_that_cannot_be_reached_again_ends_with_9_and_its_epoch_is_named(runs: Path) -> None:
    named = trial(runs, "one", lr=0.02)
    file = runs / "one" / "trials" / named / "metrics.jsonl"
    change_lines(file, lambda row: row.update(train_loss=row["train_loss"] + 1e-9 * (row["epoch"] == 2)))
    done = call("rerun", f"one/{named}", "--verify")
    assert done.exit_code == 9
    assert "epoch 2 is the first that differs" in done.stdout
    assert "Equal bits were expected" in done.stdout
    assert "Nothing on record differs: neither data, code, versions nor threads." in done.stdout


@pytest.mark.parametrize(
    ("run", "test", "noise"),
    [
        ("one", "McNemar's on 10 test images", "the test images explain"),
        ("several", "one more seed against", "seeds differ"),
    ],
)
def test_other_versions_need_no_equal_bits_but_the_noise_of_seeds(runs: Path, run: str, test: str, noise: str) -> None:
    def edit(manifest: Any) -> None:
        manifest["sessions"][0]["code"]["packages"]["torch"] = "2.0.0"

    named = trial(runs, run, lr=0.02, seed=0)
    change(runs / run / "manifest.json", edit)
    change_lines(runs / run / "trials" / named / "metrics.jsonl", lambda row: row.update(lr=row["lr"] * 1.001))
    done = call("rerun", f"{run}/{named}", "--verify")
    assert done.exit_code == 0, done.output
    assert f"no more than {noise}" in done.stdout
    assert test in done.stdout
    assert "Differs in versions: torch was 2.0.0, is" in done.stdout


def test_a_number_of_threads_that_is_not_on_record_is_named(runs: Path) -> None:
    named = trial(runs, "several", seed=0)

    def without(row: Any) -> None:
        if row["event"] in {"started", "finished"} and row.get("trial") == named:
            row.pop("threads", None)  # as runs of older versions have it: the rerun cannot take the same number
            row.pop("workers", None)

    change_lines(runs / "several" / "events.jsonl", without)
    done = call("rerun", f"several/{named}", "--verify")
    assert "threads was not recorded, is" in done.stdout, done.output


def test_more_than_the_noise_ends_with_9_though_versions_differ(runs: Path) -> None:
    def edit(manifest: Any) -> None:
        manifest["sessions"][0]["code"]["python"] = "3.10.0"

    change(runs / "several" / "manifest.json", edit)
    named = trial(runs, "several", seed=0)
    files = list((runs / "several" / "trials").glob("*/predictions.npz"))
    seen = Predictions.from_bytes((runs / "several" / "trials" / named / "predictions.npz").read_bytes())
    claimed = float(seen.accuracy <= 0.5)  # at least 50 points away, whatever the tiny network has learnt
    change_lines(runs / "several" / "trials.jsonl", lambda row: row.update(test_accuracy=claimed))
    for file in files:
        file.write_bytes(replace(seen, predicted=seen.labels if claimed else 1 - seen.labels).to_bytes())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    change_lines(runs / "several" / "events.jsonl", lambda row: "predictions" in row and row.update(predictions=digest))
    done = call("rerun", f"several/{named}", "--verify")
    assert done.exit_code == 9
    assert f"{100 * claimed:.2f} % on record" in done.stdout
    assert "test images are predicted as another class" in done.stdout
    assert "more than chance explains: p = 0.0" in done.stdout
    assert "Differs in versions: python was 3.10.0, is" in done.stdout


def test_other_images_are_not_trained_on(runs: Path) -> None:
    change(runs / "one" / "manifest.json", lambda manifest: manifest.update(data=dict.fromkeys(manifest["data"], "0")))
    before = sorted(path.name for path in runs.iterdir())
    refused = call("rerun", "one", "--verify")
    assert refused.exit_code == 9
    assert "but 0 is on record: these are other images" in refused.stderr
    assert call("rerun", "one").exit_code == 2
    assert sorted(path.name for path in runs.iterdir()) == before


def test_a_data_set_that_is_no_longer_there_can_be_linked_to(runs: Path) -> None:
    def moved(row: Any) -> None:
        row.get("recipe", {}).update(dataset="old photos")

    change_lines(runs / "one" / "trials.jsonl", moved)
    refused = call("rerun", "one")
    assert refused.exit_code == 2
    assert "unknown data set 'old photos'" in refused.stderr
    assert refused.stderr.endswith("put a link to it in its old place: ln -s PATH 'old photos'\n")


def test_a_commit_that_is_gone_is_said(runs: Path) -> None:
    def edit(manifest: Any) -> None:
        code = {"git_commit": "0123456789" * 4, "git_diff": "", "git_diff_left_out": [".env", "notes.txt"]}
        manifest["sessions"][0]["code"].update(code)

    change(runs / "one" / "manifest.json", edit)
    done = call("rerun", "one", "--verify")
    assert f"The commit {'0123456789' * 4} is not in the repository here" in done.stderr
    assert done.exit_code == 0
    assert "Differs in code: commit was 0123456789" in done.stdout
    assert "uncommitted changes was 2 files on record by name only, is" in done.stdout


def test_a_commit_that_is_there_but_not_installed_is_said(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, installed = "0123456789" * 4, "f" * 40

    def edit(manifest: Any) -> None:
        manifest["sessions"][0]["code"]["git_commit"] = recorded

    change(runs / "one" / "manifest.json", edit)
    monkeypatch.setattr("raytrain.execution.rerun.has_commit", lambda *_: True)
    monkeypatch.setattr("raytrain.provenance.versions.commit_of", lambda _: installed)
    said = f"The run was trained at commit {recorded}, the code here is at {installed}, and is used."
    assert said in call("rerun", "one").stderr
    monkeypatch.setattr("raytrain.provenance.versions.commit_of", lambda _: recorded)
    assert "was trained at commit" not in call("rerun", "one").stderr


def test_a_run_begun_in_another_repository_is_at_the_commit_of_that_one(runs: Path) -> None:
    def commit() -> str:
        git = ("git", "-c", "user.name=x", "-c", "user.email=x@localhost")
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    subprocess.run(["git", "init", "-q"], check=True)
    first = commit()
    change(runs / "one" / "manifest.json", lambda content: content["sessions"][0]["code"].update(git_commit=first))
    record = read_record(Folder.at(runs / "one"))
    assert describe_code()["git_commit"] == first
    assert (missing_commits(record), other_commits(record)) == ([], [])
    second = commit()
    assert (missing_commits(record), other_commits(record)) == ([], [(first, second)])


@pytest.mark.parametrize(("recorded", "again"), [("auto", "auto"), ("0", 0), ("0.5", "auto")])
def test_what_was_trained_without_a_gpu_on_purpose_is_so_again(runs: Path, recorded: str, again: object) -> None:
    file = runs / "one" / "experiment.yaml"
    text = file.read_text()
    assert text.count("gpus_per_worker: auto") == 1
    file.write_text(text.replace("gpus_per_worker: auto", f"gpus_per_worker: {recorded}"))
    record = read_record(Folder.at(runs / "one"))
    assert experiment_of_rerun(record, record.listed[0], name=None).resources == Resources(gpus_per_worker=again)


def test_a_rerun_is_never_written_into_its_run(runs: Path) -> None:
    before = content(runs / "one")
    for words in (("--name", "one"), ("--name", "one", "--fresh"), ("--name", "one", "--out", "runs/../runs")):
        refused = call("rerun", "one", *words)
        assert refused.exit_code == 2
        assert "is the run itself, which a rerun never changes" in refused.stderr
    assert content(runs / "one") == before


def test_a_rerun_that_is_there_already_is_not_trained_twice_unless_asked() -> None:
    assert call("rerun", "one", "--name", "again").exit_code == 0
    second = call("rerun", "one", "--name", "again", "--verify")
    said = "Nothing was trained now: again was trained before, and is compared; --fresh trains it again."
    assert second.stdout.startswith(f"{said}\n")
    assert second.exit_code == 0
    assert "again was trained before; --fresh trains it again." in call("rerun", "one", "--name", "again").stderr
    third = call("rerun", "one", "--name", "again", "--verify", "--fresh")
    assert "was trained before" not in third.output
    assert third.exit_code == 0


def test_an_earlier_rerun_of_other_versions_verifies_nothing(runs: Path) -> None:
    words = ("rerun", "one", "--name", "again", "--verify", "--json", "--quiet")

    def trained(*more: str) -> int:
        done = call(*words, *more)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["trained"]

    assert [trained(), trained()] == [1, 0]

    def edit(manifest: Any) -> None:
        (session,) = manifest["sessions"]
        later = {**copy.deepcopy(session), "started": datetime.now(UTC).isoformat(timespec="milliseconds")}
        first = copy.deepcopy(session)  # which a kill has ended, and another version has gone on
        first["code"]["packages"]["torch"] = "2.0.0"
        manifest["sessions"] = [first, session, later]  # the last one has trained nothing

    change(runs / "again" / "manifest.json", edit)
    refused = call(*words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "not with what is here now: versions: torch was 2.0.0" in refused.stderr
    assert "add --fresh to train it again" in refused.stderr
    assert trained("--fresh") == 1


def test_a_trial_without_predictions_cannot_be_verified(runs: Path) -> None:
    named = trial(runs, "one", lr=0.02)
    (runs / "one" / "trials" / named / "predictions.npz").unlink()
    refused = call("rerun", f"one/{named}", "--verify", "--name", "again")
    assert refused.exit_code == 2
    assert "only a finished trial can be verified" in refused.stderr
    assert not (runs / "again").exists()
