"""Data sets as people have them, each with what a user expects of it: a table of layouts, faults and labels."""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raytrain.data import load, split
from raytrain.errors import DataError

LABELS = [0, 1] * 10
NAMES = ["cat", "dog"]
Save = Callable[[Path, int, int], None]


def picture(label: int, seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Return a cat, whose upper half is bright, or a dog, whose lower half is."""
    pixels = np.random.default_rng(seed).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    half = size[1] // 2
    pixels[half * label : half * (label + 1)] += 180
    return Image.fromarray(pixels)


def plain(file: Path, label: int, seed: int) -> None:
    picture(label, seed).save(file)


def folders(root: Path, *parts: str, count: int = 6, suffix: str = "png", save: Save = plain, below: str = ".") -> None:
    """Write part/class/below/number.suffix, no two images alike."""
    for number, part in enumerate(parts):
        for label, name in enumerate(NAMES):
            place = root / part / name / below
            place.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                save(place / f"{index}.{suffix}", label, 1000 * number + 100 * label + index + (below != ".") * 50)


def tables(
    root: Path,
    labels: Any,
    *parts: str,
    columns: tuple[str, str] = ("image", "label"),
    named: bool = False,
    bare: bool = False,
    file: str = "{}-00000-of-00001.parquet",
) -> None:
    """Write a Parquet file for each part, as the Hugging Face hub lays them out."""
    for number, part in enumerate(parts or ("train", "test")):
        files = []
        for index in range(len(labels)):
            data = io.BytesIO()
            picture(index % 2, 1000 * number + index).save(data, "PNG")
            files.append(data.getvalue())
        image, label = columns
        table = pa.table({image: files if bare else [{"bytes": one, "path": None} for one in files], label: labels})
        if named:
            about = {"info": {"features": {label: {"names": NAMES, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
        place = root / file.format(part)
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place)


# ---------------------------------------------------------------- what several of them need


def with_nested(root: Path) -> None:
    folders(root, "train", "test")
    folders(root, "train", below="2021")


def with_unreadable_suffixes(root: Path) -> None:
    folders(root, "train", "test")
    for number in range(5):
        (root / "train" / "cat" / f"{number}.heic").write_bytes(b"\0\0\0\x18ftypheic")
        (root / "train" / "dog" / f"{number}.jfif").write_bytes(b"x")


def with_link_to_nowhere(root: Path) -> None:
    folders(root, "train", "test")
    (root / "train" / "cat" / "z.png").symlink_to("nowhere.png")


def with_latin_name(root: Path) -> None:
    folders(root, "train", "test")
    with open(os.fsencode(root / "train" / "cat") + b"/na\xefve.png", "wb") as file:  # noqa: PTH123 (the name is bytes)
        picture(0, 999).save(file, "PNG")


def every_third_broken(file: Path, label: int, seed: int) -> None:
    if seed % 3:
        plain(file, label, seed)
    else:
        file.write_bytes(b"\xff\xd8\xff")


def turned(file: Path, label: int, seed: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    picture(label, seed, (16, 16)).rotate(90, expand=True).save(file, exif=tags)


def cut_out(file: Path, label: int, _seed: int) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[8 * label : 8 * (label + 1), :, 3] = 255
    Image.fromarray(pixels).save(file)


def with_test_copied(root: Path) -> None:
    folders(root, "train")
    shutil.copytree(root / "train", root / "test")


def without_test_labels(root: Path) -> None:
    tables(root, LABELS, "train", "validation", named=True)
    tables(root, [-1] * 4, "test", named=True)


def with_second_download(root: Path) -> None:
    tables(root, LABELS)
    shutil.copy(root / "train-00000-of-00001.parquet", root / "train-00000-of-00001 (1).parquet")


def with_pointer(root: Path) -> None:
    tables(root, LABELS)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (root / "train-00000-of-00001.parquet").write_text(pointer)


def with_configurations(root: Path) -> None:
    for name in ("large", "small"):
        tables(root / name, LABELS)


class Expected(NamedTuple):
    """What loading gives, with `val_size` 0.25 and `test_size` 0.2: numbers of images, names of the classes, a line."""

    train: int
    val: int
    test: int
    said: str = ""
    classes: tuple[str, ...] = ("cat", "dog")
    load: dict[str, Any] = {}  # noqa: RUF012 (only read)
    behind: str = ""


NUMBERED = ("0", "1")
KINDS: dict[str, tuple[Callable[[Path], None], Expected | str]] = {
    "train and test": (lambda root: folders(root, "train", "test"), Expected(9, 3, 12)),
    "train and val": (
        lambda root: folders(root, "train", "val"),
        Expected(9, 3, 12, "there is no test/, so val/ is the test set"),
    ),
    "train, valid and test": (lambda root: folders(root, "train", "valid", "test"), Expected(12, 12, 12)),
    "classes alone": (
        lambda root: folders(root, ".", count=30),
        Expected(36, 12, 12, "no test part, so 12 images are set aside"),
    ),
    "train alone": (lambda root: folders(root, "train", count=30), Expected(36, 12, 12, "12 images are set aside")),
    "folders in a class": (with_nested, Expected(18, 6, 12)),
    "pgm": (lambda root: folders(root, "train", "test", suffix="pgm"), Expected(9, 3, 12)),
    "heic": (with_unreadable_suffixes, Expected(9, 3, 12, "left out, because only images are read: 5 .heic, 5 .jfif")),
    "link to nowhere": (with_link_to_nowhere, Expected(9, 3, 12, "1 that is no file, such as a link to nowhere")),
    "name that is no UTF-8": (with_latin_name, Expected(10, 3, 12)),
    "broken images": (
        lambda root: folders(root, "train", "test", suffix="jpg", save=every_third_broken),
        r"8 images cannot be read:\n  .*train/cat/0\.jpg (?s:.*)--set skip_bad=true",
    ),
    "broken images, skipped": (
        lambda root: folders(root, "train", "test", suffix="jpg", save=every_third_broken),
        Expected(6, 2, 8, "without 8 images that cannot be read", load={"skip_bad": True}),
    ),
    "turned": (
        lambda root: folders(root, "train", "test", suffix="jpg", save=turned),
        Expected(9, 3, 12, "24 are turned as their EXIF data says"),
    ),
    "transparent": (
        lambda root: folders(root, "train", "test", save=cut_out),
        Expected(9, 3, 12, "all training images are the same in the class cat, dog"),
    ),
    "test is train": (with_test_copied, "the 12 test images are the training images"),
    "plain_text": (
        lambda root: tables(root, LABELS, file="plain_text/{}-00000.parquet"),
        Expected(15, 5, 20, classes=NUMBERED),
    ),
    "default": (
        lambda root: tables(root, LABELS, file="default/{}-00000.parquet"),
        Expected(15, 5, 20, classes=NUMBERED),
    ),
    "as the hub converts": (
        lambda root: tables(root, LABELS, file="default/{}/0000.parquet"),
        Expected(15, 5, 20, classes=NUMBERED),
    ),
    "train and validation": (
        lambda root: tables(root, LABELS, "train", "validation"),
        Expected(15, 5, 20, "the validation images are the test set", classes=NUMBERED),
    ),
    "three splits": (
        lambda root: tables(root, LABELS, "train", "validation", "test", named=True),
        Expected(20, 20, 20),
    ),
    "ImageNet": (without_test_labels, Expected(15, 5, 20, "the 4 test images have no labels and are not used")),
    "labels": (
        lambda root: tables(root, LABELS, columns=("image", "labels")),
        Expected(15, 5, 20, classes=NUMBERED),
    ),
    "other columns": (
        lambda root: tables(root, LABELS, columns=("photo", "species")),
        r"has no image column; it has photo, species; name it img or image, or say which",
    ),
    "other columns, named": (
        lambda root: tables(root, LABELS, columns=("photo", "species")),
        Expected(15, 5, 20, classes=NUMBERED, load={"columns": "image=photo,label=species"}),
    ),
    "plain bytes": (lambda root: tables(root, LABELS, bare=True), Expected(15, 5, 20, classes=NUMBERED)),
    "words": (lambda root: tables(root, NAMES * 10), Expected(15, 5, 20)),
    "dictionary": (lambda root: tables(root, pa.array(NAMES * 10).dictionary_encode()), Expected(15, 5, 20)),
    "true and false": (
        lambda root: tables(root, [True, False] * 10),
        Expected(15, 5, 20, classes=("false", "true")),
    ),
    "from 1": (
        lambda root: tables(root, [1, 2] * 10),
        Expected(15, 5, 20, "do not count from 0; the classes are 1, 2", classes=("1", "2")),
    ),
    "with a gap": (
        lambda root: tables(root, [0, 7] * 10),
        Expected(15, 5, 20, "the classes are 0, 7", classes=("0", "7")),
    ),
    "hashes": (
        lambda root: tables(root, [0, 300_000_000] * 10),
        Expected(15, 5, 20, "the classes are 0, 300000000", classes=("0", "300000000")),
    ),
    "second download": (with_second_download, r"\(1\)\.parquet and .*parquet are copies of each other"),
    "missing shard": (
        lambda root: tables(root, LABELS, file="{}-00000-of-00003.parquet"),
        "of 3 files, 1, 2 are missing",
    ),
    "Git LFS": (with_pointer, "is a Git LFS pointer, not the file; fetch it with: git lfs pull"),
    "configurations": (with_configurations, "several data sets: large, small; name one, such as .*#large"),
    "configurations, named": (with_configurations, Expected(15, 5, 20, classes=NUMBERED, behind="#small")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_gives_what_its_user_expects(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    if kind == "name that is no UTF-8" and sys.platform != "linux":
        pytest.skip("other systems do not store such a name")
    make, expected = KINDS[kind]
    make(tmp_path)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            load(str(tmp_path), image_size=8)
        return
    for _ in ("decoded", "from the cache"):
        caplog.clear()
        with caplog.at_level("INFO", logger="raytrain.data"):
            dataset = load(f"{tmp_path}{expected.behind}", image_size=8, **expected.load)
        splits = split(dataset, 0.25)
        assert (len(splits.train), len(splits.val), len(splits.test)) == expected[:3]
        assert dataset.classes == expected.classes
        assert expected.said in caplog.text
        assert caplog.records[-1].getMessage().startswith(f"{tmp_path}{expected.behind}: {len(dataset.train)} training")


@pytest.mark.parametrize("kind", ["train and test", "pgm", "turned", "transparent", "plain bytes", "words"])
def test_what_a_person_sees_tells_the_classes_apart(kind: str, tmp_path: Path):
    KINDS[kind][0](tmp_path)
    train = load(str(tmp_path), image_size=8).train
    upper, lower = train.images[:, :4].mean(axis=(1, 2, 3)), train.images[:, 4:].mean(axis=(1, 2, 3))
    bright_above = lower > upper if kind == "transparent" else upper > lower  # a cat of icons is black above, on white
    np.testing.assert_array_equal(bright_above, train.labels == 0)
