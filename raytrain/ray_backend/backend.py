"""Trials on Ray, once it is up and known to be able to run them."""

# The imports inside functions load Ray: its environment must be set first, and its 2 s of imports run beside its start.

import importlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.sections import Resources
from raytrain.machine import DEVICE, named_device
from raytrain.ray_backend import session
from raytrain.ray_backend.placement import Placement, place
from raytrain.ray_backend.session import Session
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

if TYPE_CHECKING:
    from raytrain.experiment.duration.speed import Speed  # brings PyTorch, for which the start of Ray should not wait

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayBackend:
    """The Ray cluster that this process is connected to, as a `Backend`.

    Attributes:
        placement: Resources of each trial, and number of trials at a time.
        session: Connection to Ray.
        trial_timeout_s: Seconds for which a trial may show no progress before its process is killed.
    """

    placement: Placement
    session: Session
    trial_timeout_s: float
    _stored: dict[DataKey, Any] = field(default_factory=dict[DataKey, Any], init=False)
    """References to the images in Ray's object store. Tune keeps what it is given until the process ends, so every
    stage and round gets the same."""

    @property
    def slots(self) -> int:
        """Number of trials that run at the same time."""
        return self.placement.concurrent

    @property
    def cpus(self) -> int:
        """Number of CPU cores per slot."""
        return self.placement.cpus * self.placement.likely_workers

    @property
    def gpus(self) -> float:
        """Number of GPUs per slot, which may be a fraction."""
        return self.placement.gpus * self.placement.likely_workers

    @property
    def description(self) -> str:
        """Slots, cores and GPUs in words."""
        return str(self.placement)

    def fixed_order(self, run: RunState, splits: Mapping[DataKey, Splits]) -> None:
        """Return None: trials start by the time that their epochs are expected to take, as it is measured."""

    def run_trials(self, journal: RunJournal, splits: Mapping[DataKey, Splits]) -> None:
        """Train the pending trials of a run, under ASHA where the experiment has it."""
        from raytrain.ray_backend.tuner import run_trials, store

        self._stored.update(store({key: splits[key] for key in splits if key not in self._stored}))
        limit = self.trial_timeout_s
        run_trials(journal, splits, placement=self.placement, stored=self._stored, trial_timeout_s=limit)

    def measure(self, recipes: Sequence[Recipe], splits: Mapping[DataKey, Splits]) -> "list[Speed]":
        """Return how fast each recipe trains on the nodes."""
        from raytrain.ray_backend.speed import measure

        return measure(recipes, splits, placement=self.placement)

    def why_lost(self) -> str | None:
        """Return why Ray is gone, or None."""
        return self.session.health.why_lost()

    def abandon(self) -> None:
        """End at once the Ray that was started here."""
        self.session.abandon()


@contextmanager
def ray_backend(
    resources: Resources,
    *,
    address: str | None,
    folder: Folder,
    trials: int,
    left: int,
    images: int,
    meanwhile: Callable[[], object],
    wake: Callable[[], object],
    trial_timeout_s: float,
) -> Generator[RayBackend]:
    """Yield a connection to a Ray that has passed the checks.

    Args:
        resources: Resources of each trial.
        address: Address of a Ray cluster; None starts Ray on this machine.
        folder: The run folder, which all nodes have to see.
        trials: Largest number of trials that wait together in the search, among which cores are divided.
        left: Largest number of trials that wait together from now on.
        images: Bytes of the images that Ray keeps in memory for all trials.
        meanwhile: Function that is called while Ray starts.
        wake: Function that interrupts the main thread when Ray is lost.
        trial_timeout_s: Seconds for which a trial may show no progress before its process is killed.

    Raises:
        ClusterError: Ray does not start or answer, or runs other versions.
        PreflightError: No trial fits, or a node cannot do what is needed.
    """

    def prepare() -> None:
        meanwhile()
        importlib.import_module("raytrain.ray_backend.tuner")  # brings Ray Tune and Train, over a second of imports

    address = session.cluster_address(address)
    if address is None and resources != Resources():
        from raytrain.training.devices import this_machine

        # refuses at once what Ray would refuse later; what asks for nothing fits everywhere
        kinds_unknown = {"accelerator_type": None, "custom": {}}  # Ray finds those out
        place(resources.model_copy(update=kinds_unknown), nodes=[this_machine()], trials=trials, left=left)
    if named := named_device():
        log.warning("%s=%s is left out without --local: Ray gives each trial its device", DEVICE, named)
    log.info("connecting to Ray at %s" if address else "starting Ray on this machine", *filter(None, [address]))
    with session.ray_session(address, meanwhile=prepare, wake=wake) as connection:
        placement = place(resources, nodes=session.nodes(autoscaled=address is not None), trials=trials, left=left)
        log.info("%s", placement)
        if address or placement.gpus:
            from raytrain.ray_backend.preflight import refuse_unfit_nodes

            refuse_unfit_nodes(placement, folder, address=address)
        if images:
            from raytrain.ray_backend.preflight import object_store
            from raytrain.training.doctor import refuse_full_store

            refuse_full_store(images, object_store(connection.private))
        yield RayBackend(placement, connection, trial_timeout_s)
