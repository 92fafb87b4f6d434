"""No placement group outlives its trial.

When Tune stops a trial early it kills the trial's process, but the group that Ray Train reserved for the
workers belongs to the job. Ray's own cleaner asks the dashboard and dies silently where there is none, and after
as many early stops as fit the cluster the sweep would wait for ever. So workers write their group on the board,
and whoever sees a trial end removes it.
"""

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from raytrain.cluster import board

_GONE = "REMOVED"


def release(trial_id: str) -> None:
    """Remove the placement group that a trial's workers had, if it is still there."""
    if group := board.get(trial_id, "placement_group"):
        _remove(group)
        board.clear(trial_id, "placement_group")


def release_all() -> None:
    """Remove every placement group of this job, also those of trials that ended before a worker started."""
    for group in groups_of_this_job():
        _remove(group)


def groups_of_this_job() -> list[str]:
    """Return the ids of the placement groups of this job that still hold or wait for resources."""
    job = ray.get_runtime_context().get_job_id()
    # a placement group's id ends in the id of the job that made it
    return [group for group, row in placement_group_table().items() if group.endswith(job) and row["state"] != _GONE]


def _remove(group: str) -> None:
    if placement_group_table().get(group, {}).get("state", _GONE) != _GONE:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(group)))
