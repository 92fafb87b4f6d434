"""The user's code on its way: to Ray's processes as text, and to a cluster as files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import raytrain
from raytrain.cluster.package import FILES
from raytrain.cluster.submission import Submission
from raytrain.errors import PreflightError
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.search.assignments import parse_overrides

RECIPE = (
    "recipe: {arch: {my_net.py:MyNet: {depth: 2}}, dataset: my_rest.py:stripes, image_size: 16, width: 4, epochs: 1,"
    " augment: [my_rest.py:noise], schedule: my_rest.py:steps, optimizer: my_rest.py:rmsprop, lr: 0.01}\n"
)


def submission(file: Path, *assignments: str) -> Submission:
    experiment = read_experiment(file, overrides=parse_overrides(assignments))
    return Submission(("compare", str(file)), experiment, file, (), None, "job", ())


def sent(one: Submission) -> dict[str, str]:
    """Return what travels beside raytrain itself: text by path."""
    with one.package() as package:
        mine = [name for name in package.sizes if not name.startswith("raytrain/")]
        return {name: (package.folder / FILES / name).read_text() for name in mine}


@pytest.fixture
def node_elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of one node, which was started in another folder."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster  # noqa: TID251 (a node of its own)

    with monkeypatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        # without two processes that no test needs: each takes seconds of processor time
        spared = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
        there = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **spared})
    try:
        yield str(there.address)
    finally:
        there.shutdown()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("empty_report")
def test_a_node_elsewhere_that_sees_no_file_trains_the_users_code_from_given_weights(
    folder: Path, node_elsewhere: str
) -> None:
    (folder / "mine.yaml").write_text(RECIPE.replace("lr:", "init: model.pth, lr:"))
    (folder / "model.pth").write_bytes(b"read later")
    recipe = read_experiment(folder / "mine.yaml").recipe
    torch.save(recipe.build_network(2).state_dict(), folder / "model.pth")
    experiment = read_experiment(folder / "mine.yaml")
    for file in folder.glob("*.py"):
        file.rename(file.with_suffix(".gone"))
    outcome = run(experiment, RunOptions("runs", address=node_elsewhere))
    assert [(one.status, one.error) for one in outcome.results] == [("finished", None)]
    assert len(list((folder / "runs" / "mine" / "init").iterdir())) == 2


def test_submit_sends_the_code_and_the_weights_where_the_command_finds_them(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "model.pth").write_text("weights")
    for name in ("my_net.py", "my_layers.py"):
        (folder / name).rename(folder / "deep" / name)
    (folder / "deep" / "mine.yaml").write_text("recipe: {arch: my_net.py:MyNet, init: model.pth}\n")
    files = sent(submission(Path("deep/mine.yaml"), "augment=[my_rest.py:noise]"))
    assert sorted(files) == [
        "deep/mine.yaml",
        "deep/model.pth",
        "deep/my_layers.py",
        "deep/my_net.py",
        "my_rest.py",
    ]
    assert files["my_rest.py"] == (folder / "my_rest.py").read_text()


def test_the_package_reads_to_the_same_trials_as_here(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.yaml").write_text("recipe: {arch: my_net.py:MyNet}\n")
    for name in ("my_net.py", "my_layers.py"):
        (folder / name).rename(elsewhere / name)
    here = submission(elsewhere / "mine.yaml", "schedule=my_rest.py:steps")
    there = tmp_path_factory.mktemp("there")
    for name, text in sent(here).items():
        (there / name).write_text(text)
    monkeypatch.chdir(there)
    read = read_experiment(Path("mine.yaml"), overrides=parse_overrides(["schedule=my_rest.py:steps"]))
    assert read.trials() == here.experiment.trials()


def test_code_that_the_cluster_would_not_find_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "deep").mkdir()
    monkeypatch.chdir(folder / "deep")
    Path("mine.yaml").write_text("recipe: {arch: ../my_net.py:MyNet}\n")
    with pytest.raises(PreflightError, match=r"my_(net|layers)\.py: is outside of the folder"):
        sent(submission(Path("mine.yaml")))


@pytest.mark.usefixtures("folder")
def test_a_recipe_in_python_names_its_code_for_travel() -> None:
    recipe = raytrain.Recipe(arch=raytrain.code("my_net.py:MyNet"), augment=(raytrain.code("my_rest.py:noise"),))
    assert len(recipe.user_code) == 2
