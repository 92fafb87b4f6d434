"""Tests of raytrain.experiment.paths: a relative path in an experiment file starts from the file."""

import os
from pathlib import Path

import pytest

from raytrain.errors import ExperimentError
from raytrain.experiment.reading import read_experiment


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("study/photos", "study/more (1)", "study/a#b", "here", "digits"):
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
        ("recipe: {dataset: ../digits}", ["./digits"]),  # a folder of that name
        ("grid: {optimizer: {sgd: {dataset: [photos]}}}", ["study/photos"]),
        ("grid: {dataset: [photos]}", ["study/photos"]),
        ("grid: {dataset: [digits]}", ["digits"]),
        ("grid: {dataset: {photos: {lr: [0.1]}}}", ["study/photos"]),
        ("include: [{dataset: photos}]", ["study/photos"]),
        # what is no path stays
        ("recipe: {dataset: cifar10}", ["cifar10"]),
        ("recipe: {dataset: /data/photos/}", ["/data/photos/"]),
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


def test_the_path_of_the_file_changes_nothing(tmp_path: Path):
    (tmp_path / "study/x.yaml").write_text("recipe: {dataset: photos}")
    assert read_experiment(tmp_path / "study/x.yaml").recipe.dataset == "study/photos"


def test_a_path_goes_through_links_as_the_system_does(tmp_path: Path):
    (tmp_path / "elsewhere/photos").mkdir(parents=True)
    (tmp_path / "elsewhere/study").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere/study")
    assert datasets("recipe: {dataset: ../photos}", "link") == ["link/../photos"]


def test_values_that_are_drawn_start_from_the_file():
    Path("study/x.yaml").write_text("grid: {dataset: {choice: [photos]}}\nsamples: 1")
    assert read_experiment(Path("study/x.yaml")).grid["dataset"] == ("study/photos",)


def test_an_argument_of_that_name_is_no_path(tmp_path: Path):
    (tmp_path / "study/net.py").write_text("def make(num_classes, dataset='a'): ...")
    (tmp_path / "study/x.yaml").write_text("recipe: {arch: {'net.py:make': {dataset: photos}}}")
    assert "dataset=photos" in read_experiment(tmp_path / "study/x.yaml").recipe.arch


def test_beside_the_file_a_path_stays_as_it_is_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("study")
    assert datasets("recipe: {dataset: ./photos/}", ".") == ["./photos/"]


@pytest.mark.parametrize("name", ["here", "here#small"])
def test_a_path_that_is_only_in_the_working_folder_is_refused(name: str):
    with pytest.raises(ExperimentError) as caught:
        datasets(f"recipe:\n  dataset: '{name}'")
    assert str(caught.value) == (
        f"study/x.yaml:2:3: dataset: study/{name} is not there; a relative path in an experiment file starts from the "
        f"file. To name {name} in the working folder, write ../{name}, or give --set dataset={name}"
    )


def test_what_the_command_line_gives_starts_from_the_working_folder():
    Path("study/x.yaml").write_text("recipe: {dataset: here}")  # refused above
    found = read_experiment(Path("study/x.yaml"), overrides={"dataset": "here"})
    assert found.recipe.dataset == "here"
    axis = read_experiment(Path("study/x.yaml"), changes={"grid": {"dataset": ["here"]}})
    assert [trial.recipe.dataset for trial in axis.trials()] == ["here"]


def test_a_file_of_curves_starts_from_the_file_and_a_run_does_not():
    Path("study/bank.parquet").touch()
    Path("study/earlier").mkdir()  # a run by its name lies in --out
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


def test_a_file_of_curves_that_is_only_in_the_working_folder_is_refused():
    Path("bank.parquet").touch()
    Path("study/x.yaml").write_text("asha: {lose_at_most: 0.2, curves: [bank.parquet]}")
    with pytest.raises(ExperimentError, match=r"asha\.curves: study/bank\.parquet is not there; .*\.\./bank\.parquet$"):
        read_experiment(Path("study/x.yaml"))
