"""What a trial costs besides its training: 24 one-epoch trials of a tiny network, three ways.

python benchmarks/sweep.py

(a) ours: the runner behind `raytrain tune`, with its run folder, checkpoints, tables and final measurement; (b) a plain
Ray Tune function trainable over the same loop, with `reuse_actors`; (c) the documented nesting: a Tune function that
fits a `TorchTrainer(num_workers=1)`. Two at a time on one core each. The clock starts when Ray is up and the images are
in memory, and stops when the last trial has ended and the results are there.
"""

import statistics
import sys
import tempfile
import uuid
from typing import Any

import ray
import ray.train
from comparison import Comparison, Record, arguments, interleaved, seconds_of
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from raytrain.analysis.record import RunRecord
from raytrain.execution.inputs import load_splits
from raytrain.experiment.experiment import Experiment
from raytrain.ray_backend.placement import COORDINATOR_CPUS, Placement
from raytrain.ray_backend.session import ray_session
from raytrain.ray_backend.tuner import run_trials
from raytrain.report.files import write_tables
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.choices import model_size
from raytrain.training.recipe import Recipe

CONCURRENT = 2
TINY: dict[str, Any] = {"arch": "resnet18", "width": 4, "dataset": "digits", "epochs": 1, "batch_size": 64}


def experiment(trials: int) -> Experiment:
    return Experiment.model_validate({"name": "sweep", "recipe": TINY, "seeds": list(range(trials))})


def loop(recipe: Recipe, splits: Any, report: Any) -> None:
    """Train a recipe and report each epoch; at the end measure, as ours does, training and test images once."""
    import torch

    from raytrain.training.evaluation import TrainingData, evaluate
    from raytrain.training.loop import train
    from raytrain.training.state import TrainState

    torch.set_num_threads(1)
    device = torch.device("cpu")
    data = TrainingData.on(device, splits)
    state = TrainState.create(recipe, num_classes=data.num_classes, device=device)
    for metrics in train(recipe, state, data):
        assert metrics.val
        report({"epoch": metrics.epoch, "val_accuracy": metrics.val.accuracy})
    final = {
        f"{name}_accuracy": evaluate(state.evaluated_model, images, data=data, precision=state.precision).accuracy
        for name, images in (("train", data.train), ("test", data.test))
    }
    report({"epoch": recipe.epochs, "val_accuracy": metrics.val.accuracy, **final})


def ours(trials: int, splits: Any) -> None:
    asked = experiment(trials)
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as out:
        listed = asked.trials()
        run = RunJournal.open(Folder.at(out) / "sweep", asked, listed)
        size = model_size(asked.recipe, 10)
        run.begin({trial.id: size.parameters for trial in listed})
        run_trials(run, splits, placement=Placement(workers=1, cpus=1, gpus=0.0, concurrent=CONCURRENT))
        run.close()
        write_tables(RunRecord(run.folder, run.state))
        results = run.state.results()
    assert len(results) == trials
    assert all(result.status == "finished" and result.test_accuracy is not None for result in results)


def plain(trials: int, splits: Any) -> None:
    (only,) = splits.values()

    def trainable(config: dict[str, Any], images: Any) -> None:
        loop(Recipe(**config["recipe"]), images, tune.report)

    fit(tune.with_resources(tune.with_parameters(trainable, images=only), {"CPU": 1}), trials, reuse_actors=True)


def nested(trials: int, splits: Any) -> None:
    (only,) = splits.values()
    reference = ray.put(only)
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as storage:

        def rank(config: dict[str, Any]) -> None:
            loop(Recipe(**config["recipe"]), ray.get(config["images"]), ray.train.report)

        def trainable(config: dict[str, Any]) -> None:
            TorchTrainer(
                rank,
                train_loop_config={**config, "images": reference},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=1, resources_per_worker={"CPU": 1 - COORDINATOR_CPUS}
                ),
                run_config=ray.train.RunConfig(
                    name=uuid.uuid4().hex, storage_path=storage, callbacks=[TuneReportCallback()]
                ),
            ).fit()

        fit(tune.with_resources(trainable, {"CPU": COORDINATOR_CPUS}), trials, reuse_actors=False)


def fit(trainable: Any, trials: int, *, reuse_actors: bool) -> None:
    recipes = [trial.recipe.model_dump() for trial in experiment(trials).trials()]
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as storage:
        grid = tune.Tuner(
            trainable,
            param_space={"recipe": tune.grid_search(recipes)},
            tune_config=tune.TuneConfig(max_concurrent_trials=CONCURRENT, reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        assert not grid.errors, grid.errors
        assert len(grid) == trials
        assert all("test_accuracy" in result.metrics for result in grid)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--nested-trials", type=int, default=6, help="trials of (c), which are slow")
    options = parser.parse_args()
    trials = options.trials
    record = Record("sweep")
    splits = load_splits(experiment(trials).trials())
    with ray_session(None):
        ours(CONCURRENT, splits)  # the first ones import PyTorch
        what = f"{trials} one-epoch trials of a tiny network"
        measured = interleaved(
            lambda: seconds_of(lambda: ours(trials, splits)),
            lambda: seconds_of(lambda: plain(trials, splits)),
            pairs=options.pairs,
        )
        record.add(Comparison(what, "a plain Tune function with reuse_actors", "s", *measured).aiming(cost_at_most=1.1))
        each = seconds_of(lambda: nested(options.nested_trials, splits)) / options.nested_trials
        record.add(
            Comparison(
                "a trial of those",
                f"Tune over TorchTrainer(num_workers=1), {options.nested_trials} trials",
                "s",
                [statistics.median(measured[0]) / trials],
                [each],
            ).aiming(cost_at_most=0.2)
        )
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
