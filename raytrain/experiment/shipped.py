"""The experiments and learning curves that come with raytrain, in a checkout and in an installed wheel alike."""

from importlib.resources import files
from pathlib import Path

from raytrain.errors import ExperimentError

SHIPPED = ("accurate", "best", "compare", "fast", "lr", "narrow", "quick", "resnet9", "standard")
"""Names of experiments that commands accept in place of a file; a file of the same name takes precedence."""
CURVE_BANK = "curve-bank"
"""Name of the complete learning curves that `asha.curves` may name; a run of the same name takes precedence."""
CURVE_BANK_FILE = f"records/{CURVE_BANK}.parquet"
SHIPPED_FILES = (*(f"{name}.yaml" for name in SHIPPED), "student/curves.csv", "student/claims.csv", CURVE_BANK_FILE)
"""Paths within experiments/ of the files that the package contains."""


def shipped_experiment(name: str) -> Path:
    """Return the path of one of `SHIPPED`.

    Raises:
        ExperimentError: This installation came without it.
    """
    return shipped_file(f"{name}.yaml")


def shipped_file(name: str) -> Path:
    """Return the path of a file that comes with raytrain, by its path in experiments/.

    Raises:
        ExperimentError: This installation came without it.
    """
    package = Path(str(files("raytrain")))
    for folder in (package / "_experiments", package.parent / "experiments"):
        if (path := folder / name).is_file():
            return path
    raise ExperimentError(f"{name}, which comes with raytrain, is missing; reinstall raytrain, or name another file")
