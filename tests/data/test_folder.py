import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raytrain.data import load, split
from raytrain.data.layouts.decode import SUFFIXES
from raytrain.data.origin import NAMED
from raytrain.errors import DataError


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def save(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(file, "png")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of; whether the summary is logged too depends on what other tests set."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    save(root / "train" / "dog" / "b.png", 1)
    save(root / "train" / "dog" / "a.png", 0)
    save(root / "train" / "cat" / "a.png", 2)
    save(root / "test" / "cat" / "a.png", 3)
    save(root / "test" / "dog" / "a.png", 4)
    return root


def test_classes_are_the_sorted_folders_and_images_follow_their_names(root: Path):
    dataset = load(str(root), image_size=8)
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1]
    for row, seed in enumerate([2, 0, 1]):
        np.testing.assert_array_equal(dataset.train.images[row], np.asarray(picture(seed)))


def test_suffixes_count_in_any_case_and_other_files_do_not(root: Path):
    save(root / "train" / "cat" / "B.PNG", 5)
    save(root / "train" / "cat" / ".hidden.png", 6)
    save(root / "train" / ".ipynb_checkpoints" / "a.png", 7)
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "LICENSE").write_text("not a class")
    dataset = load(str(root), image_size=8)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) == 4


def test_a_uri_holds_the_same_as_the_path(root: Path):
    assert load(root.as_uri(), image_size=8).fingerprint == load(str(root), image_size=8).fingerprint


def test_a_file_moved_to_another_class_is_noticed_by_the_cache(root: Path):
    before = load(str(root), image_size=8)
    (root / "train" / "dog" / "b.png").rename(root / "train" / "cat" / "b.png")
    after = load(str(root), image_size=8)
    assert before.train.labels.tolist() == [0, 1, 1]
    assert after.train.labels.tolist() == [0, 0, 1]


def test_images_in_folders_of_a_class_are_its_images(root: Path):
    save(root / "train" / "cat" / "2021" / "may" / "a.png", 5)
    dataset = load(str(root), image_size=8)
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(dataset.train.images[1], np.asarray(picture(5)))


def test_what_is_left_out_is_counted(root: Path, caplog: pytest.LogCaptureFixture):
    for number in range(3):
        (root / "train" / "cat" / f"{number}.heic").write_bytes(b"\0")
    (root / "test" / "dog" / "readme").write_text("not an image")
    (root / "train" / "dog" / "z.png").symlink_to("nowhere.png")
    (root / "train" / "dog" / "up").symlink_to(root)
    load(str(root), image_size=8)
    (said,) = warnings(caplog)
    assert said.endswith(
        "3 .heic, 1 link to a folder above, 1 that is no file, such as a link to nowhere, 1 without a suffix"
    )


def test_nothing_is_said_where_nothing_is_left_out(root: Path, caplog: pytest.LogCaptureFixture):
    load(str(root), image_size=8)
    assert warnings(caplog) == []


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_is_that_of_a_format_that_is_read(suffix: str, root: Path):
    file = root / "train" / "cat" / f"more{suffix}"
    picture(5).convert("1" if suffix == ".pbm" else "RGB").save(file)
    assert load(str(root), image_size=8).train.labels.tolist() == [0, 0, 1, 1]


def test_images_that_lie_in_no_class_are_warned_of(root: Path, caplog: pytest.LogCaptureFixture):
    save(root / "train" / "loose.png", 1)
    save(root / "loose.png", 2)
    load(str(root), image_size=8)
    assert f"{root}: 2 images lie in no folder of a class, such as loose.png: left out" in warnings(caplog)


@pytest.mark.parametrize("below", [".", "cat"])
def test_a_folder_of_images_that_is_no_part_is_warned_of(below: str, root: Path, caplog: pytest.LogCaptureFixture):
    (root / "more" / below).mkdir(parents=True)
    (root / "scripts").mkdir()
    save(root / "more" / below / "0.png", 1)
    load(str(root), image_size=8)
    assert f"{root}: more/ holds images that are not read: the parts are train, test" in warnings(caplog)


def test_links_back_up_are_not_followed_deeper(root: Path):
    (root / "train" / "dog" / "loop").symlink_to(root)
    assert len(load(str(root), image_size=8).train) == 3


def test_a_class_link_back_up_is_a_class_without_images(root: Path):
    (root / "train" / "loop").symlink_to(root)
    with pytest.raises(DataError, match="no image for the class loop"):
        load(str(root), image_size=8)


def test_a_class_without_images_is_named(root: Path):
    (root / "train" / "eel").mkdir()
    with pytest.raises(DataError, match="train: no image for the class eel"):
        load(str(root), image_size=8)


@pytest.mark.parametrize(("more", "less"), [("train", "test"), ("test", "train")])
def test_classes_that_differ_are_named_with_the_part_that_lacks_them(more: str, less: str, root: Path):
    save(root / more / "eel" / "a.png", 0)
    with pytest.raises(DataError, match=f"{less}/ lacks eel"):
        load(str(root), image_size=8)


def test_a_train_folder_without_classes_is_refused(tmp_path: Path):
    save(tmp_path / "train" / "a.png", 0)
    with pytest.raises(DataError, match="train holds no class; it must have one folder per class"):
        load(str(tmp_path), image_size=8)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_without_a_test_folder_the_validation_folder_is_the_test_set(
    name: str, root: Path, caplog: pytest.LogCaptureFixture
):
    expected = load(str(root), image_size=8)
    (root / "test").rename(root / name)
    for _ in ("decoded", "from the cache"):
        caplog.clear()
        with caplog.at_level("INFO", logger="raytrain.data"):
            dataset = load(str(root), image_size=8)
        assert dataset.fingerprint == expected.fingerprint
        assert dataset.val is None
        assert f"there is no test/, so {name}/ is the test set" in caplog.text


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_beside_a_test_folder_is_the_validation_split(name: str, root: Path):
    save(root / name / "dog" / "v.png", 7)
    dataset = load(str(root), image_size=8)
    again = load(str(root), image_size=8)  # from the cache
    for one in (dataset, again):
        splits = split(one, 0.1)
        assert splits.val.labels.tolist() == [1]  # a class may be missing there
        np.testing.assert_array_equal(splits.val.images[0], np.asarray(picture(7)))
        assert (len(splits.train), len(splits.test)) == (3, 2)
    everything = split(dataset, 0)
    assert (len(everything.val), everything.train.labels.tolist()) == (0, [0, 1, 1, 1])


def test_a_class_that_training_lacks_is_refused_in_the_validation_folder(root: Path):
    save(root / "val" / "eel" / "v.png", 7)
    with pytest.raises(DataError, match="train/ lacks eel"):
        load(str(root), image_size=8)


def test_two_validation_folders_are_refused(root: Path):
    for name in ("val", "valid"):
        save(root / name / "dog" / "v.png", 7)
    with pytest.raises(DataError, match="holds val and valid; keep one of them"):
        load(str(root), image_size=8)


@pytest.fixture(params=["train", "."])
def without_test(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder of 20 cats and 10 dogs, in train/ or right inside."""
    root = tmp_path / "photos"
    for name, count in (("cat", 20), ("dog", 10)):
        for number in range(count):
            save(root / str(request.param) / name / f"{number:02}.png", 100 * len(name) + number + (name == "dog") * 50)
    return root


def test_without_test_images_some_are_split_off_of_each_class(without_test: Path):
    dataset = load(str(without_test), image_size=8)
    assert np.bincount(dataset.train.labels).tolist() == [16, 8]
    assert np.bincount(dataset.test.labels).tolist() == [4, 2]
    everything = {image.tobytes() for part in (dataset.train, dataset.test) for image in part.images}
    assert len(everything) == 30
    assert load(str(without_test), image_size=8).fingerprint == dataset.fingerprint
    assert np.bincount(load(str(without_test), image_size=8, test_size=15).test.labels).tolist() == [10, 5]


def test_images_that_repeat_are_warned_of_before_they_are_set_aside(
    without_test: Path, caplog: pytest.LogCaptureFixture
):
    first = next(without_test.rglob("cat/00.png"))
    shutil.copy(first, first.with_name("again.png"))
    load(str(without_test), image_size=8)
    assert "1 image repeats another one, and may be in training and test alike" in caplog.text


@pytest.mark.parametrize("test_size", [0, 0.001, 30, 1.5, 1])
def test_a_test_size_that_cannot_be_is_refused(test_size: float, without_test: Path):
    with pytest.raises(DataError, match=r"test_size|test images"):
        load(str(without_test), image_size=8, test_size=test_size)


def test_a_folder_with_its_own_test_images_keeps_them(root: Path):
    assert load(str(root), image_size=8, test_size=0.5).fingerprint == load(str(root), image_size=8).fingerprint


def test_train_may_be_a_class(tmp_path: Path):
    for number, name in enumerate(["bus", "train"] * 10):
        save(tmp_path / name / f"{number}.png", number)
    assert load(str(tmp_path), image_size=8).classes == ("bus", "train")


@pytest.mark.parametrize("other", ["test", "test1", "val", "valid", "validation"])
def test_parts_without_classes_are_not_taken_for_classes(other: str, tmp_path: Path):
    for number in range(10):
        save(tmp_path / "train" / f"cat.{number}.png", number)
        save(tmp_path / other / f"{number}.png", 100 + number)
    with pytest.raises(DataError, match="train holds no class; it must have one folder per class"):
        load(str(tmp_path), image_size=8)


@pytest.mark.parametrize("part", ["test", "val", "valid", "validation"])
def test_a_part_beside_classes_is_not_taken_for_one_of_them(part: str, tmp_path: Path):
    for number, name in enumerate(["cat", "dog", f"{part}/cat", f"{part}/dog"] * 5):
        save(tmp_path / name / f"{number}.png", number)
    with pytest.raises(DataError, match=rf"holds classes, and beside them {part}/.*train/<class>/"):
        load(str(tmp_path), image_size=8)


@pytest.mark.parametrize("part", ["test", "Test", "test1", "test_images", "testing", "val", "validation"])
def test_a_part_without_classes_beside_classes_is_not_taken_for_one_of_them(part: str, tmp_path: Path):
    for number, name in enumerate(["cat", "dog", part] * 5):
        save(tmp_path / name / f"{number}.png", number)
    with pytest.raises(DataError, match=rf"holds classes, and beside them {part}/ with images right inside; .*train/<"):
        load(str(tmp_path), image_size=8)
    (tmp_path / "train").mkdir()
    for name in ("cat", "dog", part):
        (tmp_path / name).rename(tmp_path / "train" / name)
    assert load(str(tmp_path), image_size=8).classes == tuple(sorted(["cat", "dog", part]))


@pytest.mark.parametrize("names", [("train_images", "test_images"), ("training", "testing"), ("test", "val")])
def test_parts_alone_are_not_taken_for_classes(names: tuple[str, str], tmp_path: Path):
    for number, name in enumerate(names * 5):
        save(tmp_path / name / f"{number}.png", number)
    with pytest.raises(DataError, match=r"with images in no folder of a class; put them into train/<class>/"):
        load(str(tmp_path), image_size=8)


def test_valid_may_be_a_class_beside_invalid(tmp_path: Path):
    for number, name in enumerate(["valid", "invalid"] * 10):
        save(tmp_path / name / f"{number}.png", number)
    assert load(str(tmp_path), image_size=8).classes == ("invalid", "valid")


@pytest.mark.parametrize("change", [str.title, str.upper])
def test_parts_may_have_capital_letters(change: Callable[[str], str], root: Path):
    save(root / "val" / "dog" / "v.png", 7)
    expected = load(str(root), image_size=8)
    for part in ("train", "test", "val"):
        (root / part).rename(root / change(part))
    found = load(str(root), image_size=8)
    assert (found.fingerprint, found.origin.remarks) == (expected.fingerprint, [])
    save(root / change("test") / "eel" / "a.png", 0)
    with pytest.raises(DataError, match=f"{change('train')}/ lacks eel"):
        load(str(root), image_size=8)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_in_small_and_in_capital_letters_is_refused(part: str, root: Path):
    (root / part.title()).mkdir(exist_ok=True)
    if len(list(root.glob("*"))) == 2:
        pytest.skip("this file system does not tell them apart")
    with pytest.raises(DataError, match=f"holds {part.title()} and {part}; keep one of them"):
        load(str(root), image_size=8)


def test_test_may_be_a_class_where_its_images_lie_right_inside(tmp_path: Path):
    for number, name in enumerate(["exam", "test"] * 10):
        save(tmp_path / name / f"{number}.png", number)
    save(tmp_path / "test" / "more" / "a.png", 100)
    assert load(str(tmp_path), image_size=8).classes == ("exam", "test")


def test_links_that_lead_to_each_other_are_followed_once(root: Path):
    (root / "train" / "cat" / "x").symlink_to("../dog")
    (root / "train" / "dog" / "y").symlink_to("../cat")
    assert len(load(str(root), image_size=8).train) == 3 + 3


def test_a_folder_with_images_in_one_folder_only_is_no_data_set(tmp_path: Path):
    save(tmp_path / "holiday" / "a.png", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data set"):
        load(str(tmp_path), image_size=8)


@pytest.fixture(params=["too large", "not allowed"])
def not_opened(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have train/dog/b.png be an image that may not be opened; return why."""
    if request.param == "too large":
        monkeypatch.setattr("raytrain.data.layouts.source_folder.MAX_FILE", 1000)
        (root / "train" / "dog" / "b.png").write_bytes(b"x" * 1001)
        return "larger than 1,000 bytes"
    opened = Path.open

    def refusing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "b.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    return "Permission denied"


def test_an_image_that_may_not_be_opened_is_named_and_left_out_with_skip_bad(root: Path, not_opened: str):
    (root / "test" / "dog" / "z.png").write_bytes(b"no image")
    for _ in ("decoded", "from the cache"):
        with pytest.raises(DataError, match=r"^2 images cannot be read:\n") as refused:
            load(str(root), image_size=8)
        assert f"train/dog/b.png cannot be read ({not_opened})" in str(refused.value)
        assert "test/dog/z.png cannot be decoded" in str(refused.value)
        dataset = load(str(root), image_size=8, skip_bad=True)
        assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([0, 1], [0, 1])
        assert dataset.origin.names["train"] == ["train/cat/a.png", "train/dog/a.png"]
        np.testing.assert_array_equal(dataset.train.images[1], np.asarray(picture(0)))


def test_a_class_of_which_no_image_may_be_opened_is_refused(root: Path, not_opened: str):
    (root / "train" / "dog" / "a.png").unlink()
    with pytest.raises(DataError, match="train/ holds no image of the class dog") as refused:
        load(str(root), image_size=8, skip_bad=True)
    assert not_opened in str(refused.value)


def test_an_image_is_read_once_it_may_be_opened(root: Path):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("raytrain.data.layouts.source_folder.MAX_FILE", 10)
        with pytest.raises(DataError, match="larger than 10 bytes"):
            load(str(root), image_size=8)
    assert len(load(str(root), image_size=8).train) == 3


def test_a_test_set_that_is_the_training_set_is_refused(root: Path):
    shutil.rmtree(root / "test")
    shutil.copytree(root / "train", root / "test")
    with pytest.raises(DataError, match="the 3 test images are the training images"):
        load(str(root), image_size=8)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("train", "the 3 validation images are the training images; .* leave the validation images out"),
        ("test", "the 2 test images are the validation images; .* leave the validation images out"),
    ],
)
def test_a_validation_set_that_is_another_part_is_refused(part: str, said: str, root: Path):
    shutil.copytree(root / part, root / "val")
    for _ in ("decoded", "from the cache"):
        with pytest.raises(DataError, match=said):
            load(str(root), image_size=8)


def test_validation_images_of_another_part_are_counted(root: Path, caplog: pytest.LogCaptureFixture):
    save(root / "val" / "cat" / "own.png", 9)
    for part in ("train", "test"):
        shutil.copy(root / part / "dog" / "a.png", root / "val" / "cat" / f"{part}.png")
    for _ in ("decoded", "from the cache"):
        caplog.clear()
        load(str(root), image_size=8)
        assert "1 validation image is a training image too" in caplog.text
        assert "1 test image is a validation image too" in caplog.text


def test_one_picture_for_each_class_is_warned_of_and_not_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for part in ("train", "test"):
        for seed, name in enumerate(("cat", "dog")):
            for number in range(3):
                save(tmp_path / part / name / f"{number}.png", seed)
    for _ in ("decoded", "from the cache"):
        caplog.clear()
        assert len(load(str(tmp_path), image_size=8).test) == 6
        assert "2 different test images are training images too" in caplog.text
        assert "all training images are the same in the class cat, dog" in caplog.text


def test_test_images_that_are_training_images_too_are_counted(root: Path, caplog: pytest.LogCaptureFixture):
    shutil.copy(root / "train" / "cat" / "a.png", root / "test" / "dog" / "again.png")
    load(str(root), image_size=8)
    assert "1 test image is a training image too" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not store such a name")
def test_a_file_name_that_is_no_utf_8_is_read(root: Path):
    shutil.copy(root / "train" / "cat" / "a.png", os.fsencode(root / "train" / "cat") + b"/\xe9.png")
    for _ in ("decoded", "from the cache"):
        dataset = load(str(root), image_size=8)
        assert dataset.train.labels.tolist() == [0, 0, 1, 1]
        assert dataset.origin.names["train"][1] == r"train/cat/\xe9.png"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not store such a name")
def test_a_class_whose_name_is_no_utf_8_can_be_printed(root: Path):
    for part in ("train", "test"):
        (root / part / "dog").rename(root / part / os.fsdecode(b"d\xf6g"))
    assert load(str(root), image_size=8).classes == ("cat", r"d\xf6g")


def test_a_link_to_itself_is_left_out(root: Path, caplog: pytest.LogCaptureFixture):
    (root / "train" / "cat" / "self.png").symlink_to("self.png")
    assert len(load(str(root), image_size=8).train) == 3
    assert "1 that is no file" in caplog.text


def test_hidden_files_are_counted_without_a_warning(root: Path, caplog: pytest.LogCaptureFixture):
    (root / "train" / "cat" / ".DS_Store").write_bytes(b"")
    assert load(str(root), image_size=8).origin.left_out == {"hidden": 1}
    assert warnings(caplog) == []


@pytest.fixture
def with_bad(root: Path) -> Path:
    """Return the data set with more cats, of which every second is broken."""
    for number in range(50):
        file = root / "train" / "cat" / f"n{number:02}.png"
        save(file, 100 + number)
        if number % 2:
            file.write_bytes(file.read_bytes()[:70])
    return root


@pytest.mark.parametrize("state", ["decoded", "from the cache"])
def test_all_corrupt_images_are_named_at_once_up_to_a_limit(state: str, with_bad: Path):
    (with_bad / "test" / "dog" / "z.png").write_bytes(b"no image")
    if state == "from the cache":
        load(str(with_bad), image_size=8, skip_bad=True)
    with pytest.raises(DataError) as refused:
        load(str(with_bad), image_size=8)
    first, *named, more, advice = str(refused.value).splitlines()
    assert first == "26 images cannot be read:"
    assert len(named) == NAMED
    assert named[0].startswith(f"  {with_bad}/train/cat/n01.png cannot be decoded as an image (")
    assert named[-1].startswith(f"  {with_bad}/train/cat/n39.png ")
    assert more == "  and 6 more"
    assert "skip_bad=true" in advice


def test_skip_bad_goes_on_as_if_the_corrupt_images_were_not_there(with_bad: Path, caplog: pytest.LogCaptureFixture):
    skipped = load(str(with_bad), image_size=8, skip_bad=True)
    assert "without 25 images that cannot be read" in caplog.text
    assert len(skipped.origin.unreadable) == 25
    for file in (with_bad / "train" / "cat").glob("n*.png"):
        if int(file.stem[1:]) % 2:
            file.unlink()
    removed = load(str(with_bad), image_size=8)
    assert skipped.fingerprint == removed.fingerprint
    assert skipped.origin.names == removed.origin.names


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_of_which_no_image_can_be_read_is_refused_even_with_skip_bad(part: str, root: Path):
    for file in (root / part / "cat").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(
        DataError, match=rf"cat/a\.png cannot be decoded(?s:.*)without them {part}/ holds no image of .* cat"
    ):
        load(str(root), image_size=8, skip_bad=True)


def test_a_corrupt_image_is_named_by_its_path(root: Path):
    file = root / "test" / "dog" / "a.png"
    file.write_bytes(file.read_bytes()[:70])
    with pytest.raises(DataError, match=f"{file} cannot be decoded as an image"):
        load(str(root), image_size=8)
