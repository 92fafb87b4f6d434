"""Every command with --json prints one document: an object with `schema_version`."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.cluster import jobs as jobs_module
from raytrain.cluster import submission
from raytrain.cluster.jobs import Job
from raytrain.trackers.sending import Sent

JOB = Job("quick-1a2b", "SUCCEEDED", "compare quick", "quick", "", 1.0, 2.0, 0)

PAIRS = "resnet9 resnet18 RECIPE --name pairs --no-asha --until-separated 5 --max-seeds 2 --local"
EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": ("RECIPE --name five --local -q",),
    "compare": ("resnet9 RECIPE --name three --local -q", f"{PAIRS} --quiet"),
    "tune": ("--grid lr=0.02 RECIPE --name four --local -q",),
    "resume": ("one --local -q",),
    "plan": ("RECIPE --local", "RECIPE --list"),
    "results": ("one", "", "one -f json"),
    "diff": ("one one",),
    "rerun": ("one -q", "one -q --verify"),
    "audit": ("one", "--baseline student"),
    "judge": ("one two",),
    "baseline list": ("",),
    "baseline show": ("student",),
    "log": ("one --to mlflow",),
    "export": ("one -o again.pth",),
    "evaluate": ("model.pth",),
    "predict": ("model.pth FOLDER/test/dark/00.png",),
    "submit": ("--detach -- compare quick",),
    "jobs": ("",),
    "logs": ("quick-1a2b", "quick-1a2b --follow"),
    "stop": ("quick-1a2b",),
    "pull": ("quick-1a2b",),
    "doctor": ("--local",),
    "fields": ("", "lr", "arch --like torchvision:resnet"),
    "data fetch": ("FOLDER --image-size 8",),
    "data verify": ("FOLDER --image-size 8",),
}
"""Arguments of the commands that have --json, by their full names."""
PROSE = {
    *("report", "view", "plot", "rm", "prune", "new", "baseline import", "schema"),
    *(f"cluster {name}" for name in ("template", "check", "up", "down", "status")),
}
"""Commands that print sentences or the path of a file. `schema` prints a JSON Schema, which has its own standard."""


def test_a_command_has_json_or_prints_no_data(every_command: dict[str, Any]) -> None:
    with_json = {
        name for name, one in every_command.items() if any("--json" in parameter.opts for parameter in one.params)
    }
    assert with_json == set(EXAMPLES)
    assert set(every_command) - with_json == PROSE


class Cluster:
    """A cluster with one job."""

    def __init__(self, address: str | None, *, insecure: bool) -> None:
        self.address, self.insecure = address, insecure

    def all(self) -> list[Job]:
        return [JOB]

    def get(self, _name: str) -> Job:
        return JOB

    stop = get

    def follow(self, _name: str, _to: object) -> Job:
        return JOB

    def log(self, _name: str) -> str:
        return "epoch 1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_images: str) -> Iterator[Path]:
    """Be in a folder with two runs, of two seeds each, and the model of one."""
    folder, before = tmp_path_factory.mktemp("place"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.render", lambda *_, **__: "")
        patch.setattr("raytrain.report.page.pictures", lambda *_, **__: {"Loss_Test": b""})
        patch.setattr(jobs_module, "Jobs", Cluster)
        sent_to = Sent("one", "http://127.0.0.1:5000", 2, 0, 0, None, ())
        patch.setattr("raytrain.trackers.sending.send", lambda *_, **__: sent_to)
        patch.setattr("raytrain.trackers.tracker.check_tracker", lambda _: None)
        patch.setattr("raytrain.trackers.tracker.open_tracker", lambda *_, **__: None)
        pulled = {"files": 1, "size": 10, "unchanged": 0}
        patch.setattr(submission, "pull_run", lambda *_, **__: (Path("runs/quick"), pulled))
        sent = SimpleNamespace(package=lambda: open(os.devnull), submit=lambda *_: None, job=JOB.id)  # noqa: PTH123, SIM115
        patch.setattr("raytrain.cli.cluster.submit.submission_of", lambda *_, **__: sent)
        os.chdir(folder)
        try:
            for words in ("one RECIPE", "two RECIPE --set lr=0.02"):
                assert call("train", f"--seeds 0,1 --local -q --name {words}", tiny_images).exit_code == 0
            assert call("export", "one -o model.pth", tiny_images).exit_code == 0
            yield folder
        finally:
            os.chdir(before)


def call(command: str, words: str, folder: str, *more: str) -> Result:
    """Run a command; RECIPE stands for a recipe of a second on the images of a folder, and FOLDER for that folder."""
    recipe = ("image_size=8", "width=2", "epochs=1", "batch_size=16", "val_size=8", f"dataset={folder}")
    sets = " ".join(f"--set {one}" for one in recipe)
    words = words.replace("RECIPE", sets).replace("FOLDER", folder)
    return CliRunner().invoke(app, [*command.split(), *more, *shlex.split(words)])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("command", "words"), [(name, one) for name, all_ in EXAMPLES.items() for one in all_])
def test_json_is_one_object_with_the_version_of_its_form(tiny_images: str, command: str, words: str) -> None:
    result = call(command, words, tiny_images, "--json")
    document = json.loads(result.stdout, parse_constant=refuse)
    assert isinstance(document, dict)
    assert next(iter(document)) == "schema_version"
    assert isinstance(document["schema_version"], int)
    assert len(document) > 1


@pytest.mark.usefixtures("place")
def test_what_until_separated_has_found_is_among_the_results_that_quiet_leaves(tiny_images: str) -> None:
    in_json = call("compare", f"{PAIRS} --quiet", tiny_images, "--json")
    (found,) = json.loads(in_json.stdout)["separations"]
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [("resnet9", "resnet18")]
    assert "Of 1 pair, " not in in_json.stderr
    said = call("compare", f"{PAIRS} --quiet", tiny_images).stderr
    assert said.count("Of 1 pair, ") == 1
    assert "Validation chooses" not in said
    assert call("compare", PAIRS, tiny_images).stderr.count("Of 1 pair, ") == 1


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
