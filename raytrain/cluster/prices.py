"""What the nodes of a cluster file cost per hour, by a table that the user can replace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from raytrain.cluster.file import ClusterFile
from raytrain.experiment.yaml_source import read_yaml


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
    table: dict[str, Any] = read_yaml(chosen).values
    listed = table.get(file.provider) or {}
    head = file.values.get("head_node_type")
    rows: list[NodePrice] = []
    for name, node in file.node_types().items():
        config = node.get("node_config") or {}
        instance = str(config.get("InstanceType") or config.get("machineType") or "")
        spot = "spot" in str(config).lower() or "preemptible: true" in str(config).lower()
        price = listed.get(instance)
        dollars = None if price is None else float(price) * (float(table.get("spot", 1)) if spot else 1)
        least = 1 if name == head else int(node.get("min_workers") or 0)
        most = (
            1 if name == head else min(int(node.get("max_workers", 0) or 0), int(file.values.get("max_workers") or 0))
        )
        rows.append(NodePrice(name, instance, spot, least, most, dollars))
    return sorted(rows, key=lambda row: row.name != head)


def describe(rows: list[NodePrice]) -> str:
    """Return a line per kind of node, and what an hour costs at least and at most."""
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
    least, most = (
        sum(count * (row.dollars or 0) for row, count in zip(known, counts, strict=True))
        for counts in ([row.least for row in known], [row.most for row in known])
    )
    unknown = "" if len(known) == len(rows) else ", plus nodes without a price"
    replaced = f"; to replace them, write {mine}" if (mine := user_table()) else ""
    lines.append(f"together ${least:.2f} to ${most:.2f} an hour{unknown} (list prices{replaced})")
    return "\n".join(lines)
