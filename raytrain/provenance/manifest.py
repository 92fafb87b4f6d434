"""manifest.json: under what circumstances a run folder came to be, one session for every command that worked on it."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from raytrain.data.data_key import DataKey
from raytrain.data.split import TEST_SIZE
from raytrain.errors import RunFolderError
from raytrain.provenance.versions import command_line, describe_code, describe_machine
from raytrain.runs.checks import ADVICE, check_manifest, damaged
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_whole

NAME = "manifest.json"
"""Name of the file."""


@dataclass(frozen=True)
class Inputs:
    """The images of a run, described so that its networks can be used without the training images.

    Attributes:
        dataset: Name, path or URI of the data set, as in the recipe.
        image_size: Height and width in pixels.
        val_size: Number or share of training images held out for validation, as in the recipe.
        classes: Names of the classes, in the order of the labels.
        mean: Mean per channel (red, green, blue) of the training images, on the scale [0, 1].
        std: Standard deviation per channel (red, green, blue), on the scale [0, 1].
        train: Number of training images.
        val: Number of validation images.
        test: Number of test images.
        test_size: Number or share of images held out for the test where the data set has no test part.
        columns: Names of the columns of Parquet files, as in the recipe.
        skip_bad: Whether images that cannot be read were left out.
        background: Colour behind transparent pixels.
        follow_links: Whether links were followed that lead out of the folder of the data set.
    """

    dataset: str
    image_size: int
    val_size: float
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: int
    val: int
    test: int
    test_size: float = TEST_SIZE
    columns: str = ""
    skip_bad: bool = False
    background: str = "white"
    follow_links: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Inputs":
        """Return the description that `dataclasses.asdict` made `entry` of.

        Raises:
            ValueError: It made it of something else.
        """
        return TypeAdapter(cls).validate_python(dict(entry))


class Manifest:
    """The manifest of a run folder, written when a session begins and when it ends.

    Attributes:
        folder: The run folder.
    """

    def __init__(self, folder: Folder, content: dict[str, Any]) -> None:
        self.folder = folder
        self._content = content

    @classmethod
    def open(
        cls,
        folder: Folder,
        *,
        data: Mapping[str, str],
        inputs: Sequence["Inputs"],
        seeds: Sequence[int],
        fresh: bool,
        required: bool = False,
        user_code: Sequence[Mapping[str, object]] = (),
        initial_weights: Sequence[Mapping[str, object]] = (),
    ) -> "Manifest":
        """Return the manifest of `folder` as it is, or a new one.

        Args:
            folder: The run folder.
            data: Fingerprints of the images, by label, such as "digits at 32 px".
            inputs: Descriptions of the images.
            seeds: Seeds of the experiment; those that it had before are kept, as is all else.
            fresh: Whether to ignore an earlier manifest in the folder.
            required: Whether to refuse a folder without one: it alone says which images the trials there have seen.
            user_code: Digest, SHA-256 and files of the user's code.
            initial_weights: File in the run folder and SHA-256 of the weights that trials start from.

        Raises:
            RunFolderError: The run used other images before, or its manifest is damaged or missing.
        """
        content: dict[str, Any] = {
            "data": dict(data),
            "inputs": [asdict(one) for one in inputs],
            "seeds": list(seeds),
            "sessions": [],
        }
        if user_code:
            content["user_code"] = list(user_code)
        if initial_weights:
            content["initial_weights"] = list(initial_weights)
        if fresh or not (required or folder.exists(NAME)):
            return cls(folder, content)
        before = read_manifest(folder)
        content["sessions"], known = before["sessions"], before["data"]
        for name, fingerprint in data.items():
            if known.get(name, fingerprint) != fingerprint:
                raise RunFolderError(
                    f"{folder} was run on other images: {name} has changed ({known[name]} before, {fingerprint} now).\n"
                    "Restore the images, give this run another name (--name, or `name` in its file), or delete the old "
                    "one (--fresh, or `raytrain rm`)."
                )
        # what the experiment does not name any more was trained on all the same, and may be named again
        content["data"] = {**known, **content["data"]}
        # a JSON list is no tuple, and an older entry lacks fields: equal is what makes equal Inputs
        content["inputs"] = _merged(before, content, "inputs", same=Inputs.of)
        for name in ("seeds", "user_code", "initial_weights"):
            if merged := _merged(before, content, name, same=json.dumps):
                content[name] = merged
        return cls(folder, content)

    def begin_session(self, folder: Folder | None = None) -> None:
        """Write this command, the code, the machine and the time, now and later through `folder` if it is given."""
        self.folder = folder or self.folder
        session = {
            "command": command_line(),
            "started": _now(),
            "code": describe_code(),
            "machine": describe_machine(),
        }
        self._content["sessions"].append(session)
        self._write()

    @property
    def is_open(self) -> bool:
        """Whether the newest session has no end: it is this command's, or that command was killed."""
        return any("ended" not in one for one in self._content["sessions"][-1:])

    def end_session(self) -> None:
        """Write the time at which the newest session ended; one that was killed has none."""
        self._content["sessions"][-1]["ended"] = _now()
        self._write()

    def _write(self) -> None:
        self.folder.write(NAME, json.dumps(self._content, indent=1).encode(), durable=True)


def _merged(
    before: Mapping[str, Any], content: Mapping[str, Any], name: str, *, same: Callable[[Any], Hashable]
) -> list[Any]:
    """Return the entries of a list in a manifest as it was and as it is to be, each once, the earlier ones first.

    Args:
        before: The manifest as it was.
        content: The manifest as it is to be.
        name: Name of the list; where it is missing, it has no entries.
        same: Function that returns equal values of equal entries.
    """
    entries = [*before.get(name, ()), *content.get(name, ())]
    return list({same(one): one for one in entries}.values())


def read_manifest(folder: Folder) -> dict[str, Any]:
    """Return the manifest of a run folder.

    Raises:
        RunFolderError: There is none, or it is damaged.
    """
    where = f"{folder}/{NAME}"
    if not folder.exists(NAME):
        raise RunFolderError(f"{where}: is missing\n{ADVICE}")
    try:
        content = json.loads(read_whole(folder, NAME), parse_constant=_refuse_constant)
        check_manifest(content)
        for entry in content.get("inputs", ()):
            Inputs.of(entry)
    except (ValueError, RecursionError) as error:
        raise damaged(where, error) from error
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of a manifest")


def inputs_of(manifest: Mapping[str, Any], recipe: Mapping[str, Any]) -> Inputs:
    """Return what the networks of a recipe were shown.

    Raises:
        RunFolderError: The manifest does not say; it is of an older version.
    """
    later = DataKey._field_defaults  # earlier manifests lack them
    wanted = {name: recipe[name] for name in DataKey._fields if name not in later}
    for one in manifest.get("inputs", ()):
        same = all(one.get(name, default) == recipe.get(name, default) for name, default in later.items())
        if same and {name: one[name] for name in wanted} == wanted:
            return Inputs.of(one)
    raise RunFolderError(
        f"the manifest has no entry for {wanted}: an older raytrain wrote it; run the command again with --fresh"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")  # the first session tells a run from others
