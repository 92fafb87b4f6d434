"""References to code of the user's own, as a recipe names it.

    my_net.py:MyNet                     the class or function MyNet in a file
    my_package.nets:make                the same in a module of a package
    my_net.py:MyNet@3f2a9c1b7d04        with the digest of the source: the form that recipes keep

A recipe keeps the last form only, so a trial's identity covers its code, and reading a recipe never reads a file.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

DIGEST_LENGTH = 12
"""Hex digits of the SHA-256 of the source that stand in a reference."""
LIBRARIES = ("timm", "torchvision", "hf")
"""Words before a colon that name the networks of a library, or data sets of the hub, instead of a module of the
user's."""
_REFERENCE = re.compile(
    rf"(?:(?P<file>[^:@(){{}}\[\],]+\.py)|(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*))"
    rf":(?P<attribute>[A-Za-z_]\w*)(?:@(?P<digest>[0-9a-f]{{{DIGEST_LENGTH}}}))?"
)
_WITH_DIGEST = re.compile(rf":[A-Za-z_]\w*(@([0-9a-f]{{{DIGEST_LENGTH}}}))(?=[(+]|$)")
"""A digest in the text of a component, or of several, joined by "+"."""


@dataclass(frozen=True)
class Reference:
    """A name that stands for code of the user's own.

    Attributes:
        file_or_module: Path of a file, or name of a module.
        attribute: Name of the class or function in it.
        digest: Digest of the source; None before it has been read.
    """

    file_or_module: str
    attribute: str
    digest: str | None

    @property
    def is_file(self) -> bool:
        """Whether `file_or_module` is the path of a file."""
        return self.file_or_module.endswith(".py")

    @property
    def as_written(self) -> str:
        """The reference as its user writes it, without the digest."""
        return f"{self.file_or_module}:{self.attribute}"

    def __str__(self) -> str:
        return self.as_written + (f"@{self.digest}" if self.digest else "")


def reference_of(name: str) -> Reference | None:
    """Return the reference that a name is, or None for any other name."""
    match = _REFERENCE.fullmatch(name.strip())
    if not match or match["module"] in LIBRARIES:
        return None
    return Reference(match["file"] or match["module"], match["attribute"], match["digest"])


def digests_in(texts: Iterable[object]) -> list[str]:
    """Return the digests that the texts of components name, each once, in order."""
    found = [match[2] for text in texts if isinstance(text, str) for match in _WITH_DIGEST.finditer(text)]
    return list(dict.fromkeys(found))


def texts_in(values: object) -> list[str]:
    """Return every text in nested dicts and lists that names code with its digest, each once, in order."""
    if isinstance(values, dict):  # a value of the grid that has axes of its own is a key
        return list(dict.fromkeys(text for pair in values.items() for one in pair for text in texts_in(one)))
    if isinstance(values, list | tuple):
        return list(dict.fromkeys(text for value in values for text in texts_in(value)))
    return [values] if isinstance(values, str) and digests_in([values]) else []


def without_digest(text: str) -> str:
    """Return the text of a component as its user wrote it: `my_net.py:MyNet(depth=3)`."""
    return _WITH_DIGEST.sub(lambda match: match[0].replace(match[1], ""), text)


def mapped(value: object, change: Callable[[str], str]) -> object:
    """Return a recipe field's value with every component name changed, wherever it stands.

    Args:
        value: A name, a name with arguments as text or as a mapping, or a list of these.
        change: Takes a name without arguments.
    """
    if isinstance(value, str):
        name, bracket, arguments = value.partition("(")
        return change(name) + bracket + arguments
    if isinstance(value, dict):
        return {change(str(name)): arguments for name, arguments in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(one, change) for one in value)
    return value
