"""A run whose trials start from a file: the file is part of the run, and may then go."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

import raytrain
from raytrain.cli.app import app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("empty_report")]  # imports, above all


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_run_keeps_the_weights_it_starts_from_and_refuses_others(
    tiny_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = raytrain.Recipe(dataset=tiny_images, image_size=8, width=2, arch="resnet9", epochs=1)
    torch.save(recipe.build_network(2).state_dict(), "model.pth")
    Path("one.yaml").write_text(
        f"recipe: {{dataset: {tiny_images}, image_size: 8, width: 2, arch: resnet9, epochs: 1, init: model.pth}}\n"
    )
    done = call("train", "one.yaml", "--local", "-q")
    assert done.exit_code == 0, done.output
    digest = raytrain.weights("model.pth").partition("@")[2]
    (kept,) = json.loads(Path("runs/one/manifest.json").read_text())["initial_weights"]
    assert kept["file"] == f"init/{digest}"
    assert kept["sha256"].startswith(digest)
    assert Path("runs/one/init", digest).read_bytes() == Path("model.pth").read_bytes()

    exported = call("export", "one", "-o", "trained.pth")
    assert exported.exit_code == 0, exported.output
    Path("trained.pth").rename("model.pth")
    refused = call("train", "one.yaml", "--local", "-q")
    assert refused.exit_code == 2
    assert f"recipe.init: model.pth@{digest} before, model.pth@" in str(refused.output + str(refused.exception))

    Path("model.pth").unlink()
    resumed = call("resume", "one", "--local", "-q")
    assert resumed.exit_code == 0, resumed.output


def test_a_plan_refuses_weights_that_a_run_would_refuse(
    tiny_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = raytrain.Recipe(dataset=tiny_images, image_size=8, width=4, arch="resnet9")
    torch.save(recipe.build_network(2).state_dict(), "wide.pth")
    fields = ("image_size=8", "width=2", "arch=resnet9", "init=wide.pth", f"dataset={tiny_images}")
    words = [word for field in fields for word in ("--set", field)]
    refusals = [call(command, *words, "--local", "--name", "x") for command in ("plan", "train")]
    assert [one.exit_code for one in refusals] == [2, 2]
    assert all("for resnet9: does not fit the network" in one.stderr for one in refusals), refusals[0].stderr
