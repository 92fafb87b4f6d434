"""`raytrain new`: what it writes is a valid experiment with code of one's own."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.rehearsal.rehearsal import rehearse


def test_the_folder_to_start_from_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", "mine"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in Path("mine").iterdir()} == {
        "experiment.yaml",
        "my_net.py",
        "my_augment.py",
        "README.md",
    }
    trials = read_experiment(Path("mine/experiment.yaml")).trials()
    rehearse([(trial.recipe, 10) for trial in trials])
    assert [trial.id.partition("-")[0] for trial in trials] == ["resnet9", "MyNet", "MyNet"]
    assert len(Path("mine/README.md").read_text().splitlines()) == 10


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    done = CliRunner().invoke(app, ["new", str(tmp_path)])
    assert done.exit_code == 2
    assert "is there already; give the name of a new folder" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["new", "a;touch b"])
    assert "next: cd 'a;touch b' && raytrain compare experiment.yaml" in done.stderr
