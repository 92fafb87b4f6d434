"""Images that do not fit into memory: the same numbers from files, and no copy."""

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from raytrain.data import LabelledImages, Splits, load, progress, read, split
from raytrain.data.batches import on_device
from raytrain.data.images import image_dataset
from raytrain.data.layouts import collected
from raytrain.data.mapped import MappedImages, joined, rows_of
from raytrain.errors import DataError, PreflightError
from raytrain.training.evaluation import TrainingData, predict
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

SIZE = 8
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after whose call the images of the tests do not fit."""
    return lambda: monkeypatch.setattr("raytrain.data.cache.memory_limit", lambda: 100)


def mapped(path: Path, count: int, *, seed: int = 0) -> tuple[MappedImages, np.ndarray]:
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
    np.save(path / f"{seed}.npy", images)
    return MappedImages.of(path / f"{seed}.npy"), images


@pytest.mark.parametrize("which", [3, -1, slice(2, 6), slice(0, 0), np.array([5, 0, 5])], ids=str)
def test_rows_of_two_files_are_those_of_the_arrays(which: Any, tmp_path: Path):
    (one, first), (two, second) = mapped(tmp_path, 4, seed=0), mapped(tmp_path, 3, seed=1)
    whole, expected = joined(one, two), np.concatenate([first, second])
    assert isinstance(whole, MappedImages)
    assert (whole.shape, whole.nbytes) == (expected.shape, expected.nbytes)
    np.testing.assert_array_equal(whole[which], expected[which])


def test_rows_of_rows_are_counted_among_them(tmp_path: Path):
    images, expected = mapped(tmp_path, 6)
    some, of_those = np.array([4, 1, 3]), np.array([2, 0])
    part = rows_of(rows_of(images, some), of_those)
    np.testing.assert_array_equal(part[:], expected[some][of_those])


def test_what_is_pickled_is_where_the_images_are(tmp_path: Path):
    images, expected = mapped(tmp_path, 4)
    sent = pickle.dumps(images)
    assert expected.tobytes()[:60] not in sent
    np.testing.assert_array_equal(pickle.loads(sent)[:], expected)


def test_on_a_machine_without_the_file_the_message_says_what_to_do(tmp_path: Path):
    images, _ = mapped(tmp_path, 4)
    sent = pickle.loads(pickle.dumps(images))
    images.files[0].unlink()
    with pytest.raises(DataError, match="RAYTRAIN_DATA to a folder that all machines share"):
        sent[0]


def test_an_image_folder_that_does_not_fit_is_the_same_from_its_files(
    tiny_images: str, small_memory: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    inside = load(tiny_images, image_size=SIZE)
    small_memory()
    from_the_same_cache = load(tiny_images, image_size=SIZE)
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "other"))
    decoded_there = load(tiny_images, image_size=SIZE)
    for found in (from_the_same_cache, decoded_there):
        assert isinstance(found.train.images, MappedImages)
        assert isinstance(found.test.images, MappedImages)
        assert (found.fingerprint, found.origin.names) == (inside.fingerprint, inside.origin.names)
        np.testing.assert_array_equal(found.train.images[:], inside.train.images)
        np.testing.assert_array_equal(found.test.labels, inside.test.labels)


def write_parquet(folder: Path, *, rows: int, broken: int) -> None:
    """Write images of which one cannot be read, and test images without labels."""
    import io

    from PIL import Image

    def encoded(value: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (SIZE, SIZE), (value, 2 * value, 0)).save(file, format="PNG")
        return file.getvalue()

    images = [encoded(row) for row in range(rows)]
    images[broken] = b"no image"
    for part, first, labels in (("train", 0, [0, 1] * rows), ("val", 2, [1, 0] * rows), ("test", 4, [-1] * rows)):
        kept = images[first:]
        table = pa.table({"image": kept, "label": labels[: len(kept)]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=3)


def test_parquet_files_that_do_not_fit_lose_what_cannot_be_read_and_what_has_no_label(
    tmp_path: Path, small_memory: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    write_parquet(tmp_path, rows=9, broken=1)
    inside = read(str(tmp_path), image_size=SIZE)
    small_memory()
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "other"))
    found = read(str(tmp_path), image_size=SIZE)
    assert len(found.train) == 8
    assert (found.fingerprint, found.origin.unreadable) == (inside.fingerprint, inside.origin.unreadable)
    np.testing.assert_array_equal(found.train.images[:], inside.train.images)
    (entry,) = (tmp_path / "other" / "decoded").glob("*/dataset.json")
    assert sorted(file.name for file in entry.parent.glob("*.npy")) == [
        f"{part}_{what}.npy" for part in ("test", "train") for what in ("images", "labels")
    ]


def test_test_images_without_labels_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    write_parquet(tmp_path, rows=9, broken=1)
    used = (9 + 7) * SIZE**2 * 3
    monkeypatch.setattr("raytrain.data.cache.most_in_memory", lambda: used)
    with caplog.at_level(logging.INFO):
        assert isinstance(read(str(tmp_path), image_size=SIZE).train.images, np.ndarray)
        assert "the images take" not in caplog.text
        monkeypatch.setattr("raytrain.data.cache.most_in_memory", lambda: used - 1)
        assert isinstance(read(str(tmp_path), image_size=SIZE).train.images, MappedImages)


def test_interrupted_decoding_leaves_nothing_and_starts_over(
    tiny_images: str, small_memory: Callable[[], None], monkeypatch: pytest.MonkeyPatch, home: Path
):
    small_memory()
    with monkeypatch.context() as patch:

        def interrupt(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(collected.CollectedImages, "images", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(tiny_images, image_size=SIZE)
    assert [file.suffix for file in (home / "decoded").iterdir()] in ([], [".lock"])
    assert len(load(tiny_images, image_size=SIZE).train) == 40


def test_what_was_decoded_is_opened_again_without_reading_it(
    tiny_images: str, small_memory: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    small_memory()
    first = load(tiny_images, image_size=SIZE)
    monkeypatch.setattr(MappedImages, "__getitem__", None)
    assert load(tiny_images, image_size=SIZE).fingerprint == first.fingerprint


def test_a_decoded_file_that_was_changed_is_decoded_again(
    tiny_images: str, small_memory: Callable[[], None], caplog: pytest.LogCaptureFixture
):
    small_memory()
    first = load(tiny_images, image_size=SIZE)
    assert isinstance(first.train.images, MappedImages)
    file = first.train.images.files[0]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(0, 0))
    again = load(tiny_images, image_size=SIZE)
    assert "built again" in caplog.text
    assert again.fingerprint == first.fingerprint
    assert file.read_bytes() == content


def test_a_disk_without_room_is_named_before_anything_is_decoded(
    tiny_images: str, small_memory: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    small_memory()
    monkeypatch.setattr("raytrain.data.cache.free_bytes", lambda _: 50 * SIZE**2 * 3 - 1)
    monkeypatch.setattr("raytrain.data.layouts.folder.decode_all", None)
    with pytest.raises(PreflightError, match=r"(?s)cannot be written to .*decoded .*GiB are free.*RAYTRAIN_DATA"):
        load(tiny_images, image_size=SIZE)


def test_a_cache_that_cannot_be_written_cannot_be_done_without(
    tiny_images: str, small_memory: Callable[[], None], home: Path
):
    small_memory()
    home.write_text("a file where the folder should be")
    with pytest.raises(PreflightError, match="cannot be written"):
        load(tiny_images, image_size=SIZE)


def test_progress_is_told_while_images_are_decoded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    now = iter([0.0, 5.0, 12.0, 13.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    images = collected.CollectedImages(4000, image_size=2, part="train", disk_folder=None)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            images.add(np.zeros((999, 2, 2, 3), dtype=np.uint8), of=1000)
    assert [record.message for record in caplog.records] == ["2,000 of 4,000 training images are decoded, 12 s left"]
    assert images.images().shape == (2997, 2, 2, 3)


def both(path: Path, *, own_val: bool = False) -> tuple[Any, Any]:
    """Return a data set in memory, and the same from files."""
    draw = np.random.default_rng(0)
    arrays = {name: draw.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8) for name, count in COUNTS.items()}
    whole: list[dict[str, LabelledImages]] = [{}, {}]
    for name, images in arrays.items():
        np.save(path / f"{name}.npy", images)
        labels = np.arange(len(images)) % 3
        for parts, source in zip(whole, (images, MappedImages.of(path / f"{name}.npy")), strict=True):
            parts[name] = LabelledImages(source, labels)
    given = [(parts["train"], parts["test"], parts["val"] if own_val else None) for parts in whole]
    inside, outside = (image_dataset(one, two, classes=("a", "b", "c"), val=val) for one, two, val in given)
    return inside, outside


COUNTS = {"train": 50, "val": 9, "test": 10}


@pytest.mark.parametrize(("own_val", "val_size"), [(False, 0.2), (False, 0), (True, 0.2), (True, 0)])
def test_a_split_of_files_is_that_of_the_arrays_and_copies_nothing(tmp_path: Path, own_val: bool, val_size: float):
    inside, outside = both(tmp_path, own_val=own_val)
    expected, found = split(inside, val_size), split(outside, val_size)
    assert (found.mean, found.std, found.fingerprint) == (expected.mean, expected.std, expected.fingerprint)
    for name in ("train", "val", "test"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert isinstance(mine.images, MappedImages)
        np.testing.assert_array_equal(mine.images[:], theirs.images)
        np.testing.assert_array_equal(mine.labels, theirs.labels)


def trained(splits: Splits) -> tuple[list[Any], dict[str, torch.Tensor], bytes]:
    recipe = Recipe(
        arch="resnet18",
        width=4,
        image_size=SIZE,
        batch_size=8,
        epochs=1,
        augment=("crop", "alternating_flip"),
        val_size=0.2,
    )
    data = TrainingData.on(CPU, splits)
    state = TrainState.create(recipe, num_classes=3, device=CPU, data=data)
    epochs = [(one.train_loss, one.train_accuracy, one.val) for one in train(recipe, state, data)]
    _, predictions = predict(state.model, data.test, data=data, precision="fp32")
    return epochs, state.model.state_dict(), predictions.to_bytes()


def test_training_from_files_is_training_from_memory_bit_for_bit(tmp_path: Path):
    inside, outside = both(tmp_path)
    expected, found = trained(split(inside, 0.2)), trained(split(outside, 0.2))
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][name], tensor) for name, tensor in expected[1].items())
    assert found[2] == expected[2]


def test_files_are_left_where_they_are_when_a_gpu_has_no_room_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images, _ = mapped(tmp_path, 4)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 10_000))
    data = on_device(LabelledImages(images, np.arange(4)), torch.device("cuda", 0))
    assert data.images is images
    assert data.labels.device == CPU
