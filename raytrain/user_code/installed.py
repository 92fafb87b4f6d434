"""Names that installed packages give to their own networks, augmentations and so on, by entry points.

    [project.entry-points."raytrain.architectures"]
    convmixer = "my_package.nets:convmixer"

A recipe that says `arch: convmixer` then means `arch: my_package.nets:convmixer`: code of the user's own, with the
SHA-256 of its source in the identity of the trial. A name of raytrain's own goes before that of a package.
"""

import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from raytrain.errors import ExperimentError
from raytrain.user_code.reference import Reference, reference_of

GROUPS = {
    "arch": "raytrain.architectures",
    "augment": "raytrain.augmentations",
    "dataset": "raytrain.datasets",
    "loss": "raytrain.losses",
    "mix": "raytrain.mixes",
    "optimizer": "raytrain.optimizers",
    "schedule": "raytrain.schedules",
}
"""Group of entry points, by recipe field."""


@dataclass(frozen=True, order=True)
class Installed:
    """A name that an installed package gives.

    Attributes:
        name: The name.
        value: Module and class or function, such as "my_package.nets:convmixer".
        package: Name of the package.
        version: Version of the package.
    """

    name: str
    value: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}: {self.value}, of {self.package} {self.version}"


def installed(field: str) -> list[Installed]:
    """Return the names that installed packages give for a recipe field, sorted."""
    return list(_installed(GROUPS[field], tuple(sys.path))) if field in GROUPS else []


@cache
def _installed(group: str, _searched: tuple[str, ...]) -> tuple[Installed, ...]:
    found = {
        Installed(one.name, one.value, one.dist.name, one.dist.version)
        for one in metadata.entry_points(group=group)
        if one.dist
    }
    return tuple(sorted(found))


def installed_reference(field: str, name: str) -> Reference | None:
    """Return the code that an installed package calls `name`; None where none does.

    Raises:
        ExperimentError: Several packages do, or what the package says is no module and name in it.
    """
    found = [one for one in installed(field) if one.name == name]
    if len(found) > 1:
        raise ExperimentError(
            f"{name} is a name of {' and of '.join(f'{one.package} {one.version}' for one in found)}; "
            f"write which: {' or '.join(one.value for one in found)}"
        )
    if not found:
        return None
    reference = reference_of(found[0].value)
    if reference is None or reference.is_file or reference.digest:
        raise ExperimentError(
            f"{found[0].package} {found[0].version} says that {name} is {found[0].value!r}, under the entry points "
            f"{GROUPS[field]}; that must be a module and a name in it, such as my_package.nets:make"
        )
    return reference


def packages() -> dict[str, str]:
    """Return the version of each installed package that gives names, by its name."""
    return {one.package: one.version for field in GROUPS for one in installed(field)}
