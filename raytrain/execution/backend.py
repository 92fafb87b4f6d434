"""Where trials run: on Ray, once it is up and sure to take them, or in this process."""

import importlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from raytrain.data import Splits
from raytrain.execution.interruption import wake_main_thread
from raytrain.experiment.experiment import Experiment, Resources
from raytrain.runs.folder import RunFolder
from raytrain.runs.progress import TRIAL_TIMEOUT_S
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

if TYPE_CHECKING:
    from raytrain.experiment.speed import Pace  # brings the training loop, for which the start of Ray should not wait
    from raytrain.ray_backend.placement import Placement

log = logging.getLogger(__name__)

SplitsByKey = Mapping[tuple[str, int, float], Splits]
"""Images by `Recipe.data_key`."""


@dataclass(frozen=True)
class Place:
    """Where trials run.

    Attributes:
        run_trials: Trains the pending trials of a run folder.
        measure: Says how fast each of some recipes trains there.
        concurrent: How many trials run at a time.
        cpus: Cores of a trial.
        gpus: GPUs of a trial.
        words: All of that, to be read.
        longest_first: Whether trials start in that order, or as listed.
        why_lost: Says why nothing runs there any longer, or None.
        abandon: Ends at once what was started for it.
    """

    run_trials: Callable[[RunFolder, SplitsByKey], None]
    measure: Callable[[Sequence[Recipe], SplitsByKey], "list[Pace]"]
    concurrent: int
    cpus: int
    gpus: float
    words: str
    longest_first: bool = True
    why_lost: Callable[[], str | None] = lambda: None
    abandon: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Work:
    """What a place has to know of the work before it starts.

    Attributes:
        folder: The run folder.
        trials: How many are to be run.
        meanwhile: To be called while Ray starts.
    """

    folder: Folder
    trials: int
    meanwhile: Callable[[], object] = lambda: None


@contextmanager
def place_of_work(
    experiment: Experiment,
    work: Work,
    *,
    address: str | None,
    local: bool,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
) -> Generator[Place]:
    """Give the place in which trials run for as long as the context lasts.

    Args:
        experiment: Says what each trial needs.
        work: What is to be done there.
        address: Of a Ray cluster; None starts one on this machine.
        local: This process, without Ray.
        trial_timeout_s: How long a trial on Ray may show no progress.

    Raises:
        ClusterError: Ray does not start or answer, or runs other versions.
        PreflightError: No trial fits, or a node cannot do what is needed.
    """
    if local:
        from raytrain.execution import local as here
        from raytrain.training.devices import this_machine

        machine = this_machine()
        yield Place(
            here.run_trials,
            here.measure,
            concurrent=1,
            cpus=int(machine["CPU"]),
            gpus=min(1.0, machine["GPU"]),
            words="one after another, as listed, in this process",
            longest_first=False,
        )
        return
    from raytrain.ray_backend import placement, session

    def prepare() -> None:
        work.meanwhile()
        importlib.import_module("raytrain.ray_backend.tuner")  # brings Ray Tune and Train, over a second of imports

    resources = experiment.resources
    if address is None and resources != Resources():
        from raytrain.training.devices import this_machine

        # refuses at once what Ray would refuse later; what asks for nothing fits everywhere
        kinds_unknown = {"accelerator_type": None, "custom": {}}  # Ray finds those out
        placement.place(resources.model_copy(update=kinds_unknown), nodes=[this_machine()], trials=work.trials)
    log.info("connecting to Ray at %s" if address else "starting Ray on this machine", *filter(None, [address]))
    with session.ray_session(
        address, dashboard=resources.most_workers > 1, meanwhile=prepare, wake=wake_main_thread
    ) as ray_:
        placed = placement.place(resources, nodes=session.nodes(), trials=work.trials)
        log.info("%s", placed)
        if address or placed.gpus:
            from raytrain.ray_backend import preflight

            preflight.refuse_unfit_nodes(placed, work.folder, address=address)
        from raytrain.ray_backend import tuner

        yield Place(
            partial(tuner.run_trials, placement=placed, trial_timeout_s=trial_timeout_s),
            partial(_measure_on_ray, placement=placed),
            concurrent=placed.concurrent,
            cpus=placed.cpus * placed.likely_workers,
            gpus=placed.gpus * placed.likely_workers,
            words=str(placed),
            why_lost=ray_.lifeline.why_lost,
            abandon=ray_.abandon,
        )


def _measure_on_ray(recipes: Sequence[Recipe], splits: SplitsByKey, *, placement: "Placement") -> "list[Pace]":
    from raytrain.ray_backend.speed import measure

    return measure(recipes, splits, placement=placement)
