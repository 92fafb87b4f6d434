"""No placement group outlives its trial.

When Tune stops a trial early it kills the trial's process, and with it dies Ray Train's controller; but the group that
the controller reserved for the workers belongs to the job. Ray's own cleaner asks the dashboard, dies silently where
there is none, and knows nothing of a group that the controller asked for while it was dying. After as many early stops
as fit the cluster the sweep would wait for ever. Ray does record of every group whether the actor that made it is dead,
so those are looked for once a second, and removed.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import ray
from ray._private.state import state
from ray._raylet import PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue]
from ray.util.placement_group import PlacementGroup, remove_placement_group

from raytrain.background import repeating


def guarded(*, every: float = 1.0) -> AbstractContextManager[None]:
    """Return a context in which placement groups of trials that have ended are removed, every so many seconds."""
    return repeating(release_orphans, every=every)


def release_orphans() -> None:
    """Remove every placement group of this job whose maker is dead."""
    driver = ray.ActorID.nil().binary()  # Tune's own groups are made by no actor, and so by no living one
    for group in _groups():
        if group.creator_actor_dead and group.creator_actor_id != driver:
            _remove(group)


def release_all() -> None:
    """Remove every placement group of this job."""
    for group in _groups():
        _remove(group)


def groups_of_this_job() -> list[str]:
    """Return the ids of the placement groups of this job that hold resources or wait for them."""
    return [group.placement_group_id.hex() for group in _groups()]


def _groups() -> Iterator[Any]:
    job = ray.get_runtime_context().get_job_id()
    # the public table leaves out who made a group
    for content in state._connect_and_get_accessor().get_placement_group_table():  # pyright: ignore[reportPrivateUsage]
        group: Any = PlacementGroupTableData.FromString(content)
        if group.creator_job_id.hex() == job and group.state != PlacementGroupTableData.REMOVED:
            yield group


def _remove(group: Any) -> None:
    remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
