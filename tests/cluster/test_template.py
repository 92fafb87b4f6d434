"""Files to start from: they are in the package, and do what their comments say, as far as this can be seen offline."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cli.experiment import new
from raytrain.cluster.template import TEMPLATES, template_text

ROOT = Path(__file__).parents[2]


def test_the_command_offers_each_template() -> None:
    assert get_args(get_type_hints(new.template)["name"]) == tuple(TEMPLATES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_printed_as_it_is(name: str) -> None:
    done = CliRunner().invoke(app, ["cluster", "template", name])
    assert done.exit_code == 0, done.output
    assert done.stdout == template_text(name)
    assert "REPLACE-ME" in done.stdout


@pytest.mark.parametrize(
    ("name", "file"), [("aws", "cluster.yaml"), ("gcp", "cluster.gcp.yaml"), ("hosts", "cluster.local.yaml")]
)
def test_the_cluster_file_of_the_checkout_is_the_template(name: str, file: str) -> None:
    assert template_text(name) == (ROOT / file).read_text(), f"copy {file} to raytrain/cluster/templates/{name}.yaml"


def test_a_template_goes_into_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "raytrain.sbatch"
    assert CliRunner().invoke(app, ["cluster", "template", "slurm", "-o", str(file)]).exit_code == 0
    assert file.read_text() == template_text("slurm")


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    done = CliRunner().invoke(app, ["cluster", "template", "aws", "--output", str(file)])
    assert done.exit_code == 2
    assert "is there already; give the name of a new file" in done.output
    assert file.read_text() == "mine"


# ---------------------------------------------------------------- Slurm, with stand-ins on the PATH

STAND_INS = {
    # runs as if it was the first node: `srun [options] ray symmetric-run ...`
    "srun": 'echo "srun $*" >> calls; while [ "$1" != ray ]; do shift; done; exec "$@"',
    "ray": 'while [ "$1" != -- ]; do shift; done; shift; "$@"',
    "scontrol": 'echo "scontrol $*" >> calls',
    "openssl": "echo 0123abcd",
    "raytrain": 'echo "raytrain $*" >> calls; trap "exit 143" TERM; touch started; '
    'while [ ! -e end ]; do sleep 0.05; done; exit "$(cat end)"',
}


@pytest.fixture
def sbatch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return what starts the filled-in script as Slurm would: with a number of nodes, and the words of a command."""
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/.venv/bin").mkdir(parents=True)
    (tmp_path / "venv/.venv/bin/activate").write_text(f'PATH="{tmp_path}:$PATH"\n')
    script = tmp_path / "raytrain.sbatch"
    script.write_text(template_text("slurm").replace("source REPLACE-ME", f"source {tmp_path}/venv"))
    slurm = {"SLURM_JOB_ID": "1234567", "SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "2"}
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, nodes: int) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SLURM_SUBMIT_DIR": str(tmp_path)}
        started.append(
            subprocess.Popen(
                ["bash", str(script), *command],
                cwd=tmp_path,
                env=environment | slurm | {"SLURM_JOB_NUM_NODES": str(nodes)},
                stderr=subprocess.DEVNULL,
            )
        )
        while not (tmp_path / "started").exists():
            assert started[-1].poll() is None
            time.sleep(0.02)
        return started[-1]

    yield start
    (tmp_path / "end").write_text("0")
    for process in started:
        process.wait()


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_bash_can_read_the_script() -> None:
    subprocess.run(["bash", "-n"], input=template_text("slurm"), text=True, check=True)


@pytest.mark.parametrize("nodes", [1, 4])
def test_near_the_end_of_its_time_a_job_saves_its_trials_and_asks_for_another_start(
    nodes: int, sbatch: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    job = sbatch("compare", "quick", nodes=nodes)
    job.send_signal(signal.SIGUSR1)
    assert job.wait() == 143
    assert calls(tmp_path)[-1] == "scontrol requeue 1234567"


@pytest.mark.parametrize("nodes", [1, 4])
def test_a_job_that_is_cancelled_saves_its_trials_and_stays_away(
    nodes: int, sbatch: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    job = sbatch("compare", nodes=nodes)
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 143
    assert not [call for call in calls(tmp_path) if call.startswith("scontrol")]


@pytest.mark.parametrize("code", [0, 4])
def test_a_job_that_has_ended_is_not_started_again(
    code: int, sbatch: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    job = sbatch(nodes=1)
    (tmp_path / "end").write_text(str(code))
    assert job.wait() == code
    assert calls(tmp_path) == ["raytrain compare"]


def test_several_nodes_share_one_ray(sbatch: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    job = sbatch("tune", "--name", "two words", nodes=3)
    (tmp_path / "end").write_text("0")
    assert job.wait() == 0
    started, command = calls(tmp_path)
    assert "--nodes=3 --ntasks=3 --cpus-per-task=8 ray symmetric-run --address " in started
    assert ":24567 --min-nodes 3 --num-cpus=8 --num-gpus=2 -- bash -c " in started
    assert command == "raytrain tune --name two words --address auto"
    assert (tmp_path / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_ray_has_symmetric_run() -> None:
    from ray.scripts.scripts import cli

    taken = {option for parameter in cli.commands["symmetric-run"].params for option in parameter.opts}
    assert {"--address", "--min-nodes"} <= taken
    assert {"--num-cpus", "--num-gpus"} <= {
        option for parameter in cli.commands["start"].params for option in parameter.opts
    }


# ---------------------------------------------------------------- KubeRay and SkyPilot


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return YAML(typ="safe").load(template_text("kuberay"))


def test_the_rayjob_has_what_kuberay_requires(job: dict[str, Any]) -> None:
    # written down by hand from KubeRay's rayjob_types.go and raycluster_types.go; its schema of over a MB is not here
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) <= {
        *("entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"),
        *("activeDeadlineSeconds", "submitterPodTemplate", "submissionMode", "runtimeEnvYAML", "suspend"),
    }
    cluster = spec["rayClusterSpec"]
    assert set(cluster) <= {
        *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
        *("headGroupSpec", "workerGroupSpecs"),
    }
    assert {"rayStartParams", "template"} <= set(cluster["headGroupSpec"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        for container in group["template"]["spec"]["containers"]:
            assert {"name", "image"} <= set(container)
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in cluster["workerGroupSpecs"]:
        assert {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"} <= set(group)


def test_the_rayjob_declares_the_nodes_of_its_worker_groups(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (declared,) = [each["value"] for each in head["env"] if each["name"] == "RAYTRAIN_NODES"]
    groups = {}
    for group in cluster["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        resources = {"CPU": int(limits["cpu"]), "GPU": int(limits["nvidia.com/gpu"])}
        groups[group["groupName"]] = {"resources": resources, "max_workers": group["maxReplicas"]}
    assert YAML(typ="safe").load(declared) == groups


def test_the_rayjob_is_closed_to_others_tried_again_and_leaves_no_cluster(job: dict[str, Any]) -> None:
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (2, True)
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_rayjob_runs_the_ray_that_is_tested(job: dict[str, Any]) -> None:
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in (ROOT / "constraints.txt").read_text()
    assert f"rayproject/ray:{version}-" in template_text("kuberay")


def test_the_skypilot_task_keeps_its_runs_outside_the_machine() -> None:
    task = YAML(typ="safe").load(template_text("skypilot"))
    assert set(task) <= {"name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run"}
    assert task["envs"]["RAYTRAIN_OUT"].startswith("s3://")
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n"], input=task[part], text=True, check=True)
