"""Tests of raytrain.experiment.paths: a relative path in an experiment file starts from the file."""

import os
from pathlib import Path

import pytest

from raytrain.errors import ExperimentError
from raytrain.experiment.reading import read_experiment


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("study/photos", "study/more (1)", "study/a#b", "here"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def datasets(text: str, folder: str = "study") -> list[str]:
    Path(folder, "x.yaml").write_text(text)
    return [trial.recipe.dataset for trial in read_experiment(Path(folder, "x.yaml")).trials()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recipe: {dataset: photos}", ["study/photos"]),
        ("recipe: {dataset: ./photos}", ["study/photos"]),
        ("recipe: {dataset: ../study/photos/}", ["study/photos"]),
        ("recipe: {dataset: more (1)}", ["study/more (1)"]),
        ("recipe: {dataset: 'photos#small'}", ["study/photos#small"]),
        ("recipe: {dataset: 'a#b'}", ["study/a#b"]),
        ("grid: {dataset: [photos, digits]}", ["study/photos", "digits"]),
        ("grid: {dataset: {photos: {lr: [0.1]}, digits: {}}}", ["study/photos", "digits"]),
        ("include: [{dataset: photos}]", ["study/photos"]),
        # what is no path stays
        ("recipe: {dataset: cifar10}", ["cifar10"]),
        ("recipe: {dataset: /data/photos}", ["/data/photos"]),
        ("recipe: {dataset: ~/photos}", ["~/photos"]),
        ("recipe: {dataset: 's3://bucket/photos'}", ["s3://bucket/photos"]),
        ("recipe: {dataset: 'hf:owner/name'}", ["hf:owner/name"]),
        # a name that is nowhere may be misspelled; a path says where it was looked for
        ("recipe: {dataset: cifra10}", ["cifra10"]),
        ("recipe: {dataset: ./nowhere}", ["study/nowhere"]),
    ],
)
def test_a_relative_path_starts_from_the_file(text: str, expected: list[str]):
    assert datasets(text) == expected


def test_an_absolute_file_gives_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "study/x.yaml").write_text("recipe: {dataset: photos}")
    monkeypatch.chdir("/")
    assert read_experiment(tmp_path / "study/x.yaml").recipe.dataset == str(tmp_path / "study/photos")


def test_beside_the_file_a_path_stays_as_it_is_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("study")
    assert datasets("recipe: {dataset: ./photos/}", ".") == ["./photos/"]


def test_a_path_that_is_only_in_the_working_folder_is_refused():
    with pytest.raises(ExperimentError) as caught:
        datasets("recipe:\n  dataset: here")
    assert str(caught.value) == (
        "study/x.yaml:2:3: dataset: study/here is not there; a relative path in an experiment file starts from the "
        "file. To name here in the working folder, write ../here, or give --set dataset=here"
    )


def test_what_the_command_line_gives_starts_from_the_working_folder():
    Path("study/x.yaml").write_text("recipe: {dataset: here}")  # refused above
    found = read_experiment(Path("study/x.yaml"), overrides={"dataset": "here"})
    assert found.recipe.dataset == "here"


def test_a_file_of_curves_starts_from_the_file_and_a_run_does_not():
    Path("study/bank.parquet").touch()
    Path("study/x.yaml").write_text("asha: {lose_at_most: 0.2, curves: [bank.parquet, earlier]}")
    asha = read_experiment(Path("study/x.yaml")).asha
    assert asha is not None
    assert asha.curves == ("study/bank.parquet", "earlier")


def test_in_a_pipe_a_path_starts_from_the_working_folder():
    reading, writing = os.pipe()
    os.write(writing, b"{name: x, recipe: {dataset: here}}")
    os.close(writing)
    try:
        assert read_experiment(Path(f"/dev/fd/{reading}")).recipe.dataset == "here"
    finally:
        os.close(reading)
