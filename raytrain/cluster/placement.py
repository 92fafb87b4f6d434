"""What each trial gets and how many run at a time, derived from the nodes that are there.

Plain arithmetic on what Ray says about its nodes; imports no Ray, so it is tested on clusters of any shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raytrain.errors import PreflightError
from raytrain.experiment import Resources

COORDINATOR_CPUS = 0.01
"""CPUs of the process that drives a trial of several workers. Ray refuses a trial that asks for none."""


@dataclass(frozen=True)
class Placement:
    """How trials are laid on a cluster.

    Attributes:
        workers: Processes per trial.
        cpus: Cores, and so threads, per worker.
        gpus: GPUs per worker; may be a fraction.
        concurrent: Trials at one time.
    """

    workers: int
    cpus: int
    gpus: float
    concurrent: int

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU{'s' if self.gpus != 1 else ''}" if self.gpus else ""
        each = f"{self.cpus} CPU{'s' if self.cpus != 1 else ''}{gpus}"
        shared = "; trials share GPUs, so their seconds are not those of a GPU alone" if 0 < self.gpus < 1 else ""
        return (
            f"{self.concurrent} at a time, each on "
            + (f"{self.workers} × {each}" if self.workers > 1 else each)
            + shared
        )


def place(resources: Resources, *, nodes: Sequence[Mapping[str, float]], trials: int) -> Placement:
    """Return how `trials` trials are laid on `nodes`.

    With GPUs, each worker takes one and the cores of a node are divided among its GPUs. Without, as many trials
    run at once as there are cores: two trials on a core each finish sooner than one after the other on both,
    because a second core makes one trial only 1.85 times as fast. When there are fewer trials than cores, each
    gets several.

    Args:
        resources: As the experiment says, `auto` where it leaves it to us.
        nodes: "CPU" and "GPU" of each node that is up.
        trials: How many are to be run.

    Raises:
        PreflightError: Not even one trial fits.
    """
    cpus_total = sum(node.get("CPU", 0) for node in nodes)
    gpus_total = sum(node.get("GPU", 0) for node in nodes)
    gpus = resources.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if gpus_total else 0.0
    cpus = resources.cpus_per_worker
    if cpus == "auto":
        cpus = _cpus_per_worker(resources, nodes=nodes, gpus=gpus, trials=trials)
    slots = sum(_slots(node, cpus=cpus, gpus=gpus) for node in nodes)
    concurrent = slots // resources.workers
    if concurrent < 1:
        need = f"{resources.workers} × ({cpus} CPU{f', {gpus:g} GPU' if gpus else ''})"
        raise PreflightError(
            f"no trial fits: one needs {need}; there are {cpus_total:g} CPUs and {gpus_total:g} GPUs on "
            f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}.\n"
            "Try fewer --workers, smaller `resources:` in the experiment, or a larger cluster."
        )
    if resources.max_concurrent != "auto":
        concurrent = min(concurrent, resources.max_concurrent)
    return Placement(resources.workers, cpus, gpus, min(concurrent, trials))


def _cpus_per_worker(resources: Resources, *, nodes: Sequence[Mapping[str, float]], gpus: float, trials: int) -> int:
    at_once = trials if resources.max_concurrent == "auto" else min(trials, resources.max_concurrent)
    if gpus:
        usable = [node for node in nodes if node.get("GPU", 0) >= gpus]
        shares = [node.get("CPU", 0) // (node["GPU"] // gpus) for node in usable]
    else:
        usable = [node for node in nodes if node.get("CPU", 0) >= 1]
        cores = sum(node["CPU"] for node in usable)
        wanted = min(at_once * resources.workers, cores)
        shares = [min(node["CPU"], cores // wanted) for node in usable] if wanted else []
    return max(1, int(min(shares, default=1)))


def _slots(node: Mapping[str, float], *, cpus: int, gpus: float) -> int:
    by_cpus = int(node.get("CPU", 0) // cpus)
    return min(by_cpus, int(node.get("GPU", 0) // gpus)) if gpus else by_cpus
