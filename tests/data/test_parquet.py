import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from raytrain.data import load, split
from raytrain.data.layouts.source_folder import MAX_FILE
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


@pytest.mark.parametrize(("train", "test"), [("Train.parquet", "TEST.PARQUET"), ("Train/0.parquet", "Test/0.parquet")])
def test_parts_may_have_capital_letters(train: str, test: str, tmp_path: Path):
    for folder, names in (("usual", ("train.parquet", "test.parquet")), ("capital", (train, test))):
        write(tmp_path / folder / names[0], [struct(0), struct(1)], [0, 1])
        write(tmp_path / folder / names[1], [struct(2), struct(3)], [0, 1])
    expected, found = (load(str(tmp_path / folder), image_size=8) for folder in ("usual", "capital"))
    assert found.fingerprint == expected.fingerprint


def test_a_part_in_small_and_in_capital_letters_is_refused(tmp_path: Path):
    write_both(tmp_path)
    write(tmp_path / "Train-1.parquet", [struct(4)], [0])
    with pytest.raises(DataError, match="holds files that begin with Train and train; write it one way"):
        load(str(tmp_path), image_size=8)


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
    for seed, part in enumerate(("train", "test")):
        write(tmp_path / f"{part}.parquet", [png(picture(seed))], [0], image=image, label=label)
    np.testing.assert_array_equal(load(str(tmp_path), image_size=8).train.images[0], np.asarray(picture(0)))


def test_class_names_come_from_the_metadata(tmp_path: Path):
    write_both(tmp_path, names=["cat", "dog", "eel"])
    assert load(str(tmp_path), image_size=8).classes == ("cat", "dog", "eel")


def test_classes_without_names_are_numbered(tmp_path: Path):
    write_both(tmp_path)
    assert load(str(tmp_path), image_size=8).classes == ("0", "1")


NAMES = '{"info": {"features": {"label": {"names": %s}}}}'


@pytest.mark.parametrize(
    "about", ["{", "7", "[]", '{"info": 7}', "[" * 100_000, NAMES % "null", NAMES % '{"1": "dog", "0": "cat"}']
)
def test_metadata_that_says_nothing_leaves_classes_without_names(about: str, tmp_path: Path):
    write_both(tmp_path)
    table = pq.read_table(tmp_path / "train.parquet").replace_schema_metadata({"huggingface": about})
    pq.write_table(table, tmp_path / "train.parquet")
    assert load(str(tmp_path), image_size=8).classes == ("0", "1")


def test_other_sizes_are_cropped_to_the_centre_and_resized(tmp_path: Path):
    for seed, part in enumerate(("train", "test")):
        write(tmp_path / f"{part}.parquet", [struct(seed, (12, 20))], [0])
    expected = ImageOps.fit(picture(0, (12, 20)), (8, 8), method=Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load(str(tmp_path), image_size=8).train.images[0], np.asarray(expected))


def test_grey_images_get_three_equal_channels(tmp_path: Path):
    grey = picture(0).convert("L")
    for part, image in (("train", grey), ("test", picture(1))):
        write(tmp_path / f"{part}.parquet", [png(image)], [0])
    images = load(str(tmp_path), image_size=8).train.images[0]
    np.testing.assert_array_equal(images, np.repeat(np.asarray(grey)[..., None], 3, axis=-1))


def test_large_files_are_decoded_by_threads_to_the_same(tmp_path: Path):
    encoded = [png(picture(seed, (60, 60))) for seed in range(5)]
    assert min(map(len, encoded)) > 8192
    for part, images in (("train", encoded), ("test", encoded[1:])):
        write(tmp_path / f"{part}.parquet", images, [0] * len(images))
    for row, image in enumerate(load(str(tmp_path), image_size=60).train.images):
        np.testing.assert_array_equal(image, np.asarray(picture(row, (60, 60))))


def test_the_second_load_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_both(tmp_path)
    first = load(str(tmp_path), image_size=8)
    monkeypatch.setattr("raytrain.data.layouts.parquet_file.decode_all", None)
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
    with pytest.raises(DataError, match=r"no image column; it has picture, kind; name it img or image, or say which"):
        load(str(tmp_path), image_size=8)


def test_columns_are_named(tmp_path: Path):
    write_both(tmp_path, image="picture", label="kind")
    named = load(str(tmp_path), image_size=8, columns="image=picture,label=kind")
    write_both(tmp_path / "usual")
    assert named.fingerprint == load(str(tmp_path / "usual"), image_size=8).fingerprint


def test_one_column_may_be_named_and_goes_before_the_usual_ones(tmp_path: Path):
    for seed, part in enumerate(("train", "test")):
        table = pa.table({"img": [struct(seed * 2), struct(seed * 2 + 1)], "label": [0, 0], "coarse": [1, 0]})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    usual = load(str(tmp_path), image_size=8)
    other = load(str(tmp_path), image_size=8, columns="label=coarse")
    assert usual.train.labels.tolist() == [0, 0]
    assert other.train.labels.tolist() == [1, 0]  # the cache keeps them apart


def test_a_named_column_that_is_not_there_is_answered_with_those_there_are(tmp_path: Path):
    write_both(tmp_path)
    with pytest.raises(DataError, match=r"train\.parquet has no column kind; it has img, label"):
        load(str(tmp_path), image_size=8, columns="label=kind")


def test_skip_bad_leaves_out_the_label_with_the_image(tmp_path: Path):
    bad = [{"bytes": b"no image", "path": None}, {"bytes": None, "path": "a.png"}]
    write(tmp_path / "train.parquet", [struct(0), *bad, struct(1)], [0, 2, 2, 2])
    write(tmp_path / "test.parquet", [struct(2)], [0])
    with pytest.raises(DataError, match=r"^2 images cannot be read:\n .*train\.parquet: the image in row 1 \(counted"):
        load(str(tmp_path), image_size=8)
    dataset = load(str(tmp_path), image_size=8, skip_bad=True)
    assert (dataset.train.labels.tolist(), dataset.classes) == ([0, 1], ("0", "2"))
    assert dataset.origin.names["train"] == ["train.parquet row 0", "train.parquet row 3"]
    np.testing.assert_array_equal(dataset.train.images[1], np.asarray(picture(1)))


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [([0, 1, 1], None, "1"), (["cat", "dog", "dog"], None, "dog"), ([0, 1, 1], ["cat", "dog"], "dog")],
)
def test_a_class_of_which_no_image_can_be_read_is_refused_even_with_skip_bad(
    part: str, labels: Any, names: list[str] | None, said: str, tmp_path: Path
):
    for seed, other in enumerate(("train", "val", "test")):
        images = [struct(seed * 3 + number) for number in range(3)]
        bad = [images[0], b"no image", b"no image"]
        files = [image["bytes"] if isinstance(image, dict) else image for image in (bad if other == part else images)]
        write(tmp_path / f"{other}.parquet", files, labels, names=names)
    words = {"train": "training", "val": "validation", "test": "test"}[part]
    with pytest.raises(
        DataError, match=rf"2 images cannot be read:(?s:.*)there is no {words} image of the class {said}; replace"
    ):
        load(str(tmp_path), image_size=8, skip_bad=True)


def test_a_part_of_which_no_image_can_be_read_is_refused_even_with_skip_bad(tmp_path: Path):
    write_both(tmp_path)
    write(tmp_path / "test.parquet", [b"no image"] * 2, [0, 1])
    with pytest.raises(DataError, match=r"2 images cannot be read:(?s:.*)no image is left"):
        load(str(tmp_path), image_size=8, skip_bad=True)


def test_without_test_files_some_images_of_each_class_are_set_aside(tmp_path: Path):
    write(tmp_path / "train.parquet", [struct(number) for number in range(30)], [0, 1, 1] * 10)
    dataset = load(str(tmp_path), image_size=8)
    assert np.bincount(dataset.train.labels).tolist() == [8, 16]
    assert np.bincount(dataset.test.labels).tolist() == [2, 4]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_a_validation_part_is_the_validation_split_and_without_a_test_part_the_test_set(name: str, tmp_path: Path):
    write_both(tmp_path)
    write(tmp_path / f"{name}-00000.parquet", [struct(7)], [1])
    for one in (load(str(tmp_path), image_size=8), load(str(tmp_path), image_size=8)):  # the second from the cache
        splits = split(one, 0.1)
        assert (splits.val.labels.tolist(), len(splits.train), len(splits.test)) == ([1], 3, 1)
    (tmp_path / "test.parquet").unlink()
    dataset = load(str(tmp_path), image_size=8)
    assert (dataset.test.labels.tolist(), dataset.val) == ([1], None)


def test_a_test_part_without_labels_is_none(tmp_path: Path):
    names = ["cat", "dog"]
    write(tmp_path / "train.parquet", [struct(0), struct(1)], [0, 1], names=names)
    write(tmp_path / "validation.parquet", [struct(2)], [1], names=names)
    write(tmp_path / "test.parquet", [struct(3), struct(4)], [-1, -1], names=names)
    dataset = load(str(tmp_path), image_size=8)
    assert (dataset.test.labels.tolist(), dataset.val) == ([1], None)


@pytest.mark.parametrize("labels", [[-1, -1], pa.array([None, None], pa.int64())])
def test_images_without_labels_are_not_decoded(labels: Any, tmp_path: Path):
    write(tmp_path / "train.parquet", [struct(0), struct(1)] * 5, [0, 1] * 5)
    write(tmp_path / "test.parquet", [struct(3), {"bytes": b"no image", "path": None}], labels)
    dataset = load(str(tmp_path), image_size=8, test_size=2)
    assert sum(dataset.origin.sizes.values()) == len(dataset.train) + len(dataset.test) == 10
    assert "the 2 test images have no labels and are not used" in dataset.origin.remarks


@pytest.mark.parametrize("below", ["data", "plain_text", "default", "mine"])
def test_the_files_may_lie_in_a_folder(below: str, tmp_path: Path):
    write_both(tmp_path / below)
    assert len(load(str(tmp_path), image_size=8).train) == 3


def test_a_part_may_be_a_folder_of_files(tmp_path: Path):
    write(tmp_path / "default" / "train" / "0000.parquet", [struct(0), struct(1)], [0, 1])
    write(tmp_path / "default" / "test" / "0000.parquet", [struct(2)], [1])
    dataset = load(str(tmp_path), image_size=8)
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([0, 1], [1])


def test_of_several_data_sets_one_is_to_be_named(tmp_path: Path):
    for name in ("large", "small"):
        write_both(tmp_path / name)
    with pytest.raises(DataError, match=r"several data sets: large, small; name one, such as .*#large"):
        load(str(tmp_path), image_size=8)
    assert len(load(str(tmp_path / "small"), image_size=8).train) == 3


def test_a_configuration_is_named_behind_the_address(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for seed, name in enumerate(("default", "large")):
        write(tmp_path / name / "train" / "0.parquet", [struct(seed), struct(8)], [0, 1])
        write(tmp_path / name / "test" / "0.parquet", [struct(9)], [1])
    for name, seed in (("#large", 1), ("#default", 0), ("", 0)):
        image = load(f"{tmp_path}{name}", image_size=8).train.images[0]
        np.testing.assert_array_equal(image, np.asarray(picture(seed)))
    by_uri = load(f"{tmp_path.as_uri()}#large", image_size=8)
    np.testing.assert_array_equal(by_uri.train.images[0], np.asarray(picture(1)))
    with pytest.raises(DataError, match=r"holds no configuration 'small'; choose one of default, large"):
        load(f"{tmp_path}#small", image_size=8)
    with pytest.raises(DataError, match=r"holds no configuration 'large1'; did you mean 'large'\?$"):
        load(f"{tmp_path}#large1", image_size=8)
    with caplog.at_level("INFO", logger="raytrain.data"):
        load(str(tmp_path), image_size=8)
    assert "of the configurations default, large, default is read" in caplog.text


def test_the_name_of_a_folder_may_hold_the_sign_of_a_configuration(tmp_path: Path):
    write_both(tmp_path / "take#2")
    assert len(load(str(tmp_path / "take#2"), image_size=8).train) == 3


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (pa.array(["dog", "cat", "dog"]).dictionary_encode(), ("cat", "dog"), [1, 0, 1]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        ([2, 1, 2], ("1", "2"), [1, 0, 1]),
        ([7, 0, 7], ("0", "7"), [1, 0, 1]),
        ([300_000_000, 0, 10**12], ("0", "300000000", "1000000000000"), [1, 0, 2]),
    ],
)
def test_every_value_of_a_label_is_a_class_of_its_name(
    labels: Any, classes: tuple[str, ...], numbers: list[int], tmp_path: Path
):
    write(tmp_path / "train.parquet", [struct(0), struct(1), struct(2)], labels)
    write(tmp_path / "test.parquet", [struct(3)], labels[:1])
    dataset = load(str(tmp_path), image_size=8)
    assert dataset.classes == classes
    assert dataset.train.labels.tolist() == numbers
    assert dataset.test.labels.tolist() == numbers[:1]


@pytest.mark.parametrize("label", ["labels", "class", "target"])
def test_the_label_column_may_have_other_names(label: str, tmp_path: Path):
    write_both(tmp_path, label=label)
    assert load(str(tmp_path), image_size=8).train.labels.tolist() == [1, 0, 1]


def test_an_id_is_no_label(tmp_path: Path):
    write(tmp_path / "train.parquet", [struct(0)] * 101, [number * 7919 for number in range(101)])
    with pytest.raises(DataError, match=r"have 101 different values, such as 0, 7919, .* that is an id"):
        load(str(tmp_path), image_size=8)


def test_an_id_is_refused_before_an_image_is_decoded(tmp_path: Path):
    write(tmp_path / "train.parquet", [{"bytes": b"no image", "path": None}] * 101, list(range(101)))
    with pytest.raises(DataError, match="that is an id, not a class"):
        load(str(tmp_path), image_size=8)


def test_copies_of_a_file_are_refused(tmp_path: Path):
    write_both(tmp_path)
    (tmp_path / "train (1).parquet").write_bytes((tmp_path / "train.parquet").read_bytes())
    with pytest.raises(DataError, match=r"train \(1\)\.parquet and .*train\.parquet are copies of each other"):
        load(str(tmp_path), image_size=8)


def test_shards_may_have_a_hash_each(tmp_path: Path):
    for number, content in enumerate(("0a1b2c", "3d4e5f")):
        write(tmp_path / f"train-{number:05}-of-00002-{content}.parquet", [struct(number)], [number])
    write(tmp_path / "test.parquet", [struct(9)], [0])
    assert load(str(tmp_path), image_size=8).train.labels.tolist() == [0, 1]


@pytest.mark.parametrize("stray", ["training", "development", "valuable", "testing"])
def test_a_name_that_only_begins_like_a_part_is_none(stray: str, tmp_path: Path):
    write_both(tmp_path)
    before = load(str(tmp_path), image_size=8).fingerprint
    write(tmp_path / f"{stray}.parquet", [struct(8)], [0])
    write(tmp_path / stray / "0.parquet", [struct(8)], [0])
    assert load(str(tmp_path), image_size=8).fingerprint == before


def test_labels_of_two_kinds_are_refused(tmp_path: Path):
    write(tmp_path / "train.parquet", [struct(0), struct(1)], [0, 1])
    write(tmp_path / "test.parquet", [struct(2)], ["1"])
    with pytest.raises(DataError, match="labels are integers in the training images and words in test"):
        load(str(tmp_path), image_size=8)
    write(tmp_path / "train-2.parquet", [struct(3)], ["1"])
    with pytest.raises(DataError, match="some labels are integers and some words"):
        load(str(tmp_path), image_size=8)


def test_a_label_beyond_the_names_of_a_later_file_is_refused(tmp_path: Path):
    write(tmp_path / "train.parquet", [struct(0), struct(1)], [0, 5])
    write(tmp_path / "test.parquet", [struct(2)], [0], names=["cat", "dog"])
    with pytest.raises(DataError, match="has the label 5, and the files name 2 classes"):
        load(str(tmp_path), image_size=8)


def test_an_empty_word_is_no_label(tmp_path: Path):
    write(tmp_path / "train.parquet", [GOOD, GOOD, GOOD], ["cat", "", "dog"])
    with pytest.raises(DataError, match=r"train\.parquet: the image in row 1 \(counted from 0\) has an empty label"):
        load(str(tmp_path), image_size=8)


def test_words_that_may_be_missing_labels_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    words = ["cat", "None", "nan", "nan"]
    write(tmp_path / "train.parquet", [struct(number) for number in range(4)], words)
    write(tmp_path / "test.parquet", [struct(number) for number in range(4, 8)], words)
    load(str(tmp_path), image_size=8)
    said = "2 training images have the label nan and 1 training image has the label None: if that is a missing label"
    assert said in caplog.text


def test_missing_shards_are_named(tmp_path: Path):
    write(tmp_path / "train-00001-of-00004.parquet", [struct(0)], [0])
    write(tmp_path / "test.parquet", [struct(1)], [0])
    with pytest.raises(DataError, match=r"train-\*-of-00004: of 4 files, 0, 2, 3 are missing"):
        load(str(tmp_path), image_size=8)


def test_a_damaged_file_of_any_size_is_called_damaged(tmp_path: Path):
    write_both(tmp_path)
    with (tmp_path / "train.parquet").open("wb") as file:
        file.truncate(MAX_FILE + 1)  # zeros, which take no room on the disk
    with pytest.raises(DataError, match=r"train\.parquet is not a readable Parquet file \(.*magic bytes"):
        load(str(tmp_path), image_size=8)


def test_a_git_lfs_pointer_is_called_that(tmp_path: Path):
    write_both(tmp_path)
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match="is a Git LFS pointer, not the file; fetch it with: git lfs pull"):
        load(str(tmp_path), image_size=8)


def test_test_labels_that_training_lacks_are_listed(tmp_path: Path):
    write(tmp_path / "train.parquet", [GOOD], [0])
    write(tmp_path / "test.parquet", [GOOD, GOOD], [0, 7])
    with pytest.raises(DataError, match=r"has the labels \[7\], which no training image has"):
        load(str(tmp_path), image_size=8)


def test_a_label_beyond_the_class_names_is_refused(tmp_path: Path):
    write(tmp_path / "train.parquet", [GOOD, GOOD], [0, 2], names=["cat", "dog"])
    write(tmp_path / "test.parquet", [GOOD], [0], names=["cat", "dog"])
    with pytest.raises(DataError, match="has the label 2; labels run from 0 to 1"):
        load(str(tmp_path), image_size=8)


def test_two_classes_of_the_same_name_are_refused(tmp_path: Path):
    write_both(tmp_path, names=["crane", "crane"])
    with pytest.raises(DataError, match=r"train\.parquet gives several classes the name crane; give each"):
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
