"""Tests of raytrain.storage.replacing."""

import errno
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import ExitCode
from raytrain.storage.replacing import not_written, replace_file


def test_a_file_that_cannot_be_written_in_full_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    replace_file(path, b"first")
    whole = Path.write_bytes

    def write_a_part(self: Path, content: Any) -> int:
        whole(self, content[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["table.csv"]


def test_a_link_goes_on_leading_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"first")
    (tmp_path / "link").symlink_to("file")
    replace_file(tmp_path / "link", b"second")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"second"


def test_a_device_is_written_to() -> None:
    replace_file(Path("/dev/null"), b"anything")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, ExitCode.REFUSED), (errno.EDQUOT, 3), (errno.ENOENT, ExitCode.INVALID)]
)
def test_a_full_disk_has_an_exit_code_of_its_own(number: int, code: int) -> None:
    assert not_written(Path("x"), OSError(number, "why")).exit_code == code
