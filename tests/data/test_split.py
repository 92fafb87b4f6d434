import pickle

import numpy as np
import pytest

from raytrain.data import ImageDataset, LabelledImages, split
from raytrain.data.images import image_dataset
from raytrain.data.split import channel_statistics, stratified
from raytrain.errors import DataError


def dataset(sizes: list[int]) -> ImageDataset:
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = generator.integers(0, 256, (len(labels), 4, 5, 3), dtype=np.uint8)
    part = LabelledImages(images, labels)
    return image_dataset(part, part, classes=tuple("abcdefgh"[: len(sizes)]))


def test_each_class_keeps_its_share_in_both_parts():
    parts = split(dataset([40, 20, 20]), 0.25)
    assert np.bincount(parts.train.labels).tolist() == [30, 15, 15]
    assert np.bincount(parts.val.labels).tolist() == [10, 5, 5]


@pytest.mark.parametrize(("val_size", "expected"), [(0, 0), (0.1, 8), (0.126, 10), (20, 20), (20.0, 20)])
def test_a_share_and_a_count_are_told_apart_at_one(val_size: float, expected: int):
    parts = split(dataset([40, 40]), val_size)
    assert (len(parts.train), len(parts.val)) == (80 - expected, expected)
    assert parts.val.images.shape == (expected, 4, 5, 3)


def test_both_parts_together_are_the_source_in_its_order():
    source = dataset([40, 40])
    parts = split(source, 0.3)
    rows = {image.tobytes(): row for row, image in enumerate(source.train.images)}
    train, val = ([rows[image.tobytes()] for image in part.images] for part in (parts.train, parts.val))
    assert train == sorted(train)
    assert val == sorted(val)
    assert sorted(train + val) == list(range(80))
    np.testing.assert_array_equal(parts.train.labels, source.train.labels[train])


def test_shares_that_are_no_whole_numbers_add_up_to_the_count():
    # of 10 in 97: 5.15, 3.09 and 1.75 images; the third lost most to rounding
    parts = split(dataset([50, 30, 17]), 10)
    assert np.bincount(parts.val.labels).tolist() == [5, 3, 2]


@pytest.mark.parametrize("sizes", [[40, 40], [50, 30, 17], [200, 3, 60, 12]])
def test_the_share_of_a_class_is_as_scikit_learn_has_it_to_one_image(sizes: list[int]):
    from sklearn.model_selection import train_test_split

    labels = dataset(sizes).train.labels
    _, theirs = train_test_split(labels, test_size=20, stratify=labels, random_state=0)
    ours = split(dataset(sizes), 20).val.labels
    classes = len(sizes)
    assert len(ours) == len(theirs) == 20
    assert np.abs(np.bincount(ours, minlength=classes) - np.bincount(theirs, minlength=classes)).max() <= 1


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([95, 5], 0.1, [9, 1]),  # 0.5 of them, which rounds to none
        ([95, 5], 0.95, [91, 4]),  # 4.75, which rounds to all
        ([60, 2, 2, 2], 5, [2, 1, 1, 1]),  # 0.15 each
    ],
)
def test_every_class_is_in_both_parts_however_rare(sizes: list[int], size: float, expected: list[int]):
    assert np.bincount(split(dataset(sizes), size).val.labels).tolist() == expected


def test_a_share_of_fewer_images_than_classes_is_one_image_of_each(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="raytrain.data"):
        parts = split(dataset([4, 4, 4]), 0.1)
    assert np.bincount(parts.val.labels).tolist() == [1, 1, 1]
    assert "val_size 0.1 of 12 training images is 1, fewer than there are classes; 3 are set aside" in caplog.text


def test_images_are_set_aside_at_random():
    labels = np.repeat(np.arange(2), 1000)
    _, aside = stratified(labels, 200, classes=("a", "b"))
    # the mean of 200 uniform rows of 2000 is 999.5, with a deviation of 577/sqrt(200) = 41
    assert abs(aside.mean() - 999.5) < 4 * 41
    assert (np.diff(aside) > 1).any()


def test_the_split_is_the_same_every_time():
    first, second = split(dataset([30, 30]), 10), split(dataset([30, 30]), 10)
    np.testing.assert_array_equal(first.val.images, second.val.images)


def test_no_validation_images_means_no_copy_and_no_other_order():
    source = dataset([5, 5])
    assert split(source, 0).train is source.train


def test_mean_and_std_are_those_of_the_training_images_alone():
    parts = split(dataset([40, 40]), 0.5)
    expected = parts.train.images / 255
    np.testing.assert_allclose(parts.mean, expected.mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(parts.std, expected.std(axis=(0, 1, 2)), rtol=1e-13)


def test_statistics_are_exact_over_several_chunks():
    images = np.random.default_rng(1).integers(0, 256, (2500, 2, 2, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-13)


def test_a_channel_of_one_value_has_deviation_one():
    assert channel_statistics(np.full((2, 1, 1, 3), 51, dtype=np.uint8)) == ((0.2,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("val_size", "message"),
    [
        (80, "nothing to train on"),
        (79, "cannot be stratified"),
        (1, "cannot be stratified"),
        (0.001, "is no image"),
        (-1, "give 0 for none"),
        (1.5, "give 0 for none"),
        (float("nan"), "give 0 for none"),
    ],
)
def test_a_val_size_that_cannot_be_is_refused(val_size: float, message: str):
    with pytest.raises(DataError, match=message):
        split(dataset([40, 40]), val_size)


def test_a_class_with_one_image_is_refused_by_name():
    with pytest.raises(DataError, match="class 'c' has 1 training image"):
        split(dataset([10, 10, 1]), 5)


def test_arrays_are_pickled_out_of_band():
    buffers: list[pickle.PickleBuffer] = []
    payload = pickle.dumps(split(dataset([40, 40]), 10), protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 6
    assert len(payload) < 2000


@pytest.mark.parametrize("change", ["pixel", "label", "class"])
def test_the_fingerprint_changes_with_the_content(change: str):
    source = dataset([4, 4])
    images, labels, classes = source.train.images.copy(), source.train.labels.copy(), source.classes
    same = image_dataset(LabelledImages(images, labels), source.test, classes=classes)
    assert same.fingerprint == source.fingerprint
    if change == "pixel":
        images[0, 0, 0, 0] ^= 1
    elif change == "label":
        labels[0] ^= 1
    else:
        classes = ("a", "z")
    other = image_dataset(LabelledImages(images, labels), source.test, classes=classes)
    assert other.fingerprint != source.fingerprint
