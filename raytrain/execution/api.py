"""raytrain from Python: what the commands do, with pandas tables and models as results.

    import raytrain

    experiment = raytrain.read_experiment("quick", set={"epochs": 3})
    run = raytrain.run(experiment, local=True)
    print(run.table())
    model = run.load_model()

`import raytrain` gives these names; nothing heavy is imported before one of them is used.
"""

# The imports inside functions load PyTorch, over a second, which reading a run does not need.

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from rich.console import Console

from raytrain.analysis.record import RunRecord, read_record
from raytrain.data import split
from raytrain.execution import plan as planning
from raytrain.execution import run as running
from raytrain.execution.options import Mode, RunOptions
from raytrain.execution.plan import Plan
from raytrain.experiment import reading
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.shipped import SHIPPED, shipped_experiment
from raytrain.experiment.trial_checks import refuse_what_earlier_versions_took
from raytrain.report import REPORT, live, records
from raytrain.runs import folder as run_folders
from raytrain.runs.events import TRIAL_TIMEOUT_S
from raytrain.training.recipe import Recipe

if TYPE_CHECKING:
    from raytrain.inference.model import Model  # brings PyTorch
    from raytrain.training.evaluation import TrainingData


@dataclass(frozen=True)
class ChosenTrial:
    """The trial that validation chooses. Accuracies are fractions in [0, 1], losses are in nats.

    Attributes:
        trial: Id of the trial.
        recipe: Its recipe.
        parameters: Number of trainable parameters.
        best_epoch: The epoch whose weights the accuracies are of, counted from 1.
        train_accuracy: Accuracy on the training split, without augmentation.
        val_accuracy: Accuracy on the validation split; None without one.
        val_loss: Cross-entropy on the validation split; None without one.
        test_accuracy: Accuracy on the test set, which had no part in the choice.
        test_loss: Cross-entropy on the test set.
        test_tta_accuracy: Accuracy on the test set with test-time augmentation; None unless the recipe has `tta`.
        seconds: Wall-clock time of its epochs.
    """

    trial: str
    recipe: Recipe
    parameters: int
    best_epoch: int | None
    train_accuracy: float | None
    val_accuracy: float | None
    val_loss: float | None
    test_accuracy: float | None
    test_loss: float | None
    test_tta_accuracy: float | None
    seconds: float


class Run:
    """A run, read from its folder. In a notebook it shows itself as its table.

    Attributes:
        interrupted: Whether a signal or the time limit ended it before all trials had ended.
    """

    def __init__(self, record: RunRecord, *, interrupted: bool = False) -> None:
        """Show what a record says; `open_run` and `run` make runs.

        Args:
            record: Record of the run.
            interrupted: Whether a signal or the time limit ended the run early.
        """
        self._record = record
        self.interrupted = interrupted

    @property
    def name(self) -> str:
        """The name of the run."""
        return self._record.name

    @property
    def folder(self) -> str:
        """Path or URI of the run folder."""
        return str(self._record.folder)

    @property
    def report(self) -> str | None:
        """Path or URI of report.html; None while there is none."""
        return f"{self.folder}/{REPORT}" if self._record.folder.exists(REPORT) else None

    @property
    def chosen(self) -> ChosenTrial | None:
        """The trial that validation chooses, or None while none has finished.

        Without a validation split it is the first seed of the first row of which all seeds have finished; the accuracy
        of that row is then too high.
        """
        result = self._record.chosen_trial
        if result is None:
            return None
        values: dict[str, Any] = {field.name: getattr(result, field.name) for field in fields(ChosenTrial)}
        values["recipe"] = Recipe(**result.recipe)
        return ChosenTrial(**values)

    def table(self) -> pd.DataFrame:
        """Return the ranked table: a row for each configuration, best first, as `raytrain results` shows it.

        Columns are named as the fields are, such as `arch` and `test_accuracy`. Accuracies are fractions in [0, 1],
        means over the seeds of a configuration.
        """
        return pd.DataFrame(records.configuration_rows(self._record.ranking))

    def trials(self) -> pd.DataFrame:
        """Return a row for each trial, with every field of its recipe: what trials.parquet holds."""
        return pd.DataFrame(records.flat_rows(self._record.ranking))

    def metrics(self) -> pd.DataFrame:
        """Return a row for each trial and epoch: what metrics.parquet holds. Losses are in nats."""
        rows = [{"trial": trial, **row} for trial, epochs in self._record.epochs.items() for row in epochs]
        return pd.DataFrame(rows)

    def load_model(
        self, trial: str | None = None, *, which: Literal["best", "last"] = "best", allow_code: bool = False
    ) -> "Model":
        """Return the network of a trial, ready to predict.

        Args:
            trial: Id of the trial, or the digest at its end; None for the trial that validation chooses.
            which: "best" for the weights whose accuracies the table shows, "last" for those after the last epoch.
            allow_code: Whether code in the run folder, if the network is its author's own, may run here. Code that this
                process has trained with needs no permission.

        Raises:
            RunFolderError: There is no such trial, or it has no checkpoint that can be read.
            ModelError: The network is code in the run folder, which is not allowed.
            ExperimentError: `which` is neither "best" nor "last".
        """
        from raytrain.inference.export import export_trial, trial_of
        from raytrain.inference.model import build
        from raytrain.training.devices import choose_device

        result, _ = trial_of(self._record, trial)
        description, weights = export_trial(self._record, result, which=which)
        return build(description, weights, device=choose_device(), allow_code=allow_code, name=self.folder)

    def __repr__(self) -> str:
        counts = pd.Series([result.status for result in self._record.results], dtype=str).value_counts()
        trials = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"<Run {self.name}: {trials or 'no trials'}; {self.folder}>"

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        return self.table().to_html(index=False, float_format=lambda value: f"{value:.4g}", na_rep="–")


def read_experiment(
    path: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Experiment:
    """Return the experiment in a YAML file, or a shipped one by its name, such as "quick".

    Args:
        path: YAML file, or name of a shipped experiment.
        set: Recipe fields to set, by name; a grid axis of that name keeps this value only.
        changes: Other keys of an experiment to set, such as `name`, `seeds` or `asha`.

    Raises:
        ExperimentError: Anything about the file, the fields or a resulting trial is invalid.
    """
    file = Path(path)
    if str(path) in SHIPPED and not file.is_file():
        file = shipped_experiment(str(path))
    return reading.read_experiment(file, overrides=set, changes=changes)


def run(
    experiment: Experiment,
    *,
    out: str | Path = "runs",
    local: bool = False,
    address: str | None = None,
    mode: Mode = "resume",
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
    time_limit_s: float | None = None,
    log: str | None = None,
    progress: bool = True,
) -> Run:
    """Run an experiment, or what is left of it, and return the run with its tables and its report written.

    A trial that diverges or fails is a row of the table, not an exception. Ctrl-C, or interrupting the cell of a
    notebook, saves and returns the run; the same call goes on with it. A second one raises KeyboardInterrupt at once.

    Args:
        experiment: Experiment to run.
        out: Folder or URI of runs; the run folder in it has the experiment's name.
        local: Whether to run in this process, one trial after another, without Ray.
        address: Address of a Ray cluster; None starts Ray on this machine.
        mode: Treatment of an earlier run of that name: "resume" continues it, "fresh" deletes it, "failed_only" runs
            only its failed trials, "repair" puts its damaged files in order and continues it.
        trial_timeout_s: Seconds for which a trial on Ray may show no progress before it is started again.
        time_limit_s: Seconds after which the run saves its state and ends; the same call continues it. None: no limit.
            Only in the main thread, which alone can be interrupted.
        log: Tracker that is told of the run while it trains: "mlflow", "wandb", "trackio", or with an
            address, "mlflow=http://127.0.0.1:5000". None for none.
        progress: Whether to show the live table, on standard error or in the output of the notebook cell.

    Raises:
        RaytrainError: The run cannot start, or not go on, for one of the reasons in `raytrain.errors`.
    """
    refuse_what_earlier_versions_took(experiment)
    options = RunOptions(str(out), address, local, mode, trial_timeout_s, time_limit_s, log)
    console = Console(stderr=True)
    outcome = running.run(
        experiment, options, shown=lambda state: live.run_shown(state, console) if progress else nullcontext()
    )
    return Run(outcome.record, interrupted=outcome.interrupted is not None)


def open_run(run: str | Path, *, out: str | Path = "runs") -> Run:
    """Return a run by its name under `out`, or by the path or URI of its folder.

    Raises:
        RunFolderError: There is none, or it is damaged.
    """
    return Run(read_record(run_folders.open_run(str(run), out=str(out))))


def plan(
    experiment: Experiment, *, out: str | Path = "runs", local: bool = False, address: str | None = None
) -> Plan | None:
    """Return what an experiment, or what is left of it, will take; None when nothing is left.

    A few batches of each kind of trial are trained where trials will run. No run folder is written.

    Args:
        experiment: Experiment to plan.
        out: Folder or URI of runs, in which the run folder is or would be.
        local: Whether to measure in this process, for runs without Ray.
        address: Address of a Ray cluster; None starts Ray on this machine.

    Raises:
        RaytrainError: The run could not start, or one of its trials cannot be trained at all.
    """
    refuse_what_earlier_versions_took(experiment)
    return planning.make_plan(experiment, out=str(out), address=address, local=local)


def training_data(recipe: Recipe, *, device: str = "cpu") -> "TrainingData":
    """Return the images that a recipe is trained, selected and tested on, for `train`.

    Args:
        recipe: Recipe with the data set, the image size and the validation split.
        device: Device that holds the images, "cpu" or "cuda".

    Raises:
        DataError: The data set cannot be read.
    """
    import torch

    from raytrain.training.evaluation import TrainingData

    splits = split(recipe.data_key.load(), recipe.val_size)
    mean, std = recipe.normalization(splits.mean, splits.std)
    data = TrainingData.on(torch.device(device), replace(splits, mean=mean, std=std))
    return replace(data, channels_last=recipe.channels_last)
