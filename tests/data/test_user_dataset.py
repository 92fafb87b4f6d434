"""Tests of data/user_dataset.py: faults of images and labels that a function of the user's returns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import raytrain
from raytrain.data import ImageDataset, load
from raytrain.errors import DataError
from raytrain.training.choices import DATASET_CHOICES

HEAD = "from pathlib import Path\nimport numpy\n\n\ndef load():\n    "
PIXELS = HEAD + "images = numpy.random.default_rng(0).integers(0, 256, (len(labels := {0}), 4, 4)).astype('uint8')\n"
Loaded = Callable[..., ImageDataset]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded(folder: Path) -> Loaded:
    """Load the data set of a module's function `load`."""

    def of(source: str, *, skip_bad: bool = False) -> ImageDataset:
        (folder / "mine.py").write_text(source)
        return load(raytrain.code("mine.py:load"), image_size=8, test_size=2, skip_bad=skip_bad)

    return of


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """The source of a function that returns eight paths in two classes, three of which lead to no image."""
    for number in range(7):
        image = Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8))
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    (tmp_path / "5.png").write_bytes(b"")
    return HEAD + "return [f'{number}.png' for number in range(8)], ['cat', 'dog'] * 4\n"


def test_all_paths_that_lead_to_no_image_are_named_at_once(photos: str, loaded: Loaded):
    with pytest.raises(DataError) as raised:
        loaded(photos)
    first, *named, advice = str(raised.value).splitlines()
    assert first == "3 images cannot be read:"
    assert sorted(line.split()[0] for line in named) == ["2.png", "5.png", "7.png"]
    assert "  7.png cannot be read (No such file or directory)" in named
    assert "--set skip_bad=true" in advice


def test_skip_bad_goes_on_without_the_paths_that_lead_to_no_image(photos: str, loaded: Loaded):
    found = loaded(photos, skip_bad=True)
    rows = {
        name: (int(image[0, 0, 0]), found.classes[label])
        for part, images in found.parts.items()
        for name, image, label in zip(found.origin.names[part], images.images[:], images.labels, strict=True)
    }
    assert rows == {f"{n}.png": (n, ("cat", "dog")[n % 2]) for n in (0, 1, 3, 4, 6)}
    assert len(found.origin.unreadable) == 3


def test_a_class_of_which_no_path_leads_to_an_image_is_refused_with_skip_bad_too(photos: str, loaded: Loaded):
    lost = photos.replace("['cat', 'dog'] * 4", "['cat'] * 7 + ['dog']")
    with pytest.raises(DataError, match="without them train holds no image of the class dog; replace them"):
        loaded(lost, skip_bad=True)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("[1, 2] * 4", ("1", "2")), ("[0, 10**12] * 4", ("0", "1000000000000")), ("[0, 1] * 4", ("0", "1"))],
)
def test_each_label_is_a_class_and_a_number_that_is_no_label_is_none(
    labels: str, classes: tuple[str, ...], loaded: Loaded
):
    found = loaded(PIXELS.format(labels) + "    return images, labels\n")
    assert found.classes == classes
    assert sorted({*found.train.labels.tolist(), *found.test.labels.tolist()}) == [0, 1]
    assert any("do not count from 0" in warning for warning in found.origin.warnings) is (classes != ("0", "1"))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            PIXELS.format("list(range(101))") + "    return images, labels\n",
            "have 101 different values.* that is an id",
        ),
        (
            PIXELS.format("[0, 1] * 4") + "    return {'train': (images, labels), 'test': (images, labels)}\n",
            "mine.py:load: the 8 test images are the training images",
        ),
        (
            PIXELS.format("[0, 1] * 4") + "    return {'train': (images, labels), 'test': (images, ['a', 'b'] * 4)}\n",
            "words as labels in one part and integers in another",
        ),
        (
            PIXELS.format("[0, 1] * 4") + "    return {'train': (images, labels), 'val': (images, labels)}\n",
            "mine.py:load: the 8 validation images are the training images",
        ),
        (HEAD + "return numpy.zeros((0, 4, 4), 'uint8'), numpy.zeros(0, 'int64')\n", "nothing to train on"),
        (HEAD + "return 'a.png', ['cat']\n", r"images of shape \(\) and type <U5; return .*, or a list of paths"),
        (
            PIXELS.format("numpy.arange(8) % 2") + "    part = images[:0], labels[:0]\n"
            "    return {'train': part, 'test': (images, labels), 'classes': ['cat', 'dog']}\n",
            "mine.py:.*: load returned train without an image: there is nothing to train on",
        ),
    ],
)
def test_what_would_give_wrong_results_is_refused(source: str, problem: str, loaded: Loaded):
    with pytest.raises(DataError, match=problem):
        loaded(source)


@pytest.mark.parametrize("missing", ["numpy.nan", "None", "float('nan')", "7"])
@pytest.mark.parametrize("kind", ["{}", "tuple({})", "numpy.array({}, dtype=object)"])
def test_the_first_label_that_is_no_name_beside_names_is_named(missing: str, kind: str, loaded: Loaded):
    labels = kind.format(f"['cat', 'dog', 'cat', {missing}, 'dog', {missing}]")
    said = str(7 if missing == "7" else None if missing == "None" else np.nan)
    with pytest.raises(
        DataError, match=rf"train: the label in row 3 \(counted from 0\) is {said}, and others are names"
    ):
        loaded(PIXELS.format(labels) + "    return images, labels\n")


NAN = "numpy.array([float('nan'), 'cat', 'cat', 'cat', numpy.nan, 'cat'])"
RETURNED = "    return images, labels\n"


def test_missing_labels_that_numpy_has_made_text_are_counted(loaded: Loaded):
    said = r"train: 2 of 6 labels are nan, in rows 0, 4 \(counted from 0\), .* if a class is really called nan, return"
    with pytest.raises(DataError, match=said):
        loaded(PIXELS.format(NAN) + RETURNED)


@pytest.mark.parametrize("labels", ["['nan', 'cat'] * 3", "numpy.array(['nan', 'cat'] * 3)"])
def test_a_class_may_be_called_nan_with_a_warning(labels: str, loaded: Loaded):
    found = loaded(PIXELS.format(labels) + RETURNED)
    assert found.classes == ("cat", "nan")
    (said,) = found.origin.warnings
    assert said.startswith("3 training images have the label nan: if that is a missing label, leave it out")


@pytest.mark.parametrize("labels", [NAN, "['nan', 'cat'] * 3"])
def test_a_class_that_classes_call_nan_is_not_warned_of(labels: str, loaded: Loaded):
    text = PIXELS.format(labels) + "    return {'train': (images, labels), 'classes': ['cat', 'nan']}\n"
    assert loaded(text).origin.warnings == []


@pytest.mark.parametrize("kind", ["{}", "numpy.array({})"])
def test_empty_labels_are_counted(kind: str, loaded: Loaded):
    with pytest.raises(DataError, match=r"train: 2 of 6 labels are empty, in rows 1, 5 \(counted from 0\)"):
        loaded(PIXELS.format(kind.format("['cat', '', 'dog', 'cat', 'dog', ' ']")) + RETURNED)


@pytest.mark.parametrize("kind", ["[0, None, 1, 0, None, 1]", "numpy.array([0, numpy.nan, 1, 0, numpy.nan, 1])"])
def test_missing_labels_beside_numbers_are_counted(kind: str, loaded: Loaded):
    with pytest.raises(DataError, match=r"of which 2 are missing, in rows 1, 4 \(counted from 0\); return integers"):
        loaded(PIXELS.format(kind) + RETURNED)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of photos with labels.csv, and write the function of the document that reads it."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "your-own.md").read_text()
    Path("my_photos.py").write_text(text.partition("# my_photos.py\n")[2].partition("```")[0])
    for number in range(8):
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{('cat', 'dog')[number % 2]}\n" for number in range(8)]
    (tmp_path / "labels.csv").write_text("".join(["file,label\n", *rows]))
    return tmp_path


def test_the_table_of_the_document_is_read(table: Path):
    found = load(raytrain.code("my_photos.py:labelled") + f"(folder='{table}')", image_size=8, test_size=2)
    assert found.classes == ("cat", "dog")
    for part in found.parts.values():
        assert (part.images[:][:, 0, 0, 0] % 2).tolist() == part.labels.tolist()


def test_a_row_of_a_table_without_a_label_is_named(table: Path):
    with (table / "labels.csv").open("a") as file:
        file.write("0.png,\n")
    with pytest.raises(DataError, match=r"the label in row 8 \(counted from 0\) is nan"):
        load(raytrain.code("my_photos.py:labelled") + f"(folder='{table}')", image_size=8)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            "folder=/data/photos",
            r"'my_photos.py:labelled\(folder=/data/photos\)' cannot be read; write name",
        ),
        ("place=3", r"my_photos.py.*unexpected keyword argument 'place'"),
    ],
)
@pytest.mark.usefixtures("table")
def test_arguments_that_cannot_be_read_are_one_message(arguments: str, problem: str):
    with pytest.raises(DataError, match=problem):
        load(raytrain.code("my_photos.py:labelled") + f"({arguments})", image_size=8)


@pytest.mark.parametrize("kind", ["pandas.Series({0}, dtype=object)", "pandas.Series({0}, dtype='category')"])
def test_names_in_a_column_of_pandas_are_labels(kind: str, loaded: Loaded):
    labels = kind.format("['cat', 'dog'] * 4")
    found = loaded("import pandas\n" + PIXELS.format(labels) + "    return images, labels\n")
    assert found.classes == ("cat", "dog")
    assert np.bincount(found.train.labels).tolist() == [3, 3]


@pytest.mark.parametrize("part", ["test", "val"])
@pytest.mark.parametrize(("labels", "more"), [("['cat', 'dog']", "'eel'"), ("[0, 1]", "2")])
def test_a_class_that_training_lacks_is_refused_unless_classes_name_it(
    part: str, labels: str, more: str, loaded: Loaded
):
    pixels = PIXELS.format(f"{labels} * 4 + [{more}]")
    parts = f"'train': (images[:4], labels[:4]), '{part}': (images[4:], labels[4:])"
    with pytest.raises(DataError, match=rf"images of the class {more.strip(chr(39))}, of which train has none"):
        loaded(f"{pixels}    return {{{parts}}}\n")
    found = loaded(f"{pixels}    return {{{parts}, 'classes': ['cat', 'dog', 'eel']}}\n")
    assert found.classes == ("cat", "dog", "eel")
    assert found.origin.warnings == ["there is no training image of the class eel"]


WITH_CLASSES = PIXELS.format("[0, 1] * 4") + "    return {{'train': (images, labels), 'classes': {0}}}\n"


@pytest.mark.parametrize(
    ("classes", "kind"),
    [("{'dog': 1, 'cat': 0}", "dict"), ("{'cat', 'dog'}", "set"), ("'cd'", "str"), ("2", "int")],
)
def test_names_of_classes_that_are_no_list_are_refused(classes: str, kind: str, loaded: Loaded):
    with pytest.raises(DataError, match=f"load returned classes of the type {kind}; return a list of the names"):
        loaded(WITH_CLASSES.format(classes))


@pytest.mark.parametrize("classes", ["['cat', 'dog']", "numpy.array(['cat', 'dog'])", "iter(('cat', 'dog'))"])
def test_names_of_classes_are_taken_in_their_order(classes: str, loaded: Loaded):
    assert loaded(WITH_CLASSES.format(classes)).classes == ("cat", "dog")


def test_two_classes_of_the_same_name_are_refused(loaded: Loaded):
    with pytest.raises(DataError, match="load gives several classes the name cat; give each a name of its own"):
        loaded(WITH_CLASSES.format("['cat', 'cat']"))


TYPED = """
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy


def load(*, folder: Path, names: Iterable[str], limit: int | None = None):
    assert folder.name == "b"
    images = numpy.arange(4 * 64, dtype=numpy.uint8).reshape(4, 8, 8)
    return images[:limit], [*names, *names]
"""


@pytest.mark.usefixtures("folder")
def test_a_recipe_gives_a_path_and_several_names_as_the_function_declares_them():
    Path("mine.py").write_text(TYPED)
    given = {"folder": "/a/b", "names": ["c", "d"]}
    text = DATASET_CHOICES.canonical({raytrain.code("mine.py:load"): given})
    assert text.endswith("(folder='/a/b', names=[c, d])")
    assert DATASET_CHOICES.canonical(text) == text
    assert load(text, image_size=8, test_size=2).classes == ("c", "d")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("names", ["cat", "{'cat': 1}"])
def test_a_word_in_the_place_of_several_names_is_not_taken_for_its_letters(names: str):
    Path("mine.py").write_text(TYPED)
    text = raytrain.code("mine.py:load") + f"(folder='/a/b', names={names})"
    with pytest.raises(DataError, match=r"^data set mine\.py:load: names is .*: give a list$"):
        load(text, image_size=8, test_size=2)


@pytest.mark.usefixtures("folder")
def test_an_annotation_that_python_cannot_evaluate_takes_any_value_and_the_others_are_as_declared():
    Path("mine.py").write_text(TYPED.replace("int | None", "callable | None"))
    text = raytrain.code("mine.py:load") + "(folder='/a/b', names=[c, d], limit=4)"
    assert load(text, image_size=8, test_size=2).classes == ("c", "d")


def test_a_function_without_a_signature_is_one_message(loaded: Loaded):
    with pytest.raises(
        DataError, match=r"mine\.py:load: has no signature; name a function or a class written in Python"
    ):
        loaded("load = iter\n")
