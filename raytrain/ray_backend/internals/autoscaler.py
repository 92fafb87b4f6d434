"""The nodes that an autoscaler may add to a cluster, of which Ray says nothing while they are not up."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from raytrain.errors import PreflightError
from raytrain.ray_backend.internals.head import HEAD_NODE

log = logging.getLogger(__name__)

DECLARED = "RAYTRAIN_NODES"
"""Environment variable that declares the kinds of nodes that an autoscaler may start, in the form of
`available_node_types` in a file for `ray up`."""
EXAMPLE = "{gpu: {resources: {CPU: 4, GPU: 1}, max_workers: 4}}"
"""Example of what RAYTRAIN_NODES may say."""
BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""File that `ray up` writes on the head: the cluster's own, in which Ray has filled in what it leaves out."""


# The public API tells of nodes that are up only, and an autoscaling cluster may start as a head without CPUs. The head
# has a key for the configuration of its autoscaler (`GlobalState.get_cluster_config`, Ray 2.57 to 2.60), but nothing in
# open-source Ray writes it ("this function was never actually called", ray-project/ray#63012). So the file of `ray up`
# is read where the key is empty; Ray Tune looks for the same one (`ray.tune.execution.cluster_info`). On Kubernetes
# there is no such file on the head, and the environment says it.


def addable_nodes(*, most: int) -> list[dict[str, float]]:
    """Return the resources of each node that the cluster's autoscaler may have, the head left out.

    Where the limits of all kinds together exceed that of the cluster, one node of each kind counts, and then those with
    most GPUs and cores.

    Args:
        most: Number of nodes to count for a node type without a limit.

    Returns:
        The resources of each node; [] where there is no autoscaler, or none that is known.

    Raises:
        PreflightError: RAYTRAIN_NODES cannot be read.
    """
    if declared := os.environ.get(DECLARED):
        try:
            return _nodes(YAML(typ="safe").load(declared), head=None, most=most)
        except (YAMLError, ValueError, TypeError, AttributeError) as error:
            raise PreflightError(
                f"{DECLARED}={declared[:200]!r} declares no nodes. Write it as in {DECLARED}='{EXAMPLE}'"
            ) from error
    return _reported(most) or _of_ray_up(most)


def _reported(most: int) -> list[dict[str, float]]:
    from ray._private.state import state

    config: Any = state.get_cluster_config()  # None where nothing has reported one
    return [
        dict(group.resources)
        for group in (config.node_group_configs if config else ())
        for _ in range(most if group.max_count < 0 else min(group.max_count, most))
    ]


def _of_ray_up(most: int) -> list[dict[str, float]]:
    path = Path(BOOTSTRAP).expanduser()
    if not (_is_head() and path.is_file()):
        return []
    try:
        config = json.loads(path.read_text())  # Ray writes JSON, which ruamel.yaml would take seconds for
        limit = config.get("max_workers")
        return _nodes(
            config["available_node_types"], head=config.get("head_node_type"), most=most if limit is None else limit
        )
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        log.warning("%s does not say which nodes may come (%s); those that are up count", path, error)
        return []


def _is_head() -> bool:
    """Return whether this process runs on the head of the cluster."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == here and HEAD_NODE in node["Resources"] for node in ray.nodes())


def _nodes(kinds: Mapping[str, Any], *, head: str | None, most: int) -> list[dict[str, float]]:
    """Return the nodes of all kinds, at most `most`."""
    counted: list[tuple[int, dict[str, float]]] = []
    for name, kind in kinds.items():
        resources = {str(resource): float(amount) for resource, amount in (kind.get("resources") or {}).items()}
        # as Ray fills it in; of the head's type there may be workers, too
        count = int(kind.get("max_workers", 0 if name == head else most))
        if resources:  # else Ray measures them when the node comes, as on machines of one's own
            counted += [(nth, resources) for nth in range(min(count, most))]
    counted.sort(key=lambda one: (one[0] > 0, -one[1].get("GPU", 0), -one[1].get("CPU", 0)))
    return [dict(resources) for _, resources in counted[:most]]
