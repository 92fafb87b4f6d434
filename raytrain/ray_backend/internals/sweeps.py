"""How Tune and Train treat trials: one that is lost, one that has ended, the processes beside it."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def lost_workers_restart() -> Generator[None]:
    """Have Tune restart a trial whose process Ray itself has ended, for as long as the context lasts.

    Ray ends a worker when its node runs low on memory or goes away. It reports that by errors which Tune does not
    know, so that Tune ends the whole sweep by a RuntimeError instead of the one trial
    (`RayActorManager._actor_task_failed`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray.air.execution._internal.actor_manager import RayActorManager

    original: Any = RayActorManager._actor_task_failed  # pyright: ignore[reportPrivateUsage]

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        original(self, tracked_actor_task=tracked_actor_task, exception=as_actor_death(exception))

    RayActorManager._actor_task_failed = failed  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original  # pyright: ignore[reportPrivateUsage]


def as_actor_death(exception: Exception) -> Exception:
    """Return an error of Ray's own about an actor as the death of that actor, and any other error as it is."""
    from ray.exceptions import RayActorError, RayError, RayTaskError

    if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
        return RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
    return exception


@contextmanager
def trials_unsaved() -> Generator[None]:
    """Have Tune keep no copy of its trials to continue from, for as long as the context lasts.

    It keeps each trial as JSON until the sweep ends, and writes all of them to its folder again and again. raytrain
    continues a run from the run folder, and Tune has no setting against it
    (`TuneController._mark_trial_to_checkpoint`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray.tune.execution.tune_controller import TuneController

    original: Any = TuneController._mark_trial_to_checkpoint  # pyright: ignore[reportPrivateUsage]
    TuneController._mark_trial_to_checkpoint = lambda self, trial: None  # noqa: ARG005 # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        TuneController._mark_trial_to_checkpoint = original  # pyright: ignore[reportPrivateUsage]


@contextmanager
def callbacks_uncounted() -> Generator[None]:
    """Have Tune not count callbacks by their kinds for its statistics of usage, for as long as the context lasts.

    To compare ours with them, it imports the loggers of MLflow, W&B, Comet and Aim, also where statistics are off. That
    takes more than a second where these packages are installed (`ray.air._internal.usage._count_callbacks`, Ray 2.57 to
    2.60; no upstream issue is known).
    """
    from ray.air._internal import usage

    original = usage._count_callbacks  # pyright: ignore[reportPrivateUsage]
    usage._count_callbacks = lambda callbacks: {}  # noqa: ARG005 # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        usage._count_callbacks = original  # pyright: ignore[reportPrivateUsage]


def forget(controller: Any, trial: Any) -> None:
    """Have Tune let go of a trial that has ended.

    It keeps every trial, with its configuration and its newest result, until the sweep ends, and then looks for a table
    of each one in the storage. All that is known of a trial is in the run folder, and Tune has no setting against it
    (`TuneController._trials` and `_stopped_trials`, Ray 2.57 to 2.60; ray-project/ray#64231).

    Args:
        controller: The `TuneController` of the sweep.
        trial: Trial of Tune that it is done with: its `stop_trial` has returned.
    """
    if trial in controller._trials:
        controller._trials.remove(trial)
    controller._stopped_trials.discard(trial)  # it is among the failed ones where `stop_trial` met an error


SPARED = {"PlacementGroupCleanerCallback", "DatasetsCallback"}
"""Callbacks of Ray Train that start a process beside each worker group, and that `without_helpers` leaves out."""


def without_helpers(trainer: Any) -> Any:
    """Return a trainer of Ray Train that starts fewer processes beside its workers.

    Two are left out, each of which takes as long to start as a worker without PyTorch. One hands out Ray Data sets, of
    which there are none. The other removes placement groups that a trial may leave, which
    `tuner.release_orphaned_groups` does. It asks Ray's dashboard whether the trial lives; where there is none it never
    ends, so each trial that Tune stops early would leave one. Train has no setting against either
    (`DataParallelTrainer._create_default_callbacks`, Ray 2.57 to 2.60; no upstream issue is known).

    Args:
        trainer: A `TorchTrainer` without data sets of Ray Data.
    """
    usual = trainer._create_default_callbacks

    def callbacks() -> list[Any]:
        return [one for one in usual() if type(one).__name__ not in SPARED]

    trainer._create_default_callbacks = callbacks
    return trainer
