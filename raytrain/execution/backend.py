"""Where trials run: the protocol, and the choice between Ray and this process."""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Protocol

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.errors import PreflightError, RayLostError
from raytrain.execution.interruption import Woken, wake_main_thread
from raytrain.experiment.duration.order import Order
from raytrain.experiment.experiment import Experiment
from raytrain.runs.events import TRIAL_TIMEOUT_S
from raytrain.runs.planned import Range
from raytrain.runs.progress import Setting
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

if TYPE_CHECKING:
    from raytrain.experiment.duration.speed import Speed  # brings PyTorch, for which the start of Ray should not wait

log = logging.getLogger(__name__)

SplitsByKey = Mapping[DataKey, Splits]
"""The split images of each data set, by `Recipe.data_key`."""


class Backend(Protocol):
    """Where trials run.

    `LocalBackend` runs them in this process, for a debugger; `RayBackend` runs them on a Ray cluster.
    """

    @property
    def slots(self) -> int:
        """Number of trials that run at the same time."""
        ...

    @property
    def cpus(self) -> int:
        """Number of CPU cores per slot."""
        ...

    @property
    def gpus(self) -> float:
        """Number of GPUs per slot, which may be a fraction."""
        ...

    @property
    def description(self) -> str:
        """Slots, cores and GPUs in words."""
        ...

    def fixed_order(self, run: RunState, splits: SplitsByKey) -> Order | None:
        """Return the order in which the trials of a run start, or None where it goes by the time that epochs take."""
        ...

    def run_trials(self, journal: RunJournal, splits: SplitsByKey) -> None:
        """Train the pending trials of a run, under ASHA where the experiment has it.

        Raises:
            StorageError: The run folder, or a checkpoint, cannot be written any longer.
        """
        ...

    def measure(self, recipes: Sequence[Recipe], splits: SplitsByKey) -> "list[Speed]":
        """Return how fast each recipe trains here.

        Raises:
            PreflightError: One cannot be trained.
        """
        ...

    def why_lost(self) -> str | None:
        """Return why nothing runs here any longer, or None."""
        ...

    def abandon(self) -> None:
        """End at once what was started for the backend."""
        ...


def setting_of(backend: Backend, splits: SplitsByKey, planned: Range | None) -> Setting:
    """Return where the trials of a run are trained.

    Args:
        backend: Where they are trained.
        splits: The split images of each data set.
        planned: Seconds that the run takes, as `raytrain plan` said; None where it was not asked.
    """
    return Setting(
        backend.slots,
        images={key: len(images.train) for key, images in splits.items()},
        classes={key: len(images.classes) for key, images in splits.items()},
        planned=planned,
    )


@dataclass(frozen=True)
class Work:
    """The work for a backend, known before it starts.

    Attributes:
        folder: The run folder.
        trials: Largest number of trials that wait together in the search, among which cores are divided.
        left: Largest number of trials that wait together from now on.
        meanwhile: Function that is called while Ray starts.
        images: Bytes of the images that Ray keeps in memory for all trials.
        threads: Number of CPU threads of trials in this process; None for that of the experiment's resources.
    """

    folder: Folder
    _: KW_ONLY
    trials: int
    left: int
    meanwhile: Callable[[], object] = lambda: None
    images: int = 0
    threads: int | None = None


def refuse_unsynchronisable(experiment: Experiment, *, gpus: float) -> None:
    """Refuse `sync_batchnorm` for several workers without GPUs: PyTorch's SyncBatchNorm does not compute on CPUs.

    Args:
        experiment: The experiment.
        gpus: Number of GPUs of a trial.

    Raises:
        PreflightError: A trial asks for it.
    """
    if gpus or experiment.resources.most_workers == 1:
        return
    if any(trial.recipe.sync_batchnorm for trial in experiment.trials()):
        raise PreflightError(
            "sync_batchnorm is true, and the workers of a trial have no GPUs, which PyTorch's SyncBatchNorm needs; set "
            "sync_batchnorm: false, or --workers 1"
        )


@contextmanager
def open_backend(
    experiment: Experiment,
    work: Work,
    *,
    address: str | None,
    local: bool,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
) -> Generator[Backend]:
    """Give the backend on which trials run for as long as the context lasts.

    Args:
        experiment: Experiment, with the resources of each trial.
        work: Run folder and number of trials.
        address: Address of a Ray cluster; None starts Ray on this machine.
        local: Whether trials run in this process, without Ray.
        trial_timeout_s: Seconds for which a trial on Ray may show no progress before its process is killed.

    Raises:
        ClusterError: Ray does not start or answer, or runs other versions.
        PreflightError: No trial fits, or a node cannot do what is needed.
    """
    if local:
        from raytrain.execution.local import LocalBackend

        if (fewest := experiment.resources.fewest_workers) > 1:
            raise PreflightError(
                f"a trial is to have {fewest} workers, and --local trains it in one process; leave --local out, or set "
                "--workers 1"
            )
        if experiment.resources.trainer == "workers":
            raise PreflightError(
                "resources.trainer is workers, and --local trains without Ray Train; leave --local out, or set "
                "trainer: auto"
            )
        here = LocalBackend(experiment.resources, threads=work.threads)
        for lacking in here.lacking():
            log.warning("%s", lacking)
        yield here
        return
    from raytrain.ray_backend.backend import ray_backend

    backend: Backend | None = None
    try:
        with ray_backend(
            experiment.resources,
            address=address,
            folder=work.folder,
            trials=work.trials,
            left=work.left,
            images=work.images,
            meanwhile=work.meanwhile,
            wake=wake_main_thread,
            trial_timeout_s=trial_timeout_s,
        ) as backend:
            refuse_unsynchronisable(experiment, gpus=backend.gpus)
            yield backend
    except Woken:  # by the thread that watches Ray, while nothing waited for a trial
        why = backend.why_lost() if backend else None
        raise RayLostError(f"Ray is gone{f': {why}' if why else ''}.\nThe same command continues the run.") from None
