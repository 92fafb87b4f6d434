"""The user's code in a run folder, `code/<digest>/my_net.py`: written before the first trial, never run unasked."""

import json
from collections.abc import Iterable
from typing import Any, cast

from pydantic import TypeAdapter

from raytrain.errors import RunFolderError, StorageError
from raytrain.storage.folder import Folder
from raytrain.user_code.declared import Declared, declared, remember
from raytrain.user_code.reference import digests_in, texts_in, without_digest
from raytrain.user_code.source import MAX_BYTES, Files, Source, difference, keep_all, kept, lies_inside, texts_of

CODE = "code"
"""Name of the folder."""
FILES = "files.json"
"""Name of the file beside the source that lists its files."""
PARAMETERS = "parameters.json"
"""Name of the file in `CODE` that says what the functions take."""
_DECLARED: TypeAdapter[Declared] = TypeAdapter(Declared)


def write_code(folder: Folder, texts: Iterable[str]) -> None:
    """Write into a run folder the source of what texts of components name, where this process keeps it."""
    texts = list(texts)
    if found := declared(texts):
        (folder / CODE).write(PARAMETERS, json.dumps(found).encode())
    for digest, files in texts_of(digests_in(texts)).items():
        there = folder / CODE / digest
        for name, text in files.items():
            inside, _, last = name.rpartition("/")
            (there / inside if inside else there).write(last, text.encode())
        there.write(FILES, json.dumps(sorted(files)).encode())


def remember_parameters(folder: Folder) -> None:
    """Keep in this process what the functions of a run's code take, so that its trials are listed as the run has them.

    Raises:
        RunFolderError: The file is damaged.
    """
    there = folder / CODE
    try:
        remember(_DECLARED.validate_json(there.read(PARAMETERS, most=MAX_BYTES)))
    except FileNotFoundError:  # a run without code, or of an earlier version
        return
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RunFolderError(
            f"{there}/{PARAMETERS} cannot be read ({reason}); give the command again that began the run, which writes "
            "it anew"
        ) from error


def read_code(folder: Folder, digests: Iterable[str]) -> dict[str, Files]:
    """Return the source of each digest from a run folder, as text: nothing is imported.

    Raises:
        RunFolderError: It is missing, or has been changed.
        StorageError: The storage does not answer.
    """
    found: dict[str, Files] = {}
    for digest in digests:
        there = folder / CODE / digest
        try:
            files: Files = {}
            names: Any = json.loads(there.read(FILES, most=MAX_BYTES))
            if not isinstance(names, list) or not all(map(lies_inside, cast("list[Any]", names))):
                raise ValueError(f"{FILES} is no list of paths below it")  # noqa: TRY301 (as what is not JSON)
            for name in names:
                inside, _, last = name.rpartition("/")
                files[name] = (there / inside if inside else there).read(last, most=MAX_BYTES).decode()
        except StorageError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{there} cannot be read ({error}); the code of the run is missing there") from error
        if Source(files).digest != digest:
            raise RunFolderError(f"{there} has been changed: its content no longer has the digest {digest}")
        found[digest] = files
    return found


def keep_code(folder: Folder, digests: Iterable[str], *, allowed: bool) -> None:
    """Keep the user's code in a run folder in this process, so that its trials can go on.

    Args:
        folder: The run folder.
        digests: Digests of the code that its experiment names.
        allowed: Whether the user has allowed it to run.

    Raises:
        RunFolderError: There is some, and it is not allowed; or it is missing or changed.
    """
    found = read_code(folder, [digest for digest in digests if kept(digest) is None])
    if found and not allowed:
        sources = "; ".join(str(Source(files)) for files in found.values())
        raise RunFolderError(
            f"{folder} brings code: {sources}. It would run with your rights.\n"
            f"Read it in {folder}/{CODE}, then add --allow-code; or give the command again that began the run."
        )
    keep_all(found)


def described(digests: Iterable[str]) -> list[dict[str, object]]:
    """Return what the manifest says of the user's code: digest, SHA-256 and files."""
    sources = [source for digest in digests if (source := kept(digest))]
    return [{"digest": one.digest, "sha256": one.sha256, "files": sorted(one.files)} for one in sources]


def code_difference(folder: Folder, before: object, now: object) -> str:
    """Return how the user's code differs between two experiments, as a unified diff; "" where only names differ.

    Args:
        folder: Run folder with the code of the earlier experiment.
        before: The earlier experiment, as a dict.
        now: The other one, whose code this process keeps.
    """
    old, new = ({without_digest(text): text for text in texts_in(values)} for values in (before, now))
    shown: list[str] = []
    for name in dict.fromkeys(name for name in old if name in new and old[name] != new[name]):
        (earlier,), (later,) = digests_in([old[name]]), digests_in([new[name]])
        try:
            files = read_code(folder, [earlier])[earlier]
        except RunFolderError:
            continue
        shown.append(difference(files, texts_of([later]).get(later, {})))
    return "\n".join(dict.fromkeys(shown))
