"""What the nodes of a cluster file cost per hour, by a table that the user can replace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from raytrain.cluster.file import ClusterFile
from raytrain.experiment.yaml_source import read_yaml

RAYS_LIMIT = 2
"""The `max_workers` of a cluster whose file has none."""


@dataclass(frozen=True)
class NodePrice:
    """A kind of node.

    Attributes:
        name: Name of the node type.
        instance: The machine type, such as g6.xlarge.
        spot: Whether the cloud may reclaim the node.
        least: Number of nodes that always run.
        most: Largest number of nodes that may run.
        dollars: Price in dollars per node and hour; None if the table has none.
    """

    name: str
    instance: str
    spot: bool
    least: int
    most: int
    dollars: float | None


def user_table() -> Path | None:
    """Return where a table of the user's own is looked for; None for a user without a home folder."""
    try:
        return platformdirs.user_config_path("raytrain").expanduser() / "prices.yaml"
    except RuntimeError:
        return None


def node_prices(file: ClusterFile) -> list[NodePrice]:
    """Return the node types of a cluster on a cloud, the head first; none for machines of one's own."""
    mine = user_table()
    chosen = mine if mine and mine.is_file() else Path(__file__).with_name("prices.yaml")
    table: dict[str, Any] = read_yaml(chosen, what="a table of prices").values
    listed = table.get(file.provider) or {}
    head = file.values.get("head_node_type")
    limit = worker_limit(file)
    rows: list[NodePrice] = []
    for name, node in file.node_types().items():
        config = node.get("node_config") or {}
        instance = str(config.get("InstanceType") or config.get("machineType") or "")
        spot = _is_spot(config)
        price = listed.get(instance)
        dollars = None if price is None else float(price) * (float(table.get("spot", 1)) if spot else 1)
        given = node.get("max_workers")
        # Ray's defaults; of the head's type there may be workers too
        most = (0 if name == head else limit) if given is None else min(int(given), limit)
        least = min(int(node.get("min_workers") or 0), most)
        itself = int(name == head)
        rows.append(NodePrice(name, instance, spot, itself + least, itself + most, dollars))
    return sorted(rows, key=lambda row: row.name != head)


def _is_spot(config: dict[str, Any]) -> bool:
    """Return whether the cloud may take back a node of a `node_config`."""
    market = config.get("InstanceMarketOptions")  # AWS
    scheduling = config.get("scheduling")  # Google Cloud; Ray's examples make a list of the settings
    settings = scheduling if isinstance(scheduling, list) else [scheduling]
    return (isinstance(market, dict) and market.get("MarketType") == "spot") or any(
        one.get("preemptible") is True or one.get("provisioningModel") == "SPOT"
        for one in settings
        if isinstance(one, dict)
    )


def worker_limit(file: ClusterFile) -> int:
    """Return the largest number of nodes that may run beside the head, of all types together."""
    given = file.values.get("max_workers")
    return RAYS_LIMIT if given is None else int(given)


def price_list(file: ClusterFile) -> str:
    """Return what an hour of a cluster costs, as `describe` has it."""
    return describe(node_prices(file), workers=worker_limit(file))


def describe(rows: list[NodePrice], *, workers: int) -> str:
    """Return a line per kind of node, and what an hour costs at least and at most.

    Args:
        rows: Kinds of nodes, the head first.
        workers: Largest number of nodes that may run beside the head, of all kinds together.
    """
    if not rows:
        return ""
    lines = [
        f"{row.name}: {row.least}"
        + (f" to {row.most}" if row.most != row.least else "")
        + f" x {row.instance} "
        + ("spot" if row.spot else "on demand")
        + (f", ${row.dollars:.2f} an hour each" if row.dollars is not None else ", price unknown")
        for row in rows
    ]
    known = [row for row in rows if row.dollars is not None]
    least = sum(row.least * (row.dollars or 0) for row in known)
    # at most, the dearest nodes come
    more = sorted(((row.dollars or 0) for row in known for _ in range(row.most - row.least)), reverse=True)
    always = sum(row.least for row in rows) - 1
    most = least + sum(more[: max(0, workers - always)])
    unknown = "" if len(known) == len(rows) else ", plus nodes without a price"
    replaced = f"; to replace them, write {mine}" if (mine := user_table()) else ""
    lines.append(f"together ${least:.2f} to ${most:.2f} an hour{unknown} (list prices{replaced})")
    return "\n".join(lines)
