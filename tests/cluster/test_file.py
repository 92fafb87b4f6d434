"""Tests of raytrain.cluster.file: what would go wrong is found, at its place; a good file has no findings."""

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from raytrain.cluster.file import findings, read_cluster_file
from raytrain.cluster.prices import describe, node_prices, price_list
from raytrain.errors import ExperimentError

ROOT = Path(__file__).parents[2]
TEMPLATES = ("cluster.yaml", "cluster.gcp.yaml", "cluster.local.yaml")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def filled(name: str) -> str:
    """Return a template as a user fills it in: the placeholders, and the Python that is also here."""
    text = (ROOT / name).read_text().replace("--python 3.11 ", f"--python {PYTHON} ")
    for placeholder, value in {
        "HEAD-REPLACE-ME": "192.168.0.10",
        "WORKER-REPLACE-ME": "192.168.0.11",
        "USER-REPLACE-ME": "me",
        "PROJECT-REPLACE-ME": "my-project",
        "IMAGE-REPLACE-ME": "common-cu128-v20260101-ubuntu-2204",
        "REPLACE-ME": "0a1b2c",
    }.items():
        text = text.replace(placeholder, value)
    return text


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return the findings in a cluster file of the given text, as lines, next to what the templates mount."""
    for name in ("raytrain", "experiments"):
        (tmp_path / name).mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "constraints.txt", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    # whichever Ray these tests run with
    pinned = re.search(r"^ray(?:\[.*\])?==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    monkeypatch.setattr("raytrain.cluster.file.metadata.version", lambda _: pinned[1])

    def of(text: str) -> list[str]:
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return [str(finding).removeprefix(f"{path}:") for finding in findings(read_cluster_file(path))]

    return of


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_that_is_filled_in_has_no_findings(template: str, found: Callable[[str], list[str]]) -> None:
    assert found(filled(template)) == []


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_ray_accepts_a_template_that_is_filled_in(template: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(YAML(typ="safe").load(filled(template)))))


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_still_to_be_filled_in_is_found_where_it_stands(
    template: str, found: Callable[[str], list[str]]
) -> None:
    text = (ROOT / template).read_text()
    lines = [number for number, line in enumerate(text.splitlines(), 1) if "REPLACE-ME" in line.partition("#")[0]]
    there = {int(line.split(":")[0]) for line in found(text) if "is a placeholder" in line}
    # a value that goes over several lines is found at its start
    assert there
    assert all(any(0 <= number - start <= 3 for start in there) for number in lines)


BROKEN: dict[str, tuple[str, str, str]] = {
    "no region": ("  region: us-east-1\n", "", "aws needs a region"),
    "unknown provider": ("type: aws", "type: azure", "unknown provider 'azure'; choose one of aws, gcp, local"),
    "misspelt head": (
        "head_node_type: head",
        "head_node_type: haed",
        "unknown head_node_type 'haed'; did you mean 'head'?",
    ),
    "no bound": ("max_workers: 4 # beside", "# beside", "there is no max_workers"),
    "more than the bound": (
        "min_workers: 0 # nothing",
        "min_workers: 9 # nothing",
        "min_workers 9, above its max_workers 4",
    ),
    "no instance": ("      InstanceType: g6.xlarge", "      Tenancy: x", "gpu_worker needs node_config.InstanceType"),
    "rays own group": ("      SecurityGroupIds: *security_groups\n", "", "opens port 22 to the whole internet"),
    "open dashboard": (
        "--dashboard-host=127.0.0.1",
        "--dashboard-host=0.0.0.0",
        "anyone who can reach it can run code",
    ),
    "open network": ("region: us-east-1", "region: us-east-1\n  cidr: 0.0.0.0/0", "0.0.0.0/0 is the whole internet"),
    "no token mode": (
        "RAY_AUTH_MODE=token ~/venv/bin/ray start --address",
        "ray start --address",
        "without RAY_AUTH_MODE",
    ),
    "no token": ("  /home/ubuntu/.ray/auth_token: ~/.ray/auth_token\n", "", "no token is copied"),
    "another python": (f"--python {PYTHON} ~/venv", "--python 3.8 ~/venv", "the nodes get Python 3.8"),
    "another ray": ("  - chmod 600", "  - pip install 'ray[default]==2.9.0'\n  - chmod 600", "the nodes get Ray 2.9.0"),
    "missing file": (": pyproject.toml", ": setup.py", "setup.py does not exist"),
    "no shared storage": ("RAYTRAIN_OUT=s3://", "OUT=s3-", "have no shared storage"),
    "moving image": ("      ImageId: *image\n", "", "gpu_worker has no ImageId"),
    "docker": (
        "cluster_name: raytrain",
        "docker: {image: rayproject/ray}\ncluster_name: raytrain",
        "rayproject/ray has no fixed version",
    ),
}


@pytest.mark.parametrize(("before", "after", "message"), BROKEN.values(), ids=BROKEN)
def test_what_would_go_wrong_is_found(before: str, after: str, message: str, found: Callable[[str], list[str]]) -> None:
    text = filled("cluster.yaml")
    assert before in text
    lines = found(text.replace(before, after))
    assert [line for line in lines if message in line], lines
    assert all(line.split(":")[0].isdigit() for line in lines)


def test_a_finding_has_the_line_of_what_is_wrong(found: Callable[[str], list[str]]) -> None:
    text = filled("cluster.yaml").replace("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0")
    (line,) = found(text)
    number, column, _ = line.split(":", 2)
    assert text.splitlines()[int(number) - 1].strip().startswith("- >-")
    assert column == "5"


def test_a_gcp_image_family_moves(found: Callable[[str], list[str]]) -> None:
    text = filled("cluster.gcp.yaml").replace("global/images/common", "global/images/family/common")
    assert any("is an image family, which changes" in line for line in found(text))


@pytest.mark.parametrize("content", ["", "[1, 2]", "provider: aws\n", "available_node_types: [a]\nfile_mounts: 3\n"])
def test_a_file_of_another_kind_has_findings_and_no_traceback(content: str, found: Callable[[str], list[str]]) -> None:
    try:
        lines = found(content)
    except ExperimentError as error:
        lines = [str(error)]
    assert lines


def prices(tmp_path: Path, table: str | None, monkeypatch: pytest.MonkeyPatch, *, text: str | None = None) -> list[Any]:
    monkeypatch.setattr("raytrain.cluster.prices.user_table", lambda: tmp_path / "prices.yaml")
    if table:
        (tmp_path / "prices.yaml").write_text(table)
    path = tmp_path / "cluster.yaml"
    path.write_text(text or filled("cluster.yaml"))
    return node_prices(read_cluster_file(path))


def test_an_hour_costs_the_head_at_least_and_every_worker_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "spot: 0.5\naws: {m6i.xlarge: 0.25, g6.xlarge: 1.0}\n"
    head, worker = prices(tmp_path, table, monkeypatch)
    assert (head.instance, head.spot, head.least, head.most, head.dollars) == ("m6i.xlarge", False, 1, 1, 0.25)
    assert (worker.instance, worker.spot, worker.least, worker.most, worker.dollars) == ("g6.xlarge", True, 0, 4, 0.5)
    assert "together $0.25 to $2.25 an hour" in describe([head, worker], workers=4)


SPOT = "InstanceMarketOptions: {MarketType: spot}"
IN_A_LIST = "      scheduling: # spot\n        - {preemptible: true}\n        - {onHostMaintenance: TERMINATE}\n"


@pytest.mark.parametrize(
    ("template", "before", "after", "spot"),
    [
        ("cluster.yaml", "", "", True),
        ("cluster.yaml", SPOT, "InstanceMarketOptions: {MarketType: capacity-block}", False),
        ("cluster.yaml", SPOT, "TagSpecifications: [{Tags: [{Key: team, Value: spotless}]}]", False),
        ("cluster.gcp.yaml", "", "", True),
        ("cluster.gcp.yaml", "{preemptible: true}", "{preemptible: false}", False),
        ("cluster.gcp.yaml", "{preemptible: true}", "{provisioningModel: SPOT}", True),
        ("cluster.gcp.yaml", IN_A_LIST, "      scheduling: {provisioningModel: SPOT}\n", True),
        ("cluster.gcp.yaml", IN_A_LIST, "      labels: {team: spotless}\n", False),
    ],
)
def test_a_node_is_spot_by_the_setting_of_its_cloud(
    template: str, before: str, after: str, spot: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = filled(template)
    assert before in text
    table = "spot: 0.5\naws: {m6i.xlarge: 0.25, g6.xlarge: 1.0}\ngcp: {n2-standard-4: 0.25, g2-standard-4: 1.0}\n"
    head, worker = prices(tmp_path, table, monkeypatch, text=text.replace(before, after) if before else text)
    assert (head.spot, head.dollars) == (False, 0.25)
    assert (worker.spot, worker.dollars) == (spot, 0.5 if spot else 1.0)


@pytest.mark.parametrize(
    ("limits", "limit", "expected"),
    [
        ("{}", 3, "0 to 3 x g6.xlarge"),  # no limit of its own
        ("{max_workers: 5}", 3, "0 to 3 x g6.xlarge"),
        ("{max_workers: 2}", 3, "0 to 2 x g6.xlarge"),
        ("{max_workers: 0}", 3, "0 x g6.xlarge"),
        ("{}", None, "0 to 2 x g6.xlarge"),  # as Ray fills it in
    ],
)
def test_a_type_without_a_limit_has_that_of_the_cluster(
    limits: str, limit: int | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = prices_of_two_types(tmp_path, monkeypatch, limits=limits, limit=limit)
    assert expected in said


def test_at_most_the_dearest_nodes_come_and_no_more_than_the_cluster_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = prices_of_two_types(tmp_path, monkeypatch, limits="{}", limit=3)
    assert "cpu: 1 to 3 x m6i.xlarge" in said
    assert "together $0.50 to $2.50 an hour" in said  # the head and the CPU node; two GPU nodes more


def prices_of_two_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, limits: str, limit: int | None) -> str:
    """Return what is said of a head, of CPU nodes of which one always runs, and of GPU nodes."""
    monkeypatch.setattr("raytrain.cluster.prices.user_table", lambda: tmp_path / "prices.yaml")
    (tmp_path / "prices.yaml").write_text("aws: {m6i.xlarge: 0.25, g6.xlarge: 1.0}\n")
    values = YAML(typ="safe").load(limits)
    file: Any = {
        "provider": {"type": "aws"},
        "head_node_type": "head",
        "available_node_types": {
            "head": {"node_config": {"InstanceType": "m6i.xlarge"}},
            "cpu": {"min_workers": 1, "node_config": {"InstanceType": "m6i.xlarge"}},
            "gpu": {**values, "node_config": {"InstanceType": "g6.xlarge"}},
        },
        **({} if limit is None else {"max_workers": limit}),
    }
    path = tmp_path / "cluster.yaml"
    YAML().dump(file, path)
    return price_list(read_cluster_file(path))


def test_a_machine_that_the_table_does_not_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = describe(prices(tmp_path, "aws: {m6i.xlarge: 0.25}\n", monkeypatch), workers=4)
    assert "0 to 4 x g6.xlarge spot, price unknown" in text
    assert "together $0.25 to $0.25 an hour, plus nodes without a price" in text


@pytest.mark.parametrize("template", ["cluster.yaml", "cluster.gcp.yaml"])
def test_the_table_that_comes_with_raytrain_knows_the_templates(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = prices(tmp_path, None, monkeypatch, text=filled(template))
    assert [row.dollars is not None for row in rows] == [True, True]
