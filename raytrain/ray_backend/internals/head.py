"""What the head of a cluster knows: values that we store there, and placement groups."""

import json
from collections.abc import Iterator
from typing import Any

HEAD_NODE = "node:__internal_head__"
"""Resource that only the head node of a cluster has. Ray 2.57 to 2.60; Ray documents no public name for it."""
_NAMESPACE = b"raytrain"


# Values in the key-value store of Ray's head (`ray.experimental.internal_kv`, Ray 2.57 to 2.60). The driver shows how
# far each worker is within its epoch. A named actor would do it publicly, but it costs a process of 300 MB; a write
# here takes under a millisecond. No upstream issue is known.


def put_value(key: str, value: Any) -> None:
    """Store a JSON value under a key in the head's memory, over the one that was there.

    Args:
        key: Key that is unique in the cluster.
        value: Value that JSON can represent.
    """
    from ray.experimental.internal_kv import _internal_kv_put  # pyright: ignore[reportPrivateUsage]

    _internal_kv_put(key.encode(), json.dumps(value).encode(), overwrite=True, namespace=_NAMESPACE)


def get_value(key: str) -> Any:
    """Return the JSON value that was stored last under a key, or None."""
    from ray.experimental.internal_kv import _internal_kv_get  # pyright: ignore[reportPrivateUsage]

    value = _internal_kv_get(key.encode(), namespace=_NAMESPACE)
    return json.loads(value) if value else None


def head_answers(*, timeout_s: float) -> bool:
    """Return whether the head of the cluster answers within a time.

    Public calls such as `ray.nodes` have no time limit and wait for a minute for a head that is gone. The client of
    the global worker takes one (`global_worker.gcs_client.internal_kv_exists`, Ray 2.57 to 2.60; no upstream issue).
    """
    from ray._private import worker

    try:
        client: Any = worker.global_worker
        client.gcs_client.internal_kv_exists(b"", _NAMESPACE, timeout=timeout_s)
    except Exception:  # noqa: BLE001 (Ray raises many kinds of errors; each means that it has not answered)
        return False
    return True


def placement_groups() -> Iterator[tuple[str, bool]]:
    """Yield the placement groups of this job that hold resources or wait for them.

    When Tune stops a trial early, it kills the trial's process and with it Ray Train's controller, but the group that
    the controller reserved for its workers belongs to the job and stays (ray-project/ray#54305, #65443). Ray records
    whether the actor that made a group is dead; the public `placement_group_table` leaves that out. `GlobalState` and
    `PlacementGroupTableData`, Ray 2.57 to 2.60.

    Yields:
        The id in hexadecimal, and whether an actor made it that is dead now.
    """
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue]

    job = ray.get_runtime_context().get_job_id()
    driver = ray.ActorID.nil().binary()  # Tune's own groups are made by no actor, and so by none that lives
    for content in state._connect_and_get_accessor().get_placement_group_table():  # pyright: ignore[reportPrivateUsage]
        group: Any = PlacementGroupTableData.FromString(content)
        if group.creator_job_id.hex() == job and group.state != PlacementGroupTableData.REMOVED:
            orphaned = bool(group.creator_actor_dead) and group.creator_actor_id != driver
            yield group.placement_group_id.hex(), orphaned


def remove_group(group: str) -> None:
    """Remove a placement group by its id in hexadecimal.

    Ray has no public constructor of that id (`ray._raylet.PlacementGroupID`, Ray 2.57 to 2.60; no upstream issue).
    """
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))
