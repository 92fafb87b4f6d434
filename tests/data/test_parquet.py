import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from raytrain.data import load
from raytrain.errors import DataError


def picture(seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def write(file: Path, images: list[Any], labels: list[Any], *, names: list[str] | None = None, **columns: str) -> None:
    image, label = columns.get("image", "img"), columns.get("label", "label")
    table = pa.table({image: images, label: labels})
    if names:
        about = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def struct(seed: int, size: tuple[int, int] = (8, 8)) -> dict[str, Any]:
    return {"bytes": png(picture(seed, size)), "path": None}


def write_both(folder: Path, **options: Any) -> None:
    write(folder / "train.parquet", [struct(0), struct(1), struct(2)], [1, 0, 1], **options)
    write(folder / "test.parquet", [struct(3)], [0], **options)


def test_images_and_labels_are_those_written(tmp_path: Path):
    write_both(tmp_path)
    dataset = load(str(tmp_path), image_size=8)
    for row in range(3):
        np.testing.assert_array_equal(dataset.train.images[row], np.asarray(picture(row)))
    np.testing.assert_array_equal(dataset.test.images[0], np.asarray(picture(3)))
    assert dataset.train.labels.tolist() == [1, 0, 1]
    assert (dataset.train.images.dtype, dataset.train.labels.dtype) == (np.uint8, np.int64)


def test_a_uri_holds_the_same_as_the_path(tmp_path: Path):
    write_both(tmp_path)
    by_path, by_uri = load(str(tmp_path), image_size=8), load(tmp_path.as_uri(), image_size=8)
    assert by_uri.fingerprint == by_path.fingerprint


def test_several_files_are_read_in_the_order_of_their_names(tmp_path: Path):
    write(tmp_path / "data" / "train-00001.parquet", [struct(1)], [1])
    write(tmp_path / "data" / "train-00000.parquet", [struct(0)], [0])
    write(tmp_path / "data" / "test-00000.parquet", [struct(2)], [0])
    dataset = load(str(tmp_path), image_size=8)
    assert dataset.train.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(dataset.train.images[1], np.asarray(picture(1)))


@pytest.mark.parametrize("label", ["label", "fine_label"])
@pytest.mark.parametrize("image", ["img", "image"])
def test_columns_may_have_either_name_and_plain_bytes(image: str, label: str, tmp_path: Path):
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", [png(picture(0))], [0], image=image, label=label)
    np.testing.assert_array_equal(load(str(tmp_path), image_size=8).train.images[0], np.asarray(picture(0)))


def test_class_names_come_from_the_metadata(tmp_path: Path):
    write_both(tmp_path, names=["cat", "dog", "eel"])
    assert load(str(tmp_path), image_size=8).classes == ("cat", "dog", "eel")


def test_classes_without_names_are_numbered(tmp_path: Path):
    write_both(tmp_path)
    assert load(str(tmp_path), image_size=8).classes == ("0", "1")


def test_other_sizes_are_cropped_to_the_centre_and_resized(tmp_path: Path):
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", [struct(0, (12, 20))], [0])
    expected = ImageOps.fit(picture(0, (12, 20)), (8, 8), method=Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load(str(tmp_path), image_size=8).train.images[0], np.asarray(expected))


def test_grey_images_get_three_equal_channels(tmp_path: Path):
    grey = picture(0).convert("L")
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", [png(grey)], [0])
    images = load(str(tmp_path), image_size=8).train.images[0]
    np.testing.assert_array_equal(images, np.repeat(np.asarray(grey)[..., None], 3, axis=-1))


def test_large_files_are_decoded_by_threads_to_the_same(tmp_path: Path):
    encoded = [png(picture(seed, (60, 60))) for seed in range(5)]
    assert min(map(len, encoded)) > 8192
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", encoded, [0] * 5)
    for row, image in enumerate(load(str(tmp_path), image_size=60).train.images):
        np.testing.assert_array_equal(image, np.asarray(picture(row, (60, 60))))


def test_the_second_load_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_both(tmp_path)
    first = load(str(tmp_path), image_size=8)
    monkeypatch.setattr("raytrain.data.parquet.decode_all", None)
    assert load(str(tmp_path), image_size=8).fingerprint == first.fingerprint
    with pytest.raises(TypeError):  # another size is another entry
        load(str(tmp_path), image_size=4)


def test_a_changed_file_is_noticed_by_the_cache(tmp_path: Path):
    write_both(tmp_path)
    before = load(str(tmp_path), image_size=8)
    write(tmp_path / "test.parquet", [struct(9)], [1])
    after = load(str(tmp_path), image_size=8)
    assert after.fingerprint != before.fingerprint
    assert after.test.labels.tolist() == [1]


GOOD = {"bytes": png(picture(0)), "path": None}
DEEP = png(Image.fromarray(np.full((8, 8), 30000, dtype=np.uint16)))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            [GOOD, {"bytes": b"no image", "path": None}],
            [0, 0],
            r"train\.parquet: the image in row 1 .* cannot be decoded",
        ),
        ([GOOD, {"bytes": GOOD["bytes"][:60], "path": None}], [0, 0], r"row 1 .* cannot be decoded"),
        ([GOOD, {"bytes": DEEP, "path": None}], [0, 0], r"row 1 .* 8 bits per channel"),
        ([GOOD, {"bytes": None, "path": "a.png"}], [0, 0], r"row 1 .* has no bytes"),
        ([GOOD, None], [0, 0], r"row 1 .* has no bytes"),
        ([GOOD, GOOD], [0, None], r"row 1 .* has no label"),
        ([GOOD, GOOD], [0, -1], r"row 1 .* has the label -1; labels run from 0 upwards"),
        ([GOOD, GOOD], [0.0, 1.0], r"column label is double; labels must be integers"),
        (["a.png", "b.png"], [0, 0], r"column img is string; it must hold encoded images"),
        ([{"path": "a.png"}], [0], r"column img is struct<path: string>; it must hold encoded images"),
    ],
)
def test_a_fault_is_located(images: list[Any], labels: list[Any], message: str, tmp_path: Path):
    write(tmp_path / "train.parquet", images, labels)
    write(tmp_path / "test.parquet", [GOOD], [0])
    with pytest.raises(DataError, match=message):
        load(str(tmp_path), image_size=8)


def test_a_row_is_counted_over_the_whole_file(tmp_path: Path):
    bad = {"bytes": b"no image", "path": None}
    write(tmp_path / "train.parquet", [GOOD] * 1030 + [bad], [0] * 1031)
    write(tmp_path / "test.parquet", [GOOD], [0])
    with pytest.raises(DataError, match="row 1030 "):
        load(str(tmp_path), image_size=8)


def test_a_missing_column_is_answered_with_those_there_are(tmp_path: Path):
    write_both(tmp_path, image="picture", label="kind")
    with pytest.raises(DataError, match="no image column; it has picture, kind; name it img or image"):
        load(str(tmp_path), image_size=8)


def test_missing_test_files_are_named(tmp_path: Path):
    write(tmp_path / "train.parquet", [GOOD], [0])
    with pytest.raises(DataError, match=r"holds train\.parquet but no test\*\.parquet"):
        load(str(tmp_path), image_size=8)


def test_test_labels_that_training_lacks_are_listed(tmp_path: Path):
    write(tmp_path / "train.parquet", [GOOD], [0])
    write(tmp_path / "test.parquet", [GOOD, GOOD], [0, 7])
    with pytest.raises(DataError, match=r"has the labels \[7\], which no training image has"):
        load(str(tmp_path), image_size=8)


def test_a_label_beyond_the_class_names_is_refused(tmp_path: Path):
    for part in ("train", "test"):
        write(tmp_path / f"{part}.parquet", [GOOD, GOOD], [0, 2], names=["cat", "dog"])
    with pytest.raises(DataError, match="has the label 2; labels run from 0 to 1"):
        load(str(tmp_path), image_size=8)


def test_files_that_name_the_classes_differently_are_refused(tmp_path: Path):
    write(tmp_path / "train.parquet", [GOOD], [0], names=["cat", "dog"])
    write(tmp_path / "test.parquet", [GOOD], [0], names=["dog", "cat"])
    with pytest.raises(DataError, match="names the classes dog, cat, an earlier file cat, dog"):
        load(str(tmp_path), image_size=8)


def test_files_without_rows_are_refused(tmp_path: Path):
    write_both(tmp_path)
    table = pq.read_table(tmp_path / "train.parquet").slice(0, 0)
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet: no rows"):
        load(str(tmp_path), image_size=8)


@pytest.mark.parametrize("content", [b"", b"not Parquet at all"])
def test_a_file_that_is_not_parquet_is_refused(content: bytes, tmp_path: Path):
    write_both(tmp_path)
    (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.parquet is not a readable Parquet file"):
        load(str(tmp_path), image_size=8)
