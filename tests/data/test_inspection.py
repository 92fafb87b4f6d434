from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from raytrain.data import ImageDataset, LabelledImages, read
from raytrain.data.images import image_dataset
from raytrain.data.inspection.duplicates import near_duplicates, perceptual_signs
from raytrain.data.inspection.inspection import inspect

DRAW = np.random.default_rng(0)


def drawn(count: int, size: int = 32) -> NDArray[np.uint8]:
    """Return smooth random images, as photographs are: (count, size, size, 3) uint8."""
    small = DRAW.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size))) for one in small])


def dataset(
    train: NDArray[np.uint8], test: NDArray[np.uint8], labels: list[int], test_labels: list[int]
) -> ImageDataset:
    def part(images: NDArray[np.uint8], of: list[int]) -> LabelledImages:
        return LabelledImages(np.ascontiguousarray(images), np.array(of, dtype=np.int64))

    return image_dataset(part(train, labels), part(test, test_labels), classes=("cat", "dog", "eel"))


def test_images_that_are_the_same_are_counted_within_and_across_parts():
    images = drawn(4)
    found = inspect(
        dataset(images[[0, 0, 0, 1, 2]], images[[3, 3, 1, 0]], [0, 0, 0, 1, 1], [0, 0, 0, 0]), "x", near=False
    )
    assert found["duplicates"]["within"] == {"train": 2, "test": 1}
    assert found["duplicates"]["across"] == {"train, test": 2}
    assert found["duplicates"]["other_class"] == 1  # image 1 is a dog in training and a cat in the test
    assert found["duplicates"]["groups"][0] == [
        {"part": "train", "name": "train row 3", "label": "dog"},
        {"part": "test", "name": "test row 2", "label": "cat"},
    ]
    assert found["near_duplicates"] is None
    assert "1 image is there more than once, under different classes" in found["warnings"]


def test_classes_with_few_images_or_none_are_named():
    found = inspect(dataset(drawn(14), drawn(2), [0] * 11 + [1] * 3, [0, 0]), "x", near=False)
    assert found["classes"] == {"train": {"cat": 11, "dog": 3, "eel": 0}, "test": {"cat": 2, "dog": 0, "eel": 0}}
    assert found["warnings"] == [
        "there is no training image of the class eel",
        "there is no test image of the class dog, eel",
        "there are fewer than 10 training images of the class dog (3)",
    ]


@pytest.mark.parametrize(("dogs", "said"), [(2, True), (3, False)])
def test_classes_that_differ_ten_times_in_size_are_named(dogs: int, said: bool):
    found = inspect(dataset(drawn(20 + dogs), drawn(2), [0] * 20 + [1] * dogs, [0, 1]), "x", near=False)
    unbalanced = [one for one in found["warnings"] if "10 times as many training images as dog" in one]
    assert len(unbalanced) == said
    assert all("select: balanced_accuracy" in one for one in unbalanced)


def brighter(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(255, value // 2 + 60))


def recompressed(image: Image.Image) -> Image.Image:
    return image.resize((48, 48)).resize(image.size)


@pytest.mark.parametrize("change", [brighter, recompressed])
def test_a_changed_copy_looks_like_its_image_and_no_other_does(change: Any):
    images = drawn(40)
    copy = np.asarray(change(Image.fromarray(images[7])))
    pairs = list(near_duplicates(dataset(images, copy[None], [0] * 40, [1])))
    assert [(one.part, one.number, other.part, other.number) for one, other in pairs] == [("train", 7, "test", 0)]


def test_images_that_are_the_same_are_no_near_duplicates():
    images = drawn(3)
    assert list(near_duplicates(dataset(images, images[:2], [0, 1, 1], [0, 1]))) == []


def test_more_images_than_a_block_are_compared(monkeypatch: pytest.MonkeyPatch):
    images = drawn(9)
    images[8] = np.asarray(brighter(Image.fromarray(images[1])))
    data = dataset(images, drawn(1), [0] * 9, [0])
    (whole,) = near_duplicates(data)
    monkeypatch.setattr("raytrain.data.inspection.duplicates.BLOCK", 2)
    assert [whole] == list(near_duplicates(data))
    assert (whole[0].number, whole[1].number) == (1, 8)


def test_the_search_for_images_that_look_alike_ends(monkeypatch: pytest.MonkeyPatch):
    grey = np.arange(6, dtype=np.uint8)[:, None, None, None] + drawn(1) // 2
    data = dataset(grey, drawn(1), [0] * 6, [0])
    assert len(list(near_duplicates(data))) == 15
    monkeypatch.setattr("raytrain.data.inspection.inspection.MOST_PAIRS", 4)
    found = inspect(data, "x", near=True)
    assert found["near_duplicates"] is not None
    assert found["near_duplicates"]["within"] == {"train": 4, "test": 0}
    assert "more than 4 pairs of images look alike; no more were looked for" in found["warnings"]


def test_the_hash_is_the_sign_of_the_lowest_frequencies():
    """A slow transform by its definition, of one image."""
    (image,) = drawn(1)
    grey = image @ np.array([0.299, 0.587, 0.114])
    steps = (np.arange(32) + 0.5) * np.pi / 32
    waves = np.array([np.cos(frequency * steps) for frequency in range(8)])
    low = (waves @ grey @ waves.T).ravel()
    expected = np.where(low > np.median(low[1:]), 1, -1)
    expected[0] = 1
    assert perceptual_signs(image[None])[0].tolist() == expected.tolist()


def test_the_files_are_described(tmp_path: Path):
    for part, offset in (("train", 0), ("test", 2)):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            image = Image.fromarray(drawn(1, 16 + 8 * number)[0])
            tags = Image.Exif()
            tags[0x0112] = 6
            if number:
                image.save(tmp_path / part / name / f"{offset}.jpg", exif=tags)
            else:
                image.putalpha(100)
                image.save(tmp_path / part / name / f"{offset}.png")
    (tmp_path / "train" / "cat" / "x.heic").write_bytes(b"")
    (tmp_path / "train" / "cat" / "x.jpg").write_bytes(b"")
    for _ in ("decoded", "from the cache"):
        found = inspect(read(str(tmp_path), image_size=8), "x", near=False)
        assert found["files"] == {
            "formats": {"PNG": 2, "JPEG": 2},
            "modes": {"RGBA": 2, "RGB": 2},
            "sizes": {"16x16": 2, "24x24": 2},
            "turned": 2,
            "background": "white",
            "transparent": 2,
        }
        assert (found["left_out"], found["labels"]) == ({".heic": 1}, "folders")
        (unreadable,) = found["unreadable"]
        assert unreadable["name"] == "train/cat/x.jpg"
