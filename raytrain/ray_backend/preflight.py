"""Whether Ray can run trials: that it starts or answers, what it offers, and what each node runs."""

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain import __version__
from raytrain.errors import ClusterError, PreflightError, RaytrainError
from raytrain.experiment.experiment import Resources
from raytrain.ray_backend import placement, session
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.storage_probe import check_storage
from raytrain.storage.folder import Folder
from raytrain.training.doctor import Check, checked

TIMEOUT_S = 30.0
"""What the nodes have to start a process and answer."""
BUSY = f"no answer within {TIMEOUT_S:.0f} s"


def check_ray(*, address: str | None, out: str) -> Iterator[Check]:
    """Yield the checks of Ray.

    Args:
        address: Of a cluster; None starts Ray on this machine.
        out: Folder or URI of runs, which the nodes of a cluster must share.
    """
    where = f"Ray at {address}" if address else "Ray on this machine"
    try:
        with session.ray_session(address, dashboard=False):
            nodes = session.nodes()
            yield Check(where, ok=True, found=f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}")
            yield checked("a trial", lambda: str(placement.place(Resources(), nodes=nodes, trials=1)))
            yield from check_nodes()
            if address:
                yield checked("shared storage", lambda: _shared(out))
    except RaytrainError as error:
        said, _, advice = str(error).partition("\n")
        yield Check(where, ok=False, found=said, advice=advice)


def refuse_unfit_nodes(placed: Placement, folder: Folder, *, address: str | None) -> None:
    """Refuse a cluster whose nodes run other versions, cannot use their GPUs, or do not share the run folder.

    Args:
        placed: What trials get.
        folder: The run folder.
        address: Of the cluster; None when Ray was started here, whose versions and disk are this process's own.

    Raises:
        ClusterError: A node runs other versions.
        PreflightError: A GPU cannot be used, or the folder is not shared.
    """
    for check in check_nodes(gpus=placed.gpus > 0):
        if not check.ok and check.found != BUSY:  # a GPU that another job has is waited for
            raise (PreflightError if check.name.startswith("the GPU") else ClusterError)(
                f"{check.name}: {check.found}.\n{check.advice}"
            )
    if address:
        check_storage(folder, more_nodes=session.may_grow())


def check_nodes(*, gpus: bool = True) -> Iterator[Check]:
    """Yield a check for each node that is up: its device, and the versions that differ from those here.

    Args:
        gpus: Whether to try the GPU of nodes that have some.
    """
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    asked = {
        _report.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            num_gpus=1 if gpus and node["Resources"].get("GPU", 0) >= 1 else 0,
        ).remote(): node
        for node_id, node in nodes.items()
    }
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=TIMEOUT_S)
    for answer, node in asked.items():
        name = f"node {node['NodeManagerHostname']}"
        if answer in done:
            yield judged(name, ray.get(answer), here=versions())
        else:
            advice = "Its GPUs may be taken by another job: `ray status` says so."
            yield Check(name, ok=False, found=BUSY, advice=advice)


def judged(name: str, said: dict[str, Any], *, here: dict[str, str]) -> Check:
    """Return the check of what a node has said of itself.

    Args:
        name: Of the check.
        said: As `_report` returns it.
        here: The versions of this process.
    """
    if said["problem"]:
        return Check(
            f"the GPU of {name}",
            ok=False,
            found=said["problem"],
            advice="Install a PyTorch that fits the node's driver.",
        )
    differing = {what: there for what, there in said["versions"].items() if there != here[what]}
    if differing:
        found = ", ".join(f"{what} {there} there and {here[what]} here" for what, there in differing.items())
        return Check(name, ok=False, found=found, advice="Install the same versions; `raytrain submit --install` does.")
    return Check(name, ok=True, found=f"{said['device']}, the same versions as here")


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"raytrain": __version__, "Python": python, **{name: metadata.version(name) for name in ("ray", "torch")}}


def _shared(out: str) -> str:
    check_storage(Folder.at(out) / ".doctor", more_nodes=session.may_grow())
    return f"every node reads and writes {out}"


@ray.remote(num_cpus=0, max_retries=0)
def _report() -> dict[str, Any]:
    """Return this node's versions and device, and what goes wrong with it."""
    from raytrain.training.devices import try_device

    said: dict[str, Any] = {"versions": versions(), "device": "", "problem": None}
    try:
        said["device"] = try_device()
    except (OSError, RuntimeError) as error:
        said["problem"] = str(error).splitlines()[0]
    return said
