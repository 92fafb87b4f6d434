"""A file for `ray up`, checked before it costs money: by rules of ours, each finding with its place in the file.

Ray's own validation knows the form of the file; these rules know what goes wrong afterwards: open ports, no token,
other versions than ours, storage that the nodes do not share. Imports no Ray.
"""

import platform
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from raytrain.errors import PreflightError, did_you_mean
from raytrain.experiment.yaml_source import Keys, YamlSource, read_yaml
from raytrain.storage.typed_path import expanded

PLACEHOLDER = "REPLACE-ME"
PROVIDERS: dict[str, tuple[str, ...]] = {
    "aws": ("region",),
    "gcp": ("region", "availability_zone", "project_id"),
    "local": ("head_ip", "worker_ips"),
}
"""Keys that `ray up` needs for each provider, by the provider's name."""
OUT = "RAYTRAIN_OUT"
"""Environment variable on the nodes that names their shared storage."""


@dataclass(frozen=True)
class Finding:
    """Something in the file that would go wrong.

    Attributes:
        where: Position in the file, as file:line:column.
        message: The problem, and how to fix it.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file as read."""

    source: YamlSource
    folder: Path

    @property
    def values(self) -> dict[str, Any]:
        """Its content."""
        return self.source.values

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.values.get("cluster_name", "default"))

    @property
    def provider(self) -> str:
        """aws, gcp, local, or what else is written there."""
        provider = self.values.get("provider")
        return str(provider.get("type", "")) if isinstance(provider, dict) else ""

    def node_types(self) -> dict[str, dict[str, Any]]:
        """Return the kinds of nodes by name; those that are not mappings are left out."""
        types = self.values.get("available_node_types")
        return {name: node for name, node in types.items() if isinstance(node, dict)} if isinstance(types, dict) else {}

    def commands(self, *names: str) -> Iterator[tuple[Keys, str]]:
        """Give the keys and the text of each command under the keys `names`."""
        for name in names:
            commands = self.values.get(name)
            for index, command in enumerate(commands if isinstance(commands, list) else ()):
                yield (name, index), str(command)


def read_cluster_file(path: Path) -> ClusterFile:
    """Read the file at `path`.

    Raises:
        ExperimentError: It is missing or is no YAML mapping.
    """
    return ClusterFile(read_yaml(path, what="a cluster file"), path.absolute().parent)


def findings(file: ClusterFile, *, template_only: bool = False) -> list[Finding]:
    """Return what is wrong with a cluster file, in the order of its lines.

    Args:
        file: The cluster file.
        template_only: Whether to look only for what is still to be filled in.
    """
    rules = (_placeholders,) if template_only else RULES
    found = [Finding(file.source.where(keys), message) for rule in rules for keys, message in rule(file)]
    return sorted(found, key=lambda finding: [int(part) for part in finding.where.rsplit(":", 2)[1:]])


Found = Iterator[tuple[Keys, str]]


def _provider(file: ClusterFile) -> Found:
    provider = file.values.get("provider")
    if not isinstance(provider, dict) or file.provider not in PROVIDERS:
        yield ("provider", "type"), f"unknown provider {file.provider!r}; {_instead(file.provider, PROVIDERS)}"
        return
    for key in PROVIDERS[file.provider]:
        if provider.get(key) is None:
            yield ("provider",), f"{file.provider} needs a {key}, for example {EXAMPLES[key]}"


def _instead(given: object, allowed: Collection[str]) -> str:
    return did_you_mean(str(given), allowed) or f"choose one of {', '.join(allowed)}"


EXAMPLES = {
    "region": "region: us-east-1",
    "availability_zone": "availability_zone: us-central1-a",
    "project_id": "project_id: my-project",
    "head_ip": "head_ip: 192.168.0.10",
    "worker_ips": "worker_ips: [192.168.0.11]",
}


def _placeholders(file: ClusterFile) -> Found:
    for keys, value in _leaves(file.values, ()):
        if isinstance(value, str) and PLACEHOLDER in value:
            yield keys, f"{value!r} is a placeholder; replace it, as the comments in the file explain"


def _node_types(file: ClusterFile) -> Found:
    if file.provider == "local":
        return
    types = file.node_types()
    if not types:
        yield ("available_node_types",), "there are no available_node_types; define a head and at least one worker type"
        return
    head = file.values.get("head_node_type")
    if head not in types:
        yield ("head_node_type",), f"unknown head_node_type {head!r}; {_instead(head, types)}"
    most = file.values.get("max_workers")
    if not isinstance(most, int):
        yield (
            ("max_workers",),
            "there is no max_workers, which limits the number of nodes that run and cost money at the same time",
        )
    for name, node in types.items():
        keys: Keys = ("available_node_types", name)
        if not isinstance(node.get("resources"), dict):
            yield keys, f"{name} needs `resources`, for example {{CPU: 4, GPU: 1}}"
        least, limit = node.get("min_workers", 0), node.get("max_workers")
        if isinstance(least, int) and isinstance(limit, int) and least > limit:
            yield (*keys, "min_workers"), f"{name} has min_workers {least}, above its max_workers {limit}"
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield (*keys, "min_workers"), f"{name} has min_workers {least}, above the cluster's max_workers {most}"
        key = {"aws": "InstanceType", "gcp": "machineType"}.get(file.provider, "")
        config = node.get("node_config")
        if key and not (isinstance(config, dict) and config.get(key)):
            yield keys, f"{name} needs node_config.{key}"


def _open_ports(file: ClusterFile) -> Found:
    for keys, value in _leaves(file.values, ()):
        if value == "0.0.0.0/0":
            yield keys, "0.0.0.0/0 is the whole internet; give your own address, such as 203.0.113.7/32"
    if file.provider == "aws":
        for name, node in file.node_types().items():
            config = node.get("node_config")
            if isinstance(config, dict) and not config.get("SecurityGroupIds"):
                keys = ("available_node_types", name, "node_config")
                yield (
                    keys,
                    f"{name} has no SecurityGroupIds: the group that Ray creates opens port 22 to the whole internet",
                )
    starts = [(keys, text) for keys, text in file.commands("head_start_ray_commands") if "ray start" in text]
    if not starts:
        yield (
            ("head_start_ray_commands",),
            "there is no `ray start`: Ray's default opens the dashboard to every host",
        )
    for keys, text in starts:
        host = re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)(\s|$)", text)
        if host:
            yield keys, f"--dashboard-host={host[1]}: anyone who can reach it can run code; use 127.0.0.1"


def _token(file: ClusterFile) -> Found:
    for keys, text in file.commands("head_start_ray_commands", "worker_start_ray_commands"):
        if "ray start" in text and "RAY_AUTH_MODE=token" not in text:
            yield keys, "`ray start` without RAY_AUTH_MODE=token: anyone who can reach a port of the node can run code"
    mounts = file.values.get("file_mounts")
    if not any("auth_token" in str(name) for name in (mounts if isinstance(mounts, dict) else {})):
        yield ("file_mounts",), "no token is copied to the nodes; mount ~/.ray/auth_token at the same path"


def _versions(file: ClusterFile) -> Found:
    ray, python = metadata.version("ray"), ".".join(platform.python_version_tuple()[:2])
    for keys, text in file.commands("setup_commands", "head_setup_commands", "worker_setup_commands"):
        for pinned in re.findall(r"\bray(?:\[[^]]*\])?==([\w.]+)", text):
            if pinned != ray:
                yield keys, f"the nodes get Ray {pinned}, but {ray} is here; a job needs the same on both sides"
        for pinned in re.findall(r"--python[= ](\d+\.\d+)\b", text):
            if pinned != python:
                yield keys, f"the nodes get Python {pinned}, but {python} is here; a job needs the same on both sides"
    mounts = file.values.get("file_mounts")
    for there, local in (mounts if isinstance(mounts, dict) else {}).items():
        try:
            path = file.folder / expanded(str(local))
        except PreflightError as error:
            yield ("file_mounts", there), str(error)
            continue
        if not path.exists() and "auth_token" not in str(there):
            yield ("file_mounts", there), f"{local} does not exist; paths are relative to the file's folder"
        elif path.name == "constraints.txt":
            for pinned in re.findall(r"^ray==(\S+)", path.read_text(), re.MULTILINE):
                if pinned != ray:
                    yield ("file_mounts", there), f"{local} pins Ray {pinned}, but {ray} is here"


def _storage(file: ClusterFile) -> Found:
    if file.provider == "local" and not (file.values.get("provider") or {}).get("worker_ips"):
        return
    everything = [str(value) for _, value in _leaves(file.values, ())]
    if not any(re.search(rf"{OUT}=\S*(://|/)", text) for text in everything):
        yield (), f"the nodes have no shared storage; set {OUT}=s3://bucket/runs, as cluster.yaml does"


def _images(file: ClusterFile) -> Found:
    docker = file.values.get("docker")
    image = str(docker.get("image", "")) if isinstance(docker, dict) else ""
    if image and (":" not in image.rpartition("/")[2] or image.endswith((":latest", ":nightly"))):
        yield ("docker", "image"), f"the image {image} has no fixed version; pin one, as in image:2.60.0"
    for name, node in file.node_types().items():
        config, keys = node.get("node_config"), ("available_node_types", name, "node_config")
        if file.provider == "aws" and isinstance(config, dict) and not config.get("ImageId"):
            yield keys, f"{name} has no ImageId: Ray's default image changes, and is too old for torch"
    for keys, value in _leaves(file.values, ()):
        if keys and keys[-1] == "sourceImage" and "/family/" in str(value):
            yield keys, f"{value} is an image family, which changes; give one image"


RULES: tuple[Callable[[ClusterFile], Found], ...] = (
    _provider,
    _placeholders,
    _node_types,
    _open_ports,
    _token,
    _versions,
    _storage,
    _images,
)


def _leaves(node: object, keys: Keys) -> Iterator[tuple[Keys, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*keys, str(key)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*keys, index))
    else:
        yield keys, node
