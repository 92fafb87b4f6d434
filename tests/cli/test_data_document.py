"""The page in docs/data.md on a folder with faults is what the command prints."""

import re
import shutil
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cli.data import SAME_READING
from raytrain.data.data_key import DataKey

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


def photo(seed: int, size: tuple[int, int] = (40, 24)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder `photos` with the faults that such folders have, and go to where it is."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "photos"
    counts = {"train": {"cat": 12, "dog": 12, "eel": 3}, "test": {"cat": 4, "dog": 4, "eel": 1}}
    seed = 0
    for part, of_part in counts.items():
        for name, count in of_part.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                seed += 1
                photo(seed).save(root / part / name / f"{number:02}.png")
    train, test = root / "train", root / "test"
    (train / "cat" / "2021").mkdir()
    photo(90, (64, 48)).save(train / "cat" / "2021" / "large.png")
    shutil.copy(train / "cat" / "00.png", train / "cat" / "copy.png")
    shutil.copy(train / "cat" / "01.png", train / "dog" / "cat.png")
    shutil.copy(train / "dog" / "02.png", test / "dog" / "again.png")
    Image.open(train / "dog" / "03.png").point(lambda value: value // 2 + 60).save(test / "dog" / "darker.png")
    tags = Image.Exif()
    tags[0x0112] = 6
    photo(91).save(train / "cat" / "turned.png", exif=tags)
    icon = photo(92)
    icon.putalpha(80)
    icon.save(train / "dog" / "icon.png")
    for number in range(2):
        (train / "cat" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (train / "cat" / ".DS_Store").write_bytes(b"")
    (train / "dog" / "moved.png").symlink_to("nowhere.png")
    (tmp_path / "elsewhere").mkdir()
    (train / "eel" / "album").symlink_to(tmp_path / "elsewhere")
    whole = (train / "dog" / "04.png").read_bytes()
    (train / "dog" / "04.png").write_bytes(whole[: len(whole) // 2])
    (train / "cat" / "page.jpg").write_text("<html>not found</html>")
    return root


@pytest.mark.usefixtures("photos")
def test_the_page_in_the_document_is_what_is_printed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    written = re.search(r"```\n\$ raytrain data verify photos --near\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    printed = CliRunner().invoke(app, ["data", "verify", "photos", "--near"])
    assert printed.exit_code == 2
    assert written
    if int(PIL.__version__.partition(".")[0]) >= 13:
        assert written[1] == printed.stdout + printed.stderr
    assert without_fingerprint(written[1]) == without_fingerprint(printed.stdout + printed.stderr)


def without_fingerprint(text: str) -> str:
    """Return a page without the fingerprint of the decoded images: another version of Pillow rounds otherwise."""
    lines = [line for line in text.splitlines() if not line.startswith("Fingerprint")]
    assert len(lines) == len(text.splitlines()) - 1
    return "\n".join(lines)


@pytest.mark.usefixtures("photos")
def test_files_that_code_of_the_users_names_are_on_the_page(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    Path("mine.py").write_text(
        "from pathlib import Path\n\n\ndef load():\n    files = sorted(Path('photos/train').glob('*/*.*g'))\n"
        "    return files, [file.parent.name for file in files]\n"
    )
    printed = CliRunner().invoke(app, ["data", "verify", "mine.py:load", "--skip-bad"])
    assert printed.exit_code == 0
    assert "Files       PNG 30; mode RGB 29, RGBA 1\n" in printed.stdout
    assert "Unreadable  3, which are not counted above\n" in printed.stdout
    assert "photos/train/dog/moved.png cannot be read" in printed.stdout
    assert "Left out" not in printed.stdout


def test_other_images_are_said_with_every_option_that_reads_them_otherwise():
    options = {f"--{name.replace('_', '-')}" for name in DataKey._fields} - {"--dataset", "--val-size"}
    assert {word.strip(",.") for word in SAME_READING.split() if word.startswith("--")} == options
