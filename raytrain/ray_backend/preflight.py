"""Whether Ray can run trials: that it starts or answers, what its nodes run, and that they share the run folder."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain import __version__
from raytrain.errors import ClusterError, PreflightError, RaytrainError, first_line
from raytrain.experiment.sections import Resources
from raytrain.machine import free_shared_memory
from raytrain.ray_backend import placement, session
from raytrain.ray_backend.placement import Placement
from raytrain.storage.disk import free_bytes
from raytrain.storage.folder import Folder
from raytrain.training.doctor import Check, ObjectStore, checked

NODE_TIMEOUT_S = 30.0
"""Seconds within which each node must start a process and report its versions."""
STORAGE_TIMEOUT_S = 60.0
"""Seconds within which each node must start a process and try the run folder."""
INSTALL = "Install the same versions; `raytrain submit --install` does."
NO_ANSWER = f"no answer within {NODE_TIMEOUT_S:.0f} s"
MOUNTS = Path("/proc/mounts")
"""File that lists the mounted file systems, on Linux only."""
NETWORK_DISKS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "9p", "virtiofs"}
"""Types of file systems that several hosts may mount."""
SHARED_STORAGE = (
    "Give a folder that all nodes share, such as --out s3://bucket/runs or --out /nfs/runs: "
    "a trial that moves to another node continues from its checkpoint there."
)


def check_ray(*, address: str | None, out: str) -> Iterator[Check]:
    """Yield the checks of Ray.

    Args:
        address: Address of a Ray cluster; None starts Ray on this machine.
        out: Folder or URI of runs, which the nodes of a cluster must share.
    """
    address = session.cluster_address(address)
    where = f"Ray at {address}" if address else "Ray on this machine"
    try:
        with session.ray_session(address) as connection:
            nodes = session.nodes(autoscaled=address is not None)
            yield Check(where, ok=True, found=f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}")
            yield checked("a trial", lambda: str(placement.place(Resources(), nodes=nodes, trials=1)))
            yield from check_nodes()
            yield object_store(connection.private).check()
            if address:
                yield checked("shared storage", lambda: _shared(out))
    except RaytrainError as error:
        said, _, advice = str(error).partition("\n")
        yield Check(where, ok=False, found=said, advice=advice)


def refuse_unfit_nodes(placed: Placement, folder: Folder, *, address: str | None) -> None:
    """Refuse a cluster whose nodes run other versions, cannot use their GPUs, or do not share the run folder.

    Args:
        placed: Resources of each trial.
        folder: The run folder.
        address: Address of the cluster; None for a Ray that this process started, which has its versions and disk.

    Raises:
        ClusterError: A node runs other versions.
        PreflightError: A GPU cannot be used, or the folder is not shared.
    """
    for check in check_nodes(gpus=placed.gpus > 0):
        if not check.ok and check.found != NO_ANSWER:  # a GPU that another job has is waited for
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

    def ask(node: Mapping[str, Any]) -> Any:
        tried = int(gpus and node["Resources"].get("GPU", 0) >= 1)
        return _on_node(_describe_node, node["NodeID"], num_gpus=tried).remote(tried)

    for node, answer in _answers(ask, _nodes(), timeout_s=NODE_TIMEOUT_S):
        name = f"node {node['NodeManagerHostname']}"
        if isinstance(answer, RayError):
            found = f"raytrain does not run there: {_last_line(answer)}"
            yield Check(name, ok=False, found=found, advice=INSTALL)
        elif answer is None:
            advice = "Another job may use its GPUs; `ray status` shows it."
            yield Check(name, ok=False, found=NO_ANSWER, advice=advice)
        else:
            yield judged(name, answer, here=versions())


def judged(name: str, said: dict[str, Any], *, here: dict[str, str]) -> Check:
    """Return the check of what a node has said of itself.

    Args:
        name: Name of the check.
        said: Report of the node, from `_describe_node`.
        here: Versions of this process, by name.
    """
    if said["problem"]:
        return Check(
            f"the GPU of {name}",
            ok=False,
            found=said["problem"],
            advice="Install a PyTorch that fits the node's driver, or leave its GPUs alone: --gpus 0.",
        )
    differing = {what: there for what, there in said["versions"].items() if there != here[what]}
    if differing:
        found = ", ".join(f"{what} {there} there and {here[what]} here" for what, there in differing.items())
        return Check(name, ok=False, found=found, advice=INSTALL)
    return Check(name, ok=True, found=f"{said['device']}, the same versions as here")


def object_store(private: Path | None) -> ObjectStore:
    """Return the object store of the Ray that this process is connected to.

    Args:
        private: Folder of a Ray that was started here; None for another cluster.
    """
    size = int(min(node["Resources"].get("object_store_memory", 0) for node in _nodes()))
    if private is None:
        return ObjectStore(size)
    return ObjectStore(size, free_shared_memory(), private.parent, free_bytes(private))


def check_storage(folder: Folder, *, more_nodes: bool) -> None:
    """Try `folder` on every node that is up but this one.

    Args:
        folder: The run folder; if it did not exist, it does not exist afterwards.
        more_nodes: Whether an autoscaler may add nodes, which cannot be checked yet.

    Raises:
        PreflightError: A node does not see what is written here, or cannot write there; or nodes that are still to
            come would not see a local disk.
    """
    if more_nodes and folder.local_path and not is_on_network_disk(folder.local_path):
        raise PreflightError(
            f"{folder} is on a local disk of this host, and the cluster may add other hosts.\n{SHARED_STORAGE}"
        )
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in _nodes() if node["NodeID"] != here]
    if not others:
        return
    name = f".probe-{os.urandom(4).hex()}"
    folder.write(name, b"")

    def ask(node: Mapping[str, Any]) -> Any:
        return _on_node(_try_folder, node["NodeID"]).remote(str(folder), name, f"{name}-{node['NodeID'][:8]}")

    try:
        for node, answer in _answers(ask, others, timeout_s=STORAGE_TIMEOUT_S):
            problem = f"no answer within {STORAGE_TIMEOUT_S:.0f} s" if answer is None else answer
            problem = _last_line(problem) if isinstance(problem, RayError) else problem
            if problem:
                raise PreflightError(
                    f"the node {node['NodeManagerHostname']} cannot use {folder} ({problem}).\n{SHARED_STORAGE}"
                )
    finally:
        folder.delete(name)
        if not folder.names():
            folder.remove()


def _nodes() -> list[dict[str, Any]]:
    """Return the nodes that are up, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def _on_node(task: Any, node_id: str, **options: Any) -> Any:
    """Return a task that runs on one node and nowhere else."""
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False), **options)


def _answers(
    ask: Callable[[Mapping[str, Any]], Any], nodes: Iterable[Mapping[str, Any]], *, timeout_s: float
) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Ask all nodes at the same time; yield each with its answer, Ray's error, or None where no answer came in time."""
    asked = {ask(node): node for node in nodes}
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    for answer, node in asked.items():
        try:
            yield node, ray.get(answer) if answer in done else None
        except RayError as error:  # such as a node on which raytrain cannot be imported
            yield node, error


def _last_line(error: RayError) -> str:
    """Return what an error on a node says; the lines before are a traceback there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all nodes."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"raytrain": __version__, "Python": python, **{name: metadata.version(name) for name in ("ray", "torch")}}


def _shared(out: str) -> str:
    check_storage(Folder.at(out) / ".doctor", more_nodes=session.may_grow())
    return f"every node reads and writes {out}"


@ray.remote(num_cpus=0, max_retries=0)
def _describe_node(gpus: int) -> dict[str, Any]:
    """Return this node's versions and device, and what goes wrong with it.

    Args:
        gpus: Number of GPUs that Ray has given to this task: 0 or 1.
    """
    import torch

    from raytrain.training.devices import choose_device, try_device

    said: dict[str, Any] = {"versions": versions(), "device": "", "problem": None}
    try:
        device = choose_device() if gpus else torch.device("cpu")
        if gpus and device.type == "cpu":  # a PyTorch for CPUs, or one that the driver is too old for
            said["problem"] = f"Ray counts it, but PyTorch {torch.__version__} finds no GPU there"
        else:
            said["device"] = try_device(device)
    except (OSError, RuntimeError) as error:
        said["problem"] = first_line(error)
    return said


@ray.remote(num_cpus=0, max_retries=0)
def _try_folder(folder: str, name: str, answer: str) -> str:
    """Return what goes wrong when this node reads `name` and writes `answer`, or ""."""
    there = Folder.at(folder)
    try:
        if not there.exists(name):
            return "it does not see files that are written here"
        there.write(answer, b"")
        there.delete(answer)
    except (OSError, PreflightError) as error:
        return first_line(error)
    return ""


def is_on_network_disk(path: Path) -> bool:
    """Return whether the file system that holds `path` is one that several hosts may mount."""
    if not MOUNTS.exists():
        return False
    path = Path(os.path.realpath(path))  # a link may lead to another disk
    kinds = {fields[1]: fields[2] for line in MOUNTS.read_text().splitlines() if len(fields := line.split()) > 2}
    holding = next((str(parent) for parent in (path, *path.parents) if str(parent) in kinds), "/")
    kind = kinds.get(holding, "")
    return kind in NETWORK_DISKS or kind.startswith("fuse.")
