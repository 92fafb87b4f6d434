"""The resources of each trial and the number of trials at a time, derived from the nodes of the cluster.

Plain arithmetic on what Ray says about its nodes; imports no Ray, so it is tested on clusters of any shape.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from raytrain.errors import PreflightError
from raytrain.experiment.sections import Resources
from raytrain.ray_backend.internals.autoscaler import DECLARED, EXAMPLE

COORDINATOR_CPUS = 0.001
"""CPUs of the process that coordinates the workers of a trial; Ray refuses a trial that requests none."""
LEFT_FREE = (0.1, 0.9)
"""Least and most CPUs of a worker that are left to coordinators, of other commands too, wherever Ray puts them."""
UNKNOWN_NODES = (
    "If an autoscaler adds nodes, run the command on the head (`raytrain submit` does), or declare them: "
    f"{DECLARED}='{EXAMPLE}'."
)
"""Advice where no node has a CPU: nothing is known of those that are to come."""
MARKER_AMOUNT = 0.001
"""Amount that a worker requests of a marker resource, such as accelerator_type:L4; Ray gives each node 1 of it."""


@dataclass(frozen=True)
class Placement:
    """The resources of each trial, and how many trials run at a time.

    Attributes:
        workers: Number of processes per trial; the largest number for an elastic trial.
        cpus: Number of CPU cores per worker, and so of threads.
        gpus: Number of GPUs per worker, which may be a fraction.
        concurrent: Number of trials at the same time.
        custom: Amounts of other resources per worker, by Ray's names.
        fewest: Smallest number of processes of an elastic trial; None for a trial that is not elastic.
        room: Number of processes of an elastic trial that fit the present nodes; None for a trial that is not elastic.
        trainer: How Ray Train trains a trial, as `resources.trainer` has it.
    """

    workers: int
    cpus: int
    gpus: float
    concurrent: int
    custom: dict[str, float] = field(default_factory=dict[str, float])
    fewest: int | None = None
    room: int | None = None
    trainer: Literal["auto", "local", "workers"] = "auto"

    @property
    def has_worker_group(self) -> bool:
        """Whether a trial trains in a worker group of Ray Train, not in the process of its Tune trial."""
        if self.trainer == "auto":
            return self.workers > 1 or self.gpus > 0
        return self.trainer == "workers"

    @property
    def likely_workers(self) -> int:
        """Processes that a trial will have on the nodes as they are."""
        return self.workers if self.room is None else min(self.workers, self.room)

    @property
    def cpus_in_group(self) -> float:
        """CPUs that Ray is asked for a worker in a group: all coordinators of the run fit beside it on one node."""
        least, most = LEFT_FREE
        return round(self.cpus - min(max(least, self.concurrent * COORDINATOR_CPUS), most), 4)

    def per_worker(self, *, cpus: float | None = None) -> dict[str, float]:
        """Return what Ray is asked for a worker, with other CPUs than its own if given."""
        gpus = {"GPU": self.gpus} if self.gpus else {}
        return {"CPU": self.cpus if cpus is None else cpus, **gpus, **self.custom}

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU{'s' if self.gpus != 1 else ''}" if self.gpus else ""
        each = f"{self.cpus} CPU{'s' if self.cpus != 1 else ''}{gpus}"
        shared = "; trials share GPUs, so each takes longer than alone on a GPU" if 0 < self.gpus < 1 else ""
        least = "" if self.fewest is None else f"{self.fewest} to "
        many = f"{least}{self.workers} × " if self.workers > 1 else ""
        group = ", in a worker group" if self.has_worker_group and self.workers == 1 else ""
        return f"{self.concurrent} at a time, each on {many}{each}{group}{shared}"


def place(
    resources: Resources, *, nodes: Sequence[Mapping[str, float]], trials: int, left: int | None = None
) -> Placement:
    """Return the placement of `trials` trials on `nodes`.

    With GPUs, each worker takes one and the cores of a node are divided among its GPUs. Without, as many trials
    run at once as there are cores: two trials on a core each finish sooner than one after the other on both,
    because a second core makes one trial only 1.85 times as fast. When there are fewer trials than cores, each
    gets several.

    Args:
        resources: Resources in the experiment, where "auto" is resolved here.
        nodes: Resources of each running node, by Ray's names: "CPU", "GPU", "accelerator_type:L4", ...
        trials: Largest number of trials that wait together in the search, among which cores are divided.
        left: Largest number of trials that wait together from now on; None for as many.

    Raises:
        PreflightError: Not even one trial fits.
    """
    custom = {name: float(amount) for name, amount in resources.custom.items()}
    if resources.accelerator_type:
        custom[f"accelerator_type:{resources.accelerator_type}"] = MARKER_AMOUNT
    cpus_total = sum(node.get("CPU", 0) for node in nodes)
    gpus_total = sum(node.get("GPU", 0) for node in nodes)
    there = nodes
    nodes = [node for node in nodes if all(node.get(name, 0) >= amount for name, amount in custom.items())]
    gpus = resources.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) or resources.accelerator_type else 0.0
    cpus = resources.cpus_per_worker
    if cpus == "auto":
        cpus = _cpus_per_worker(resources, nodes=nodes, gpus=gpus, trials=trials)
    wanted = {"CPU": cpus, **({"GPU": gpus} if gpus else {}), **custom}
    slots = sum(min(_times(name, amount, node) for name, amount in wanted.items()) for node in nodes)
    # elastic trials share what there is by turns: one at a time may grow to its most, or two would starve each other
    concurrent = max(1, slots // resources.most_workers)
    if slots < resources.fewest_workers:
        kinds = "".join(
            f", {name}" if amount == MARKER_AMOUNT else f", {amount:g} {name}" for name, amount in custom.items()
        )
        need = f"{resources.fewest_workers} × ({cpus} CPU{f', {gpus:g} GPU' if gpus else ''}{kinds})"
        having = f", of which {len(nodes)} with {kinds[2:]}" if custom else ""
        raise PreflightError(
            f"no trial fits: one needs {need}; there are {cpus_total:g} CPUs and {gpus_total:g} GPUs on "
            f"{len(there)} node{'s' if len(there) != 1 else ''}{having}.\n"
            "Try fewer --workers, smaller `resources:` in the experiment, or a larger cluster."
            + ("" if cpus_total else f" {UNKNOWN_NODES}")
        )
    if resources.max_concurrent != "auto":
        concurrent = min(concurrent, resources.max_concurrent)
    elastic = resources.fewest_workers < resources.most_workers
    fewest = resources.fewest_workers if elastic else None
    room = slots if elastic else None
    return Placement(
        resources.most_workers, cpus, gpus, min(concurrent, left or trials), custom, fewest, room, resources.trainer
    )


def _times(name: str, amount: float, node: Mapping[str, float]) -> int:
    """Return how many times a node has an amount of a resource; a share of a GPU is one of a single GPU."""
    there = node.get(name, 0)
    if name == "GPU" and amount < 1:
        return int(there) * _whole(1 / amount)
    return _whole(there / amount)


def _whole(count: float) -> int:
    return math.floor(count + 1e-9)  # 1 / 0.1 may come out a little below 10


def _cpus_per_worker(resources: Resources, *, nodes: Sequence[Mapping[str, float]], gpus: float, trials: int) -> int:
    at_once = trials if resources.max_concurrent == "auto" else min(trials, resources.max_concurrent)
    if gpus:
        usable = [node for node in nodes if _times("GPU", gpus, node)]
        shares = [node.get("CPU", 0) // _times("GPU", gpus, node) for node in usable]
    else:
        usable = [node for node in nodes if node.get("CPU", 0) >= 1]
        cores = sum(node["CPU"] for node in usable)
        wanted = min(at_once * resources.most_workers, cores)
        shares = [min(node["CPU"], cores // wanted) for node in usable] if wanted else []
    return max(1, int(min(shares, default=1)))
