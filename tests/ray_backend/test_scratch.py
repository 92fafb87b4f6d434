"""Tests of what an error that ended Tune is taken for; Ray is not started."""

import errno
from pathlib import Path

from raytrain.ray_backend.tuner import is_of_storage
from raytrain.storage.folder import Folder


def test_an_error_of_a_connection_or_of_another_file_is_none_of_the_storage(tmp_path: Path) -> None:
    scratch = Folder.at(str(tmp_path / "scratch"))
    assert not is_of_storage(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), scratch)
    assert not is_of_storage(FileNotFoundError(errno.ENOENT, "no such file", "/elsewhere/my_data.npy"), scratch)


def test_a_full_disk_or_an_error_that_names_the_folder_is_one_of_the_storage(tmp_path: Path) -> None:
    scratch = Folder.at(str(tmp_path / "scratch"))
    assert is_of_storage(OSError(errno.ENOSPC, "no space left"), scratch)
    assert is_of_storage(OSError(f"AWS error: cannot put {scratch}/tune/x"), scratch)


def test_an_error_is_one_of_the_storage_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("no folder")
    assert is_of_storage(OSError("something"), Folder.at(str(tmp_path / "scratch")))
