"""Data sets of the Hugging Face hub by name, `hf:uoft-cs/cifar10@revision`: fetched once into a folder."""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from pyarrow import fs

from raytrain.data.cache import data_home
from raytrain.data.layouts.decode import SUFFIXES
from raytrain.data.layouts.source_folder import SourceFolder
from raytrain.errors import DataError, counted
from raytrain.storage.typed_path import is_there

log = logging.getLogger(__name__)

PREFIX = "hf:"
FORM = "write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf:OWNER/NAME#CONFIGURATION"
TIMEOUT_S = 10.0
"""Seconds within which the hub must begin to answer."""
DONE = ".raytrain.json"
"""File that is written when everything is there; it says which commit that is."""
_NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def is_on_hub(dataset: str) -> bool:
    """Return whether a data set is named as one of the hub."""
    return dataset.startswith(PREFIX)


def is_fetched(address: str, configuration: str) -> bool:
    """Return whether a data set of the hub is on this machine; arguments are those of `open_repository`."""
    return is_there(_local_folder(address, configuration) / DONE)


def open_repository(address: str, configuration: str) -> SourceFolder:
    """Return the folder of a repository of data sets, fetched from the hub where it is not here yet.

    What was fetched is never looked for again: the hub is not asked, and a branch stays at the commit that it had.

    Args:
        address: `hf:OWNER/NAME`, with `@` and a branch, tag or commit behind it or without.
        configuration: Folder of the repository that is fetched alone; empty for all of it.

    Raises:
        DataError: The name is malformed, the hub has no such data set or does not answer, huggingface_hub is not
            installed, or there is no folder to keep it in.
    """
    local = _local_folder(address, configuration)
    if not is_there(local / DONE):
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{local}.lock"):  # of many processes one fetches
                if not is_there(local / DONE):
                    _fetch(address, configuration, local)
        except (OSError, NotImplementedError) as error:  # read-only, or a file system without locks
            raise DataError(
                f"{address} cannot be kept in {local.parent} ({error}); set RAYTRAIN_DATA to a folder that can be "
                "written, or give the folder of a download"
            ) from error
    return SourceFolder(fs.LocalFileSystem(), local.as_posix(), address)


def commit_of(folder: SourceFolder) -> str:
    """Return the commit of the repository that `open_repository` returned."""
    commit: str = json.loads((Path(folder.path) / DONE).read_text())["commit"]
    return commit


def _local_folder(address: str, configuration: str) -> Path:
    repository, revision = _parsed(address)
    name = "@".join([repository.replace("/", "--"), quote(revision or "main", safe="")])
    return data_home() / "hub" / (f"{name}#{quote(configuration, safe='')}" if configuration else name)


def _parsed(address: str) -> tuple[str, str]:
    match = _NAME.fullmatch(address.removeprefix(PREFIX))
    if not match:
        raise DataError(f"{address} names no data set of the Hugging Face hub; {FORM}")
    return match["repository"], match["revision"] or ""


def _fetch(address: str, configuration: str, local: Path) -> None:
    repository, revision = _parsed(address)
    try:
        import huggingface_hub
    except ImportError as error:
        raise DataError(
            f"{address} needs huggingface_hub, which is not installed; in the checkout of raytrain: "
            "pip install '.[hf]'; or give the folder of a download"
        ) from error
    hub: Any = huggingface_hub
    within = f"{configuration}/" if configuration else ""
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        about = hub.HfApi(endpoint=endpoint).dataset_info(repository, revision=revision or None, timeout=TIMEOUT_S)
        log.info("%s is fetched from the hub, at the commit %s", address, about.sha)
        wanted = [one.rfilename for one in about.siblings or () if _is_wanted(one.rfilename, within)]
        if wanted:
            hub.snapshot_download(
                repository,
                repo_type="dataset",
                revision=about.sha,
                local_dir=local,
                allow_patterns=sorted({f"{within}*{Path(name).suffix}" for name in wanted}),
                etag_timeout=TIMEOUT_S,
                endpoint=endpoint,
            )
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise DataError(
            f"{address} is not in {local} and cannot be fetched from the Hugging Face hub ({type(error).__name__}: "
            f"{said}); check the name and the network, or give the folder of a download"
        ) from error
    if not wanted:
        raise DataError(f"{address} holds no Parquet files and no images{f' in {within}' if within else ''}")
    if missing := [name for name in wanted if not is_there(local / name)]:
        # the library returns what is there when the hub no longer answers
        files = counted(len(wanted), "file")
        raise DataError(f"{address}: {len(missing):,} of {files} did not arrive; run the command again")
    (local / DONE).write_text(json.dumps({"commit": about.sha}))


def _is_wanted(name: str, within: str) -> bool:
    """Return whether a file is a Parquet file or an image, by its suffix in small or capital letters."""
    return name.startswith(within) and Path(name).suffix.lower() in {".parquet", *SUFFIXES}
