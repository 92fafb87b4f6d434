"""Whether every node of a cluster reads and writes the folder of a run: asked before anything starts."""

import os
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain.errors import PreflightError
from raytrain.storage.folder import Folder

MOUNTS = Path("/proc/mounts")
"""What is mounted where; only Linux has it."""
TIMEOUT_S = 60.0
"""What a node has to start a process and look."""
NETWORK_DISKS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "glusterfs", "9p", "virtiofs"}
ADVICE = (
    "Name a folder that all of them share, such as --out s3://bucket/runs or --out /nfs/runs: "
    "a trial that moves to another node goes on from what is there."
)


def check_storage(folder: Folder, *, more_nodes: bool) -> None:
    """Try `folder` on every node that is up but this one.

    Args:
        folder: Where the run is to be written; if it was not there, it is not there afterwards.
        more_nodes: Whether an autoscaler may add nodes, which cannot be asked yet.

    Raises:
        PreflightError: A node does not see what is written here, or cannot write there; or nodes that are still to
            come would not see a local disk.
    """
    if more_nodes and folder.local_path and not is_on_network_disk(folder.local_path):
        raise PreflightError(f"{folder} is on a disk of this host, and the cluster may add others.\n{ADVICE}")
    here = ray.get_runtime_context().get_node_id()
    others = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    others.pop(here, None)
    if not others:
        return
    name = f".probe-{os.urandom(4).hex()}"
    folder.write(name, b"")
    try:
        asked = {
            _look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                str(folder), name, f"{name}-{node[:8]}"
            ): host
            for node, host in others.items()
        }
        done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=TIMEOUT_S)
        for answer, host in asked.items():
            problem = ray.get(answer) if answer in done else f"no answer within {TIMEOUT_S:.0f} s"
            if problem:
                raise PreflightError(f"the node {host} cannot use {folder} ({problem}).\n{ADVICE}")
    finally:
        folder.delete(name)
        if not folder.names():
            folder.remove()


@ray.remote(num_cpus=0, max_retries=0)
def _look(folder: str, name: str, answer: str) -> str | None:
    """Return what goes wrong when this node reads `name` and writes `answer`, or None."""
    there = Folder.at(folder)
    try:
        if not there.exists(name):
            return "it does not see what is written here"
        there.write(answer, b"")
        there.delete(answer)
    except (OSError, PreflightError) as error:
        return str(error).splitlines()[0]
    return None


def is_on_network_disk(path: Path) -> bool:
    """Return whether the file system that holds `path` is one that several hosts may mount."""
    if not MOUNTS.exists():
        return False
    kinds = {fields[1]: fields[2] for line in MOUNTS.read_text().splitlines() if len(fields := line.split()) > 2}
    holding = next((str(place) for place in (path, *path.parents) if str(place) in kinds), "/")
    kind = kinds.get(holding, "")
    return kind in NETWORK_DISKS or kind.startswith("fuse.")
