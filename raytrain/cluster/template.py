"""Files to start from: how raytrain runs on Slurm, Kubernetes, SkyPilot, two clouds, or machines of your own."""

from importlib.resources import files

TEMPLATES = {
    "slurm": "slurm.sh",
    "kuberay": "kuberay.yaml",
    "skypilot": "skypilot.yaml",
    "aws": "aws.yaml",
    "gcp": "gcp.yaml",
    "hosts": "hosts.yaml",
}
"""Files in the folder templates beside this module, by the name of what they are for."""


def template_text(name: str) -> str:
    """Return the text of a template.

    Args:
        name: One of the keys of `TEMPLATES`.
    """
    return (files("raytrain.cluster") / "templates" / TEMPLATES[name]).read_text(encoding="utf-8")
