"""`raytrain cluster up` and `down` of cluster.yaml against moto: `python aws_in_a_box.py FOLDER` prints what there was.

moto gives machines addresses of the real internet, and `ray up` starts ssh towards them. So this runs in a network
namespace of its own in which only loopback is up, with an ssh and an rsync that do nothing first on the PATH;
`test_aws.py` starts it so, and it refuses to run where there is another network.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PORT = 5555
MINE = "203.0.113.7/32"
ROOT = Path(__file__).parents[2]


def main() -> None:
    state = Path(sys.argv[1])
    interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    assert interfaces == ["lo"], f"not in an empty network namespace: {interfaces}"
    os.environ |= {
        "HOME": str(state),
        "XDG_STATE_HOME": str(state / "state"),
        "PATH": f"{stubs(state)}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    }
    import boto3
    from botocore.config import Config
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=PORT)
    server.start()
    # on a busy machine moto's first answer takes a minute, and what is asked for once more is there already
    patient = Config(read_timeout=600, retries={"total_max_attempts": 1})
    ec2 = boto3.client("ec2", config=patient)
    file = state / "cluster.yaml"
    file.write_text(filled(ec2, boto3.client("iam", config=patient)))
    files = ("pyproject.toml", "hatch_build.py", "constraints.txt", "README.md", "LICENSE")
    for name in ("raytrain", "experiments", *files):
        (state / name).symlink_to(ROOT / name)
    up = raytrain("cluster", "up", "--yes", str(file))
    head = instances(ec2)
    launch_worker(file)
    both = instances(ec2)
    groups = ec2.describe_security_groups()["SecurityGroups"]
    down = raytrain("cluster", "down", str(file))
    found: dict[str, Any] = {
        "up": up,
        "head": head,
        "workers": [one for one in both if one not in head],
        "open": [group["GroupName"] for group in groups if "0.0.0.0/0" in json.dumps(group["IpPermissions"])],
        "groups": sorted({group["GroupName"] for group in groups}),
        "down": down,
        "left": [one["State"]["Name"] for one in instances(ec2)],
    }
    sys.stdout.write(f"FOUND{json.dumps(found, default=str)}\n")
    server.stop()


def stubs(state: Path) -> Path:
    """Return a folder with an ssh, an scp and an rsync that do nothing, and do it well."""
    folder = state / "bin"
    folder.mkdir()
    for name in ("ssh", "scp", "rsync"):
        (folder / name).write_text("#!/bin/sh\nexit 0\n")
        (folder / name).chmod(0o755)
    return folder


def filled(ec2: Any, iam: Any) -> str:
    """Do what the comments of cluster.yaml say, and return it with its placeholders replaced."""
    group = ec2.create_security_group(GroupName="raytrain", Description="raytrain")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=MINE)
    policy = {"Version": "2012-10-17", "Statement": []}
    iam.create_role(RoleName="raytrain", AssumeRolePolicyDocument=json.dumps(policy))
    iam.create_instance_profile(InstanceProfileName="raytrain")
    iam.add_role_to_instance_profile(InstanceProfileName="raytrain", RoleName="raytrain")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    here = f"--python {sys.version_info.major}.{sys.version_info.minor} "
    text = (ROOT / "cluster.yaml").read_text().replace("--python 3.11 ", here)
    return text.replace("sg-REPLACE-ME", group).replace("ami-REPLACE-ME", image).replace("REPLACE-ME", "bucket")


def raytrain(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "raytrain", *words], capture_output=True, text=True, timeout=600, check=False
    )
    return {"code": done.returncode, "out": done.stdout[-3000:], "err": done.stderr[-3000:]}


def launch_worker(file: Path) -> None:
    """Have Ray's AWS provider start one worker of the file, as the head's autoscaler would."""
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler.tags import NODE_KIND_WORKER, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
    from ruamel.yaml import YAML

    config = _bootstrap_config(YAML(typ="safe").load(file), no_config_cache=True)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    kind = config["available_node_types"]["gpu_worker"]
    tags = {TAG_RAY_NODE_KIND: NODE_KIND_WORKER, TAG_RAY_USER_NODE_TYPE: "gpu_worker"}
    provider.create_node(kind["node_config"], tags, 1)


def instances(ec2: Any) -> list[dict[str, Any]]:
    found = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
    keys = ("InstanceId", "InstanceType", "State", "Tags", "SecurityGroups", "KeyName", "IamInstanceProfile")
    return [{key: one.get(key) for key in (*keys, "InstanceLifecycle")} for one in found]


if __name__ == "__main__":
    main()
