"""raytrain from Python: the names that the package offers, their results, and the same in a notebook."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

import raytrain
from raytrain.errors import DataError, ExperimentError, RunFolderError

SETTINGS = {"arch": "resnet18", "width": 4, "image_size": 8, "epochs": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> raytrain.Run:
    """A run of two learning rates on the digits; not to be changed."""
    experiment = raytrain.Experiment(name="mine", recipe=raytrain.Recipe(**SETTINGS), grid={"lr": [0.1, 0.01]})
    with pytest.MonkeyPatch.context() as patch:  # as `quick_end` does later
        patch.setattr("raytrain.report.page.write_report", lambda *_, **__: None)
        return raytrain.run(experiment, out=tmp_path_factory.mktemp("api") / "runs", local=True, progress=False)


def test_every_public_name_is_found_and_documented() -> None:
    assert {"Recipe", "Experiment", "run", "plan", "open_run", "load_model", "read_experiment", "train"} <= set(
        dir(raytrain)
    )
    assert all(getattr(raytrain, name).__doc__ for name in raytrain.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        raytrain.no_such_name  # noqa: B018


def test_importing_raytrain_loads_nothing_heavy() -> None:
    heavy = ("torch", "ray", "pandas", "numpy", "pydantic", "pyarrow")
    program = f"import raytrain, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("start", [raytrain.run, raytrain.plan])
def test_what_a_file_is_refused_for_is_not_started(tmp_path: Path, start: Callable[..., Any]) -> None:
    recipe = raytrain.Recipe(**SETTINGS)
    unlike = raytrain.Experiment(name="mine", recipe=recipe, grid={"epochs": [2, 4]}, asha={})
    with pytest.raises(ExperimentError, match="asha compares trials at the same epoch, and these have 2 to 4 epochs"):
        start(unlike, out=tmp_path / "runs", local=True)
    undrawn = raytrain.Experiment(name="mine", recipe=recipe, grid={"lr": [0.1, 0.01]}, sampler="sobol")
    with pytest.raises(ExperimentError, match="sampler: sobol draws samples, and samples is missing"):
        start(undrawn, out=tmp_path / "runs", local=True)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_is_its_tables(run: raytrain.Run) -> None:
    table, trials, metrics = run.table(), run.trials(), run.metrics()
    assert list(table["lr"]) in ([0.1, 0.01], [0.01, 0.1])
    assert len(trials) == 2
    assert len(metrics) == 4
    assert set(metrics["trial"]) == set(trials["trial"])
    assert list(trials["test_accuracy"]) == list(table["test_accuracy"])
    assert table["chosen"].sum() == 1
    written = pd.read_parquet(f"{run.folder}/trials.parquet")  # None is NaN in a column of text
    both = (one.astype(object).where(one.notna(), None) for one in (trials, written))
    pd.testing.assert_frame_equal(*both)


@pytest.mark.slow
def test_the_chosen_trial_is_the_best_on_validation(run: raytrain.Run) -> None:
    trials = run.trials()
    best = trials.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
    assert run.chosen is not None
    assert run.chosen.trial == best["trial"]
    assert run.chosen.recipe.lr == best["lr"]


@pytest.mark.slow
def test_a_run_that_is_opened_again_is_the_same(run: raytrain.Run) -> None:
    folder = Path(run.folder)
    for again in (raytrain.open_run("mine", out=folder.parent), raytrain.open_run(folder)):
        pd.testing.assert_frame_equal(again.table(), run.table())
    with pytest.raises(RunFolderError, match="choose one of mine"):
        raytrain.open_run("yours", out=folder.parent)


@pytest.mark.slow
def test_running_again_trains_nothing(run: raytrain.Run) -> None:
    experiment = raytrain.Experiment(name="mine", recipe=raytrain.Recipe(**SETTINGS), grid={"lr": [0.1, 0.01]})
    again = raytrain.run(experiment, out=Path(run.folder).parent, local=True, progress=False)
    pd.testing.assert_frame_equal(again.trials(), run.trials())


@pytest.mark.slow
def test_a_model_predicts_files_and_arrays_alike(run: raytrain.Run, tmp_path: Path) -> None:
    from PIL import Image

    from raytrain.data import load

    model = run.load_model()
    images = load("digits", image_size=8).test
    assert run.chosen is not None
    found = model.predict(images.images)
    assert found.probabilities.shape == (len(images), 10)
    assert found.probabilities.sum(axis=1) == pytest.approx(1.0)
    right = np.mean(
        [model.classes.index(name) == label for name, label in zip(found.classes, images.labels, strict=True)]
    )
    assert right == pytest.approx(run.chosen.test_accuracy)
    path = tmp_path / "digit.png"
    Image.fromarray(images.images[0]).save(path)
    one = model.predict([path])
    assert one.classes == found.classes[:1]
    assert one.probabilities == pytest.approx(found.probabilities[:1], rel=1e-4)
    with pytest.raises(DataError, match=r"\(2, 8, 8\) and type uint8"):
        model.predict(np.zeros((2, 8, 8), dtype=np.uint8))


@pytest.mark.slow
def test_weights_that_are_neither_the_best_nor_the_last_are_refused(run: raytrain.Run) -> None:
    with pytest.raises(ExperimentError, match="unknown choice of weights 'bst'; did you mean 'best'"):
        run.load_model(which="bst")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_trial_is_named_by_the_digest_that_the_table_shows(run: raytrain.Run) -> None:
    last = run.table()["trial"].iloc[-1]
    assert run.load_model(last, which="last").description.trial.endswith(last)
    with pytest.raises(RunFolderError, match="no trained trial 'nothing'"):
        run.load_model("nothing")


@pytest.mark.slow
def test_the_loop_itself_is_a_generator() -> None:
    recipe = raytrain.Recipe(**SETTINGS)
    data = raytrain.training_data(recipe)
    state = raytrain.TrainState.create(recipe, num_classes=data.num_classes, device=data.device)
    assert [metrics.epoch for metrics in raytrain.train(recipe, state, data)] == [1, 2]


def test_a_shipped_experiment_is_read_by_its_name() -> None:
    experiment = raytrain.read_experiment("quick", set={"epochs": 3, "lr": 0.01}, name="other", asha=None)
    assert {trial.recipe.epochs for trial in experiment.trials()} == {3}
    assert (experiment.name, experiment.asha) == ("other", None)
    with pytest.raises(ExperimentError, match="no such file"):
        raytrain.read_experiment("no.yaml")


def test_a_mode_that_there_is_not_does_not_continue_the_run(tmp_path: Path) -> None:
    experiment = raytrain.Experiment(name="p", recipe=raytrain.Recipe(**SETTINGS))
    with pytest.raises(ExperimentError, match="unknown mode 'failed-only'; did you mean 'failed_only'"):
        raytrain.run(experiment, out=tmp_path, local=True, mode="failed-only")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_plan_says_what_a_run_will_take(tmp_path: Path) -> None:
    experiment = raytrain.Experiment(name="p", recipe=raytrain.Recipe(**SETTINGS), grid={"lr": [0.1, 0.01]})
    plan = raytrain.plan(experiment, out=tmp_path, local=True)
    assert plan is not None
    assert (plan.trials, plan.seconds.median > 0) == (2, True)
    assert list(tmp_path.iterdir()) == []


def notebook(*cells: str, folder: Path) -> list[Any]:
    """Return the cells of a notebook after it ran in a kernel of its own."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return book.cells


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("local", [True, pytest.param(False, marks=[pytest.mark.ray, pytest.mark.heavy])])
def test_in_a_notebook_the_progress_is_drawn_and_nothing_floods_it(tmp_path: Path, *, local: bool) -> None:
    rates = [0.1, 0.01] if local else [0.1]  # a process that imports PyTorch for each
    first, second = notebook(
        "import raytrain\n"
        f"recipe = raytrain.Recipe(**{SETTINGS!r})\n"
        f"experiment = raytrain.Experiment(name='mine', recipe=recipe, grid={{'lr': {rates}}})\n"
        f"run = raytrain.run(experiment, local={local})",
        "run",
        folder=tmp_path,
    )
    drawn = [one["data"]["text/html"] for one in first.outputs if one["output_type"] == "display_data"]
    assert len(drawn) == 1
    assert f"{len(rates)} finished" in drawn[0]
    said = "".join(one["text"] for one in first.outputs if one["output_type"] == "stream")
    assert said.count("\n") <= 5, said
    (shown,) = second.outputs
    assert "<table" in shown["data"]["text/html"]
    assert "test_accuracy" in shown["data"]["text/html"]
