"""Tests of `raytrain export`, `evaluate` and `predict` on a run that was trained for them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.data import load
from raytrain.data.data_key import DataKey
from raytrain.errors import DataError
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.inference.model import load_model
from raytrain.models import architectures
from raytrain.runs.results import read_results
from raytrain.runs.trial_files import read_predictions
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.recipe import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_report")]

SIZE = 8  # as the digits are, and a sixteenth of the work of 32
RECIPE: dict[str, Any] = {"image_size": SIZE, "width": 4, "epochs": 3, "batch_size": 64, "schedule": "constant"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A run of two trials on the digits, in this process."""
    keys = {"name": "digits", "recipe": RECIPE, "grid": {"ema_decay": [0, 0.9]}}
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.write_report", lambda *_, **__: None)
        return run(Experiment.model_validate(keys), RunOptions(out=str(out), local=True)).folder


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def accuracies(folder: Folder) -> dict[str, float]:
    return {result.trial: result.test_accuracy or 0.0 for result in read_results(folder)}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_evaluate_gives_the_tables_accuracy_again(trained: Folder, tmp_path: Path, suffix: str) -> None:
    for trial, accuracy in accuracies(trained).items():
        model = tmp_path / f"{trial}.{suffix}"
        exported = call("export", f"{trained}/{trial}", "-o", model)
        assert (exported.exit_code, exported.stdout) == (0, f"{model}\n")
        measured = json.loads(call("evaluate", model, "--json").stdout)
        assert measured["test_accuracy"] == accuracy
        assert measured["images"] == 360
        assert f"test accuracy {100 * accuracy:.2f} %" in call("evaluate", model).stdout


def test_a_trial_that_was_never_measured_is_exported_in_the_precision_that_it_trained_in(tmp_path: Path) -> None:
    keys = {"name": "stopped", "recipe": RECIPE | {"epochs": 1, "precision": "bf16"}}
    folder = run(Experiment.model_validate(keys), RunOptions(out=str(tmp_path), local=True)).folder
    events = [json.loads(line) for line in folder.read("events.jsonl").decode().splitlines()]
    assert any(event.pop("precision", None) for event in events)  # no event of a stopped trial has it
    folder.write("events.jsonl", "".join(json.dumps(event) + "\n" for event in events).encode())
    for which in ("best", "last"):
        model = tmp_path / f"{which}.pth"
        exported = call("export", folder, "--which", which, "-o", model)
        assert exported.exit_code == 0, exported.stderr
        assert json.loads(model.with_suffix(".json").read_text())["precision"] == "bf16"


def test_evaluate_takes_the_columns_of_a_data_set_and_goes_on_without_bad_images(
    trained: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[DataKey] = []

    def record(key: DataKey) -> None:
        asked.append(key)
        raise DataError("that is enough")

    monkeypatch.setattr(DataKey, "load", record)
    model = tmp_path / "model.pth"
    call("export", f"{trained}/{next(iter(accuracies(trained)))}", "-o", model)
    call("evaluate", model)
    call("evaluate", model, "--dataset", "birds", "--columns", "label=kind,image=photo", "--skip-bad", "--follow-links")
    assert [(key.dataset, key.columns, key.skip_bad, key.follow_links) for key in asked] == [
        ("digits", "", False, False),
        ("birds", "image=photo,label=kind", True, True),
    ]


def test_evaluate_says_how_to_name_the_new_place_of_a_data_set_that_is_gone(trained: Folder, tmp_path: Path) -> None:
    model = tmp_path / "model.pth"
    call("export", f"{trained}/{next(iter(accuracies(trained)))}", "-o", model)
    described = json.loads((tmp_path / "model.json").read_text())
    described["recipe"] |= {"dataset": str(tmp_path / "photos"), "columns": "label=kind", "follow_links": True}
    (tmp_path / "model.json").write_text(json.dumps(described))
    refused = call("evaluate", model)
    assert refused.exit_code == 2
    assert "lies elsewhere now, say where: --dataset PATH --columns label=kind --follow-links\n" in refused.stderr
    other = call("evaluate", model, "--dataset", tmp_path / "other")
    assert (other.exit_code, "elsewhere" in other.stderr) == (2, False)
    (tmp_path / "photos").mkdir()
    assert "elsewhere" not in call("evaluate", model).stderr


def test_a_model_sees_transparent_pixels_on_the_background_of_its_recipe(
    trained: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.pth"
    call("export", f"{trained}/{next(iter(accuracies(trained)))}", "-o", model)
    described = json.loads((tmp_path / "model.json").read_text())
    described["recipe"] |= {"background": "black", "dataset": "icons"}
    (tmp_path / "model.json").write_text(json.dumps(described))
    Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    for colour in ("black", "white"):
        Image.new("RGB", (SIZE, SIZE), colour).save(tmp_path / f"{colour}.png")
    files = [tmp_path / f"{name}.png" for name in ("clear", "black", "white")]
    clear, black, white = (
        one["classes"] for one in json.loads(call("predict", model, *files, "--json").stdout)["images"]
    )
    assert clear == black != white
    clear, black, white = load_model(model).predict(files).probabilities.tolist()
    assert clear == black != white
    asked: list[DataKey] = []

    def record(key: DataKey) -> None:
        asked.append(key)
        raise DataError("that is enough")

    monkeypatch.setattr(DataKey, "load", record)
    call("evaluate", model)
    call("evaluate", model, "--dataset", "other")
    call("evaluate", model, "--dataset", "digits")  # gives pixels
    assert [(key.dataset, key.background) for key in asked] == [
        ("icons", "black"),
        ("other", "black"),
        ("digits", "white"),
    ]


def test_a_network_that_starts_from_images_is_exported_without_them(tmp_path: Path) -> None:
    """Without a validation split there are no best weights, so those of the last epoch come out of the state."""
    recipe = {**RECIPE, "arch": "airbench", "val_size": 0, "epochs": 1, "ema_decay": 0.5, "tta": "mirror"}
    keys = {"name": "whitened", "recipe": recipe}
    folder = run(Experiment.model_validate(keys), RunOptions(out=str(tmp_path), local=True)).folder
    (result,) = read_results(folder)
    assert call("export", folder, "-o", tmp_path / "model.pth").exit_code == 0
    measured = json.loads(call("evaluate", tmp_path / "model.pth", "--json").stdout)
    assert measured["test_accuracy"] == result.test_accuracy
    rows = json.loads(call("results", "whitened", "--out", tmp_path, "--json").stdout)["trials"]
    assert rows[0]["test_tta_accuracy"] == result.test_tta_accuracy is not None
    assert "test_tta_accuracy %" in call("results", "whitened", "--out", tmp_path).stdout


def test_a_model_is_described_with_the_mean_that_it_was_trained_with_whatever_the_library_says_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_with = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    monkeypatch.setattr(Recipe, "normalization", lambda *_: trained_with)
    experiment = Experiment(name="x", recipe=Recipe(**RECIPE | {"epochs": 1}))
    folder = run(experiment, RunOptions(out=str(tmp_path), local=True)).folder
    monkeypatch.setattr(Recipe, "normalization", lambda *_: ((0.9,) * 3, (0.9,) * 3))
    model = tmp_path / "model.pth"
    assert call("export", folder, "-o", model).exit_code == 0
    described = json.loads((tmp_path / "model.json").read_text())
    assert (described["mean"], described["std"]) == tuple(map(list, trained_with))


def test_best_and_last_are_not_the_same_weights_when_best_is_not_last(tmp_path: Path) -> None:
    # a learning rate that rises until nothing is learnt any more: of four trials one ends below its best for sure
    keys = {"name": "rough", "recipe": {**RECIPE, "lr": 3.0, "epochs": 4, "warmup_epochs": 3.9}, "seeds": [0, 1, 2, 3]}
    rough = run(Experiment.model_validate(keys), RunOptions(out=str(tmp_path), local=True)).folder
    early = [result for result in read_results(rough) if result.best_epoch != result.epochs]
    trial = early[0].trial
    for which in ("best", "last"):
        assert call("export", f"{rough}/{trial}", "-o", tmp_path / f"{which}.pth", "--which", which).exit_code == 0
    best, last = (torch.load(tmp_path / f"{which}.pth", weights_only=True) for which in ("best", "last"))
    assert best.keys() == last.keys()
    assert any(not torch.equal(best[name], last[name]) for name in best)
    said = [json.loads((tmp_path / f"{which}.json").read_text()) for which in ("best", "last")]
    assert [one["epoch"] for one in said] == [early[0].best_epoch, early[0].epochs]
    assert [one["test_accuracy"] for one in said] == [early[0].test_accuracy, None]


def test_both_kinds_of_file_hold_the_same_plain_weights_and_lie_beside_each_other(
    trained: Folder, tmp_path: Path
) -> None:
    for suffix in ("pth", "safetensors"):
        exported = call("export", trained, "-o", tmp_path / f"model.{suffix}")
        assert exported.exit_code == 0, exported.stderr
    again = call("export", trained, "-o", tmp_path / "model.safetensors")
    assert (again.exit_code, "model.safetensors.json would be replaced" in again.stderr) == (2, True), again.stderr
    described = [json.loads((tmp_path / f"model{end}").read_text()) for end in (".json", ".safetensors.json")]
    assert described[0]["recipe"] == described[1]["recipe"]
    assert load_model(tmp_path / "model.safetensors").classes == load_model(tmp_path / "model.pth").classes
    pickled = torch.load(tmp_path / "model.pth", weights_only=True)
    safe = load_file(tmp_path / "model.safetensors")
    assert pickled.keys() == safe.keys()
    assert all(torch.equal(pickled[name], safe[name]) for name in safe)
    # plain PyTorch, and nothing of raytrain but the network, can use it
    network = architectures.ARCHITECTURES["resnet18"](10, width=4)
    network.load_state_dict(pickled)
    assert pickled._metadata == network.state_dict()._metadata  # the versions that some networks ask for


def test_a_run_alone_means_the_trial_that_validation_chooses(trained: Folder, tmp_path: Path) -> None:
    chosen = max(read_results(trained), key=lambda result: (result.val_accuracy or 0, -(result.val_loss or 0)))
    exported = call("export", trained.name, "--out", Path(str(trained)).parent, "-o", tmp_path / "a.pth")
    assert f"{chosen.trial}: chosen by validation accuracy" in exported.stderr
    digest = chosen.trial.rpartition("-")[2]
    again = call("export", f"{trained.name}/{digest[:5]}", "--out", Path(str(trained)).parent, "-o", tmp_path / "b.pth")
    assert (again.exit_code, f"{chosen.trial}: named explicitly" in again.stderr) == (0, True)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_predict_says_what_the_trial_said_of_each_image(trained: Folder, tmp_path: Path) -> None:
    trial = next(iter(accuracies(trained)))
    assert call("export", f"{trained}/{trial}", "-o", tmp_path / "m.safetensors").exit_code == 0
    (tmp_path / "m.safetensors.json").unlink()  # the metadata is enough
    (result,) = [one for one in read_results(trained) if one.trial == trial]
    seen = read_predictions(trained, result)
    assert seen is not None
    images = load("digits", image_size=SIZE).test.images[:20]
    for row, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{row:02}.png")
    named = call("predict", tmp_path / "m.safetensors", tmp_path, "--json")
    rows = json.loads(named.stdout)["images"]
    assert [Path(row["image"]).name for row in rows] == [f"{row:02}.png" for row in range(20)]
    assert [int(row["classes"][0]["class"]) for row in rows] == seen.predicted[:20].tolist()
    shares = [row["classes"][0]["probability"] for row in rows]
    assert shares == pytest.approx(seen.probabilities[:20], abs=0.02)
    assert all(len(row["classes"]) == 3 for row in rows)
    in_python = load_model(tmp_path / "m.safetensors").predict(tmp_path)
    assert [str(path) for path in in_python.files] == [row["image"] for row in rows]
    assert in_python.classes == [row["classes"][0]["class"] for row in rows]
    table = call("predict", tmp_path / "m.safetensors", tmp_path / "00.png", "--top", "1")
    assert f"{seen.predicted[0]} {100 * shares[0]:.1f} %" in table.stdout


def test_an_unreadable_image_is_a_row_and_the_others_are_predicted(trained: Folder, tmp_path: Path) -> None:
    call("export", trained, "-o", tmp_path / "m.pth")
    Image.fromarray(np.zeros((40, 60), dtype=np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    ended = call(
        "predict", tmp_path / "m.pth", tmp_path / "bad.png", tmp_path / "grey.png", tmp_path / "none.png", "--json"
    )
    assert ended.exit_code == 2
    rows = {Path(row["image"]).name: row for row in json.loads(ended.stdout)["images"]}
    assert {name: len(row["classes"]) for name, row in rows.items()} == {"bad.png": 0, "grey.png": 3, "none.png": 0}
    assert rows["grey.png"]["error"] is None
    assert "bad.png: cannot be decoded" in rows["bad.png"]["error"]
    given = ("predict", tmp_path / "m.pth", tmp_path / "bad.png", tmp_path / "grey.png", "--top", "1")
    bad, grey = csv.DictReader(call(*given, "--csv").stdout.splitlines())
    assert (bad["class_1"], grey["class_1"]) == ("", rows["grey.png"]["classes"][0]["class"])
    assert (bad["error"], grey["error"]) == (rows["bad.png"]["error"], "")
    assert "–" in call(*given).stdout
    assert "bad.png: cannot be decoded" in ended.stderr
    assert "none.png: cannot be read: No such file" in ended.stderr
    (tmp_path / "empty").mkdir()
    assert "has no images" in call("predict", tmp_path / "m.pth", tmp_path / "empty").stderr


def test_an_image_that_is_given_twice_is_two_rows(trained: Folder, tmp_path: Path) -> None:
    call("export", trained, "-o", tmp_path / "m.pth")
    for colour in ("black", "white"):
        Image.new("RGB", (SIZE, SIZE), colour).save(tmp_path / f"{colour}.png")
    files = [tmp_path / f"{colour}.png" for colour in ("black", "white", "black")]
    first, second, third = json.loads(call("predict", tmp_path / "m.pth", *files, "--json").stdout)["images"]
    assert [one["image"] for one in (first, second, third)] == list(map(str, files))
    assert first == third
    rows = csv.DictReader(call("predict", tmp_path / "m.pth", *files, "--csv").stdout.splitlines())
    assert [row["image"] for row in rows] == list(map(str, files))


def test_a_data_set_of_other_classes_is_refused(trained: Folder, tmp_path: Path) -> None:
    call("export", trained, "-o", tmp_path / "m.pth")
    for blue, part in enumerate(("train", "test")):
        for label in ("cat", "dog"):
            folder = tmp_path / "pets" / part / label
            folder.mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (32, 32), (number, 0, blue)).save(folder / f"{number}.png")
    ended = call("evaluate", tmp_path / "m.pth", "--dataset", tmp_path / "pets")
    assert ended.exit_code == 2
    assert "has the classes cat, dog; the model knows 0, 1, 2" in ended.stderr


def test_nothing_is_replaced_unasked_and_bad_names_are_one_message(trained: Folder, tmp_path: Path) -> None:
    model = tmp_path / "m.pth"
    assert call("export", trained, "-o", model).exit_code == 0
    cases = {
        ("export", trained, "-o", model): "add --force",
        ("export", trained, "-o", tmp_path / "m.h5"): "name it .pth, .safetensors, .pt2 or .onnx",
        ("export", trained, "-o", tmp_path / "no" / "m.pth"): "in an existing folder",
        ("export", f"{trained}/zzz"): "there is no trained trial 'zzz'",
        ("export", f"{trained}/resnet18"): "matches",
        ("export", "nowhere/zzz", "--out", tmp_path): "no run 'nowhere/zzz'",
        ("evaluate", tmp_path / "absent.pth"): "raytrain export RUN",
        ("evaluate", tmp_path / "m.json"): "name the file of its weights",
    }
    for arguments, message in cases.items():
        ended = call(*arguments)
        assert (ended.exit_code, message in ended.stderr, "Traceback" in ended.stderr) == (2, True, False), ended.stderr
    assert call("export", trained, "-o", model, "--force").exit_code == 0


def test_damage_is_found(trained: Folder, tmp_path: Path) -> None:
    model, described = tmp_path / "m.pth", tmp_path / "m.json"
    assert call("export", trained, "-o", model).exit_code == 0
    content, said = model.read_bytes(), json.loads(described.read_text())

    def refused(message: str) -> None:
        ended = call("evaluate", model)
        assert (ended.exit_code, message in ended.stderr) == (2, True), ended.stderr

    model.write_bytes(content[:-10] + bytes(10))
    refused("describes other weights")
    model.write_bytes(content)
    for change, message in (
        ({"format": 2}, "another format than 1"),
        ({"classes": ["only", "two"]}, "do not match their description"),
        ({"extra": 1}, "missing or unknown: extra"),
        ({"recipe": {**said["recipe"], "arch": "resnet1000"}}, "do not match their description"),
        ({"recipe": {}}, "do not match their description"),
        ({"recipe": []}, "is damaged: recipe: "),
        ({"classes": 5}, "is damaged: classes: "),
        ({"classes": [0, 1]}, "is damaged: classes.0: "),
        ({"mean": [0.5]}, "is damaged: mean"),
        ({"code": {"0123456789ab": ["a.py"]}}, "is damaged: code.0123456789ab: "),
    ):
        described.write_text(json.dumps({**said, **change}))
        refused(message)
    described.write_text("{")
    refused("is damaged")
    described.write_text("[]")
    refused("does not describe a model")
    described.unlink()
    refused("is missing")


@pytest.mark.parametrize("which", ["best", "last"])
def test_weights_of_an_earlier_epoch_are_said_where_the_last_checkpoint_is_lost(
    trained: Folder, tmp_path: Path, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    shutil.copytree(str(trained), tmp_path / "copy")
    trial = next(iter(accuracies(trained)))
    export = ["export", f"{tmp_path}/copy/{trial}", "-o", tmp_path / "m.pth", "--force", "--which", which]
    assert (call(*export).exit_code, caplog.text) == (0, "")
    known = json.loads((tmp_path / "m.json").read_text())["epoch"]
    newest = max((tmp_path / "copy" / "trials" / trial / "checkpoint").glob("epoch-*.json"))
    newest.unlink()
    assert call(*export).exit_code == 0
    described = json.loads((tmp_path / "m.json").read_text())
    assert known == 3 != described["epoch"]
    assert f"is lost; these are the weights of epoch {described['epoch']}, not of epoch 3" in caplog.text
    assert described["test_accuracy"] is None


def test_the_best_weights_are_exported_where_the_training_state_cannot_be_loaded(
    trained: Folder, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(str(trained), tmp_path / "copy")
    trial = next(iter(accuracies(trained)))
    export = ["export", f"{tmp_path}/copy/{trial}", "-o", tmp_path / "m.pth", "--force", "--which"]
    assert call(*export, "best").exit_code == 0
    expected, described = torch.load(tmp_path / "m.pth", weights_only=True), (tmp_path / "m.json").read_text()
    there = Folder.at(tmp_path / "copy" / "trials" / trial / "checkpoint")
    saved = checkpoint.load(there)
    assert saved
    saved.state["optimizer"]["param_groups"][0]["lr"] = np.float64(0.1)
    checkpoint.save(there, saved)
    assert call(*export, "best").exit_code == 0
    again = torch.load(tmp_path / "m.pth", weights_only=True)
    assert all(torch.equal(again[name], expected[name]) for name in expected)
    assert (tmp_path / "m.json").read_text() == described
    ended = call(*export, "last")
    assert (ended.exit_code, "weights of the last epoch cannot be read" in " ".join(ended.stderr.split())) == (2, True)


def test_a_trial_without_a_checkpoint_says_so(trained: Folder, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(str(trained), copy)
    trial = next(iter(accuracies(trained)))
    shutil.rmtree(copy / "trials" / trial / "checkpoint")
    ended = call("export", f"{copy}/{trial}", "-o", tmp_path / "m.pth")
    assert (ended.exit_code, "no checkpoint that can be read" in ended.stderr) == (2, True)
    assert not (tmp_path / "m.pth").exists()
