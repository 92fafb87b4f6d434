"""Links out of the folder of a data set, and devices in the place of images: never read unasked."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raytrain.data import load, read, refuse
from raytrain.data.layouts.image_tree import LISTED
from raytrain.data.layouts.source_folder import SourceFolder
from raytrain.errors import DataError
from raytrain.training.recipe import Recipe


def save(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)


def images(root: Path, first: int) -> None:
    """Write 10 images of each of two classes, in parts."""
    for number, (part, count) in enumerate({"train": 7, "test": 3}.items()):
        for label, name in enumerate(("cat", "dog")):
            for index in range(count):
                save(root / part / name / f"{index}.png", first + 100 * number + 10 * label + index)


def parquet(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        save(root / "one.png", len(part))
        rows = [{"bytes": (root / "one.png").read_bytes(), "path": None}] * 4
        pq.write_table(pa.table({"image": rows, "label": [0, 1] * 2}), root / f"{part}.parquet")
    (root / "one.png").unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    images(tmp_path / "photos", 0)
    return tmp_path / "photos"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    images(tmp_path / "elsewhere", 5000)
    return tmp_path / "elsewhere"


def link_a_file(root: Path, elsewhere: Path) -> str:
    (root / "train/cat/l.png").symlink_to(elsewhere / "train/cat/0.png")
    return "1 link leads out of the folder: train/cat/l.png"


def link_a_folder_of_a_class(root: Path, elsewhere: Path) -> str:
    (root / "train/cat/more").symlink_to(f"../../../{elsewhere.name}/train/cat")
    return "1 link leads out of the folder: train/cat/more"


def link_a_class(root: Path, elsewhere: Path) -> str:
    shutil.rmtree(root / "train/dog")
    (root / "train/dog").symlink_to(elsewhere / "train/dog")
    return "1 link leads out of the folder: train/dog"


def link_a_part(root: Path, elsewhere: Path) -> str:
    shutil.rmtree(root / "test")
    (root / "test").symlink_to(elsewhere / "test")
    return "1 link leads out of the folder: test"


def link_every_image(root: Path, elsewhere: Path) -> str:
    for file in sorted(root.rglob("*.png")):
        file.unlink()
        file.symlink_to(elsewhere / file.relative_to(root))
    named = ", ".join(f"train/cat/{number}.png" for number in range(LISTED))
    return f"20 links lead out of the folder: {named} and 15 more"


Linking = Callable[[Path, Path], str]
LINKS = [link_a_file, link_a_folder_of_a_class, link_a_class, link_a_part, link_every_image]


@pytest.mark.parametrize("link", LINKS)
def test_links_out_of_the_folder_are_refused_by_name_and_followed_when_asked(
    link: Linking, root: Path, elsewhere: Path, caplog: pytest.LogCaptureFixture
):
    said = link(root, elsewhere)
    with pytest.raises(DataError) as refused:
        load(str(root), image_size=8)
    assert str(refused.value).startswith(f"{root}: {said}; ")
    assert "--set follow_links=true" in str(refused.value)
    with caplog.at_level(logging.INFO, logger="raytrain.data"):
        followed = load(str(root), image_size=8, follow_links=True)
    assert "out of the folder" in caplog.records[-1].getMessage()
    shutil.copytree(root, root.with_name("copied"))  # copies what the links lead to
    assert followed.fingerprint == load(str(root.with_name("copied")), image_size=8).fingerprint


@pytest.mark.parametrize("link", LINKS)
def test_what_links_lead_to_is_not_opened(link: Linking, root: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    link(root, elsewhere)
    opened: list[str] = []
    for way in ("digest", "read"):
        real = getattr(SourceFolder, way)

        def record(folder: SourceFolder, name: str, real: Callable[..., object] = real, **options: object) -> object:
            opened.append(os.path.realpath(f"{folder.path}/{name}"))
            return real(folder, name, **options)

        monkeypatch.setattr(SourceFolder, way, record)
    for attempt in (load, read):
        try:
            refuse(attempt(str(root), image_size=8), skip_bad=False, name=str(root))
        except DataError as error:
            assert "out of the folder" in str(error)  # noqa: PT017 (both ways of reading refuse, at their own point)
        else:
            pytest.fail("the links were not refused")
    assert not [path for path in opened if str(elsewhere) in path]
    load(str(root), image_size=8, follow_links=True)
    assert [path for path in opened if str(elsewhere) in path]


def test_a_look_at_a_folder_shows_what_it_holds_beside_the_links(root: Path, elsewhere: Path):
    link_a_file(root, elsewhere)
    found = read(str(root), image_size=8)
    assert len(found.train) == 14
    assert found.origin.left_out["that are links out of the folder"] == 1
    with pytest.raises(DataError, match=r"train/cat/l\.png"):
        refuse(found, skip_bad=True, name=str(root))


def test_links_within_the_folder_are_followed_unasked(root: Path):
    (root / "train/cat/l.png").symlink_to("../dog/0.png")
    (root / "train/cat/more").symlink_to(root / "test/dog")
    assert len(load(str(root), image_size=8).train) == 14 + 1 + 3


def test_the_folder_itself_may_be_a_link(root: Path):
    root.with_name("link").symlink_to(root)
    (root / "train/cat/l.png").symlink_to("../dog/0.png")
    assert len(load(str(root.with_name("link")), image_size=8).train) == 15


def test_a_link_that_is_no_image_by_its_name_is_left_out(root: Path, elsewhere: Path):
    (elsewhere / "notes.txt").write_text("words")
    (root / "train/cat/notes.txt").symlink_to(elsewhere / "notes.txt")
    assert load(str(root), image_size=8).origin.left_out == {".txt": 1}


@pytest.mark.parametrize("below", ["", "data"])
def test_parquet_files_behind_links_out_of_the_folder_are_refused(below: str, tmp_path: Path):
    parquet(tmp_path / "elsewhere")
    root = tmp_path / "photos"
    if below:
        root.mkdir()
        (root / below).symlink_to(tmp_path / "elsewhere")
    else:
        parquet(root)
        (root / "train.parquet").unlink()
        (root / "train.parquet").symlink_to(tmp_path / "elsewhere" / "train.parquet")
    with pytest.raises(DataError, match=r"links? leads? out of the folder: .*train\.parquet"):
        load(str(root), image_size=8)
    assert len(load(str(root), image_size=8, follow_links=True).train) == 4


def test_the_links_of_the_hubs_cache_stay_in_the_repository(tmp_path: Path):
    repository = tmp_path / "datasets--owner--name"
    parquet(repository / "blobs")
    place = repository / "snapshots" / "c0ffee"
    place.mkdir(parents=True)
    for part in ("train", "test"):
        (repository / "blobs" / f"{part}.parquet").rename(repository / "blobs" / part)
        (place / f"{part}.parquet").symlink_to(Path("../../blobs", part))
    assert len(load(str(place), image_size=8).train) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
def test_devices_and_pipes_named_as_images_are_refused_even_with_links_followed(root: Path):
    os.mkfifo(root / "train/dog/p.png")
    (root / "train/dog/zero.png").symlink_to("/dev/zero")
    for follow_links in (False, True):
        with pytest.raises(DataError, match=r"2 images are devices, pipes or sockets: train/dog/p\.png, .*; remove"):
            load(str(root), image_size=8, follow_links=follow_links)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
def test_a_pipe_of_another_name_is_left_out_and_counted(root: Path):
    os.mkfifo(root / "train/dog/control")
    assert load(str(root), image_size=8).origin.left_out == {"that are no files, such as links to nowhere": 1}


def test_the_recipe_says_whether_links_are_followed(root: Path, elsewhere: Path):
    link_a_file(root, elsewhere)
    recipe = Recipe(dataset=str(root), image_size=8)
    with pytest.raises(DataError, match="out of the folder"):
        recipe.data_key.load()
    following = recipe.replace(follow_links=True)
    assert len(following.data_key.load().train) == 15
    assert following.digest != recipe.digest
