"""What a run will take, known before it starts: trials, time, GPU or CPU hours, and room for its checkpoints."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from raytrain.errors import counted
from raytrain.execution.backend import SplitsByKey, Work, open_backend
from raytrain.execution.forecast.asha_setting import set_asha
from raytrain.execution.forecast.sweeps import Layout, at_all_speeds, may_train, simulated
from raytrain.execution.initial import initial_contents
from raytrain.execution.inputs import parameters_of, trials_and_splits, under_earlier_name, why_not
from raytrain.execution.interruption import Interruption
from raytrain.execution.stages import stages
from raytrain.experiment.duration.costs import Kind, kind_of
from raytrain.experiment.duration.order import Order, arranged
from raytrain.experiment.duration.simulation import Lengths, faster_order, lengths_of
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.runs.costs import run_costs
from raytrain.runs.folder import storage_errors_explained
from raytrain.runs.planned import Range, remember
from raytrain.runs.state import RunState
from raytrain.runs.writing.disk_space import bytes_to_write
from raytrain.runs.writing.journal import RunJournal
from raytrain.runs.writing.resume import earlier_epochs, epochs_before, epochs_to_adopt
from raytrain.storage.disk import free_bytes
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

if TYPE_CHECKING:
    from raytrain.experiment.duration.speed import Speed  # brings PyTorch


@dataclass(frozen=True)
class KindPlan:
    """A group of trials that take equally long.

    Attributes:
        recipe: Every field of the recipe of one trial of the group, by name.
        parameters: Number of trainable parameters of the model.
        trials: Number of trials in the group.
        epochs: Number of epochs that each trial has left.
        epoch_s: Seconds per epoch.
        trial_s: Seconds of one trial that runs to its end.
    """

    recipe: dict[str, Any]
    parameters: int
    trials: int
    epochs: int
    epoch_s: float
    trial_s: float


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        name: Name of the run.
        trials: Number of trials to run now; those that `asha.rescue` and `confirm` add later count in the times only.
        done: Number of trials that ended in an earlier command.
        later: Number of trials that tpe proposes later, by what the others have reached; they count in the times.
        rounds: Number of rounds in which those come, 0 without tpe.
        placement: Resources of each trial and number of trials at a time, in words.
        cpus: Number of CPU cores per slot.
        gpus: Number of GPUs per slot, which may be a fraction.
        device: Device of the measurement, such as "cpu" or a GPU's name.
        kinds: Groups of trials that take equally long, the longest first.
        order: Which of the waiting trials starts next: the longest, the shortest, or as listed.
        rungs: Epochs of ASHA's rungs.
        mode: Whether ASHA stops trials there, or has them pause and promotes the best; None without rungs.
        asha_chosen: Sentence about the setting that `asha.lose_at_most` chose; "" where it is given.
        follows: Sentence on the seeds that `confirm` or `separate` adds later; "" where none is added.
        stopped: Number of trials that ASHA stops, or leaves paused.
        seconds: Seconds from the first start to the last end.
        seconds_unstopped: Median of those seconds when every trial of the search runs to its end.
        slot_hours: Busy hours of all slots together.
        checkpoint_bytes: Most bytes that checkpoints need, beside those that are there where these fill the disk.
        free_bytes: Free bytes where the run folder is; None for object storage.
        sweeps: Number of simulated sweeps.
    """

    name: str
    trials: int
    done: int
    later: int
    rounds: int
    placement: str
    cpus: int
    gpus: float
    device: str
    kinds: list[KindPlan]
    order: Order
    rungs: list[float]
    mode: Literal["stop", "promote"] | None
    asha_chosen: str
    follows: str
    stopped: Range
    seconds: Range
    seconds_unstopped: float
    slot_hours: Range
    checkpoint_bytes: int
    free_bytes: int | None
    sweeps: int

    def as_dict(self, *, price: float | None = None) -> dict[str, Any]:
        """Return everything, with the hours of GPUs and cores, and their price if one is given."""
        per_slot = {"gpu_hours": self.gpus, "cpu_hours": self.cpus}
        if price is not None:
            per_slot["dollars"] = price * (self.gpus or self.cpus)
        hours = asdict(self.slot_hours).items()
        return asdict(self) | {name: {end: n * each for end, n in hours} for name, each in per_slot.items()}

    def device_hours(self) -> Range:
        """Return the hours of GPUs, or of cores where there is no GPU."""
        each = self.gpus or self.cpus
        return Range(self.slot_hours.low * each, self.slot_hours.median * each, self.slot_hours.high * each)


def make_plan(experiment: Experiment, *, out: str, address: str | None = None, local: bool = False) -> Plan | None:
    """Return what `experiment`, or what is left of it, will take; None when nothing is left.

    A few batches of each kind of trial are trained where trials will run, as many at a time as trials will be.

    Args:
        experiment: Experiment to plan.
        out: Folder or URI of runs, in which the run folder is or would be.
        address: Address of a Ray cluster; None starts Ray on this machine.
        local: Whether to measure in this process, for runs without Ray.

    Raises:
        RaytrainError: The run could not start, or one of its trials cannot be trained at all.
    """
    trials, splits = trials_and_splits(experiment)
    folder = Folder.at(out) / experiment.name
    with storage_errors_explained(folder):
        folder.names()
        experiment, trials, splits = under_earlier_name(experiment, trials, splits, folder)
        journal = RunJournal.open(folder, experiment, trials)
        # weights that cannot be had, or do not fit, are said now as a run would say them
        initial_contents([(trial.recipe, len(splits[trial.recipe.data_key].classes)) for trial in trials], folder)
        run = journal.state
        set_asha(journal, out=out)
        fits = partial(why_not, splits=splits, workers=experiment.resources.most_workers)
        if not run.pending() and not stages.advance(journal, why_not=fits):
            return None
        earlier = earlier_epochs(run, before=epochs_before(folder))
        on_record = run.pending_epochs()
        pending = {trial: run.progress[trial.id].epoch for trial in run.pending()}
        for trial in [trial for trial, epoch in pending.items() if not epoch]:
            adopted = (epochs_to_adopt(trial, folder, epochs_before=epochs) for epochs in earlier)
            pending[trial] = next(filter(None, adopted), 0)
    later = stages.stand_ins(run, why_not=fits)
    recipes = {kind_of(trial.recipe): trial.recipe for trial in may_train(run, pending, later)}
    interruption = Interruption()
    work = Work(
        folder,
        trials=stages.most_waiting_in_search(experiment, listed=len(trials)),
        left=stages.most_waiting_from_now(run, listed=len(trials)),
        images=sum(one.bytes_in_memory for one in splits.values()),
    )
    with interruption.handled(), open_backend(experiment, work, address=address, local=local) as backend:
        interruption.install()
        speeds = dict(zip(recipes, backend.measure(list(recipes.values()), splits), strict=True))
        fixed = backend.fixed_order(run, splits)
    lengths = _lengths(recipes, speeds, splits)
    rungs = run.rungs()
    if fixed:  # the slots are given the trials as they stand here
        pending = {trial: pending[trial] for trial in arranged(pending, fixed, splits)}
        later = [arranged(one, fixed, splits) for one in later]
    # Ray's slots go by the operations and what is on record, and know nothing of what was measured here
    expected = lengths_of(pending, run_costs(run, splits))
    order = fixed or faster_order(pending, expected, slots=backend.slots, rungs=rungs)
    layout = Layout(lengths, backend.slots, "listed" if fixed else order)
    unstopped = Layout(lengths, backend.slots, "listed" if fixed else "longest")
    sweeps = simulated(run, pending, layout, rungs, later=later)
    all_run = simulated(run, pending, unstopped, None, later=later)
    planned = [*pending, *(trial for one in later for trial in one)]
    parameters = parameters_of(planned, splits)
    kinds = _kinds(pending, parameters, lengths)
    seconds = Range.of(at_all_speeds([one.seconds for one in sweeps]))
    remember(str(folder), on_record, seconds, where=backend.description)
    return Plan(
        name=experiment.name,
        trials=len(pending),
        done=len(run.progress) - len(pending),
        later=sum(map(len, later)),
        rounds=len(later),
        placement=backend.description,
        cpus=backend.cpus,
        gpus=backend.gpus,
        device=next(iter(speeds.values())).device,
        kinds=kinds,
        order=order if len(kinds) > 1 else "listed",
        rungs=sorted(rungs.recorded) if rungs else [],
        mode=run.asha.mode if rungs and run.asha else None,
        asha_chosen=run.asha_chosen["why"] if rungs and run.asha_chosen else "",
        follows=_follows(run),
        stopped=Range.of([len(one.stopped) for one in sweeps]),
        seconds=seconds,
        seconds_unstopped=Range.of([one.seconds for one in all_run]).median,
        slot_hours=Range.of(at_all_speeds([one.busy_s / 3600 for one in sweeps])),
        checkpoint_bytes=bytes_to_write(folder, ((trial.recipe, parameters[trial.id]) for trial in planned)),
        free_bytes=None if folder.local_path is None else free_bytes(folder.local_path),
        sweeps=len(sweeps),
    )


def _follows(run: RunState) -> str:
    """Return a sentence on the seeds that a later stage adds, and which numbers of the plan they are in."""
    confirm, separate = run.experiment.confirm, run.experiment.separate
    if confirm and run.stage != "confirm":
        trials = counted(confirm.top * len(confirm.seeds), "trial")
        return f"confirm trains at most {trials} more; they count in time and work, not in trials and checkpoints"
    if separate:
        return f"separate adds seeds, to at most {separate.max_seeds} of each configuration; they do not count here"
    return ""


def _lengths(recipes: Mapping[Kind, Recipe], speeds: Mapping[Kind, "Speed"], splits: SplitsByKey) -> Lengths:
    """Return how long trials take, by the recipe of one trial of each kind and how fast it trains."""
    images = {kind: splits[recipe.data_key] for kind, recipe in recipes.items()}
    return Lengths(
        {kind: speed.epoch_s(recipes[kind], images[kind]) for kind, speed in speeds.items()},
        {kind: speed.end_s(recipes[kind], images[kind]) for kind, speed in speeds.items()},
    )


def _kinds(pending: Mapping[Trial, int], parameters: Mapping[str, int], lengths: Lengths) -> list[KindPlan]:
    counts: Counter[tuple[Kind, int]] = Counter()
    examples: dict[tuple[Kind, int], Trial] = {}
    for trial, epoch in pending.items():
        key = (kind_of(trial.recipe), trial.recipe.epochs - epoch)
        counts[key] += 1
        examples[key] = trial
    kinds = [
        KindPlan(
            recipe=trial.recipe.model_dump(mode="json"),
            parameters=parameters[trial.id],
            trials=counts[kind, epochs],
            epochs=epochs,
            epoch_s=lengths.epoch_s[kind],
            trial_s=lengths.seconds(trial, after=trial.recipe.epochs - epochs, to=trial.recipe.epochs),
        )
        for (kind, epochs), trial in examples.items()
    ]
    return sorted(kinds, key=lambda kind: -kind.trial_s)
