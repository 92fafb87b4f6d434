"""Tests of raytrain.report.figures.pictures: the four files, and the curves of a page without scripts."""

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from raytrain.analysis.record import RunRecord, read_record
from raytrain.experiment.experiment import Experiment
from raytrain.report.figures.legend import legend
from raytrain.report.figures.pictures import PICTURES, pictures, static_curves
from raytrain.report.plots import Kind
from raytrain.report.plots.files import plot
from raytrain.runs.state import RunState
from raytrain.storage.folder import Folder

pytestmark = pytest.mark.slow  # matplotlib takes a second to import


def colours(png: bytes) -> set[str]:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.uint32)
    return {f"#{colour:06x}" for colour in np.unique(pixels @ np.array([2**16, 2**8, 1], dtype=np.uint32))}


@pytest.mark.parametrize("track_test", [True, False])
def test_each_picture_has_a_line_or_point_of_every_configuration(make_run: Any, track_test: bool) -> None:
    record = read_record(make_run(grid={"lr": [0.1, 0.2, 0.3]}, ends={1: "stopped"}, asha={}, track_test=track_test))
    entries = legend(record.ranking)
    drawn = pictures(record, entries)
    assert set(drawn) == set(PICTURES) == {"Accuracy_Test", "Accuracy_Train", "Loss_Test", "Loss_Train"}
    for png in drawn.values():
        there = colours(png)
        for entry in entries:
            assert entry.colour.lower() in there


def test_a_run_without_an_epoch_still_makes_pictures(tmp_path: Path) -> None:
    empty = RunRecord(Folder.at(tmp_path), RunState(Experiment(name="x")))
    assert {Image.open(io.BytesIO(png)).format for png in pictures(empty, legend(empty.ranking)).values()} == {"PNG"}


def test_static_curves_are_well_formed_and_take_the_colour_of_the_text(make_run: Any) -> None:
    record = read_record(make_run(grid={"dataset": ["digits", "$a_b$/ünï<c>日本"]}))
    svg = static_curves(record, legend(record.ranking))
    tree = ElementTree.fromstring(svg)
    assert tree.tag.endswith("svg")
    text = "".join(tree.itertext())
    assert "$a_b$/ünï<c>日本" in text
    assert "currentColor" in svg
    assert svg == static_curves(record, legend(record.ranking))


def test_the_legends_of_sixteen_long_names_lie_within_the_pictures(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    names = [f"/photos/of/many/kinds/of/birds/at/dawn/and/dusk/in/the/year/20{place:02}" for place in range(16)]
    record = read_record(make_run(grid={"dataset": names}, recipe={"epochs": 2}))
    entries = legend(record.ranking)
    pictures(record, entries)
    static_curves(record, entries)
    assert len(figures) == len(PICTURES) + 1
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        (shown,) = figure.legends
        there, whole = shown.get_window_extent(), figure.bbox
        assert len(shown.get_texts()) >= 16
        assert whole.x0 <= there.x0 < there.x1 <= whole.x1
        assert whole.y0 <= there.y0 < there.y1 <= whole.y1


def test_a_name_that_begins_with_an_underscore_is_in_the_legends(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    record = read_record(make_run(grid={"dataset": ["_birds", "_cats", "dogs"]}, recipe={"epochs": 2}))
    pictures(record, legend(record.ranking))
    for kind in (Kind.val_accuracy, Kind.seconds):
        plot(record, kind)
    assert len(figures) == len(PICTURES) + 2
    for figure in figures:
        (shown,) = figure.legends
        assert {"_birds", "_cats", "dogs"} <= {text.get_text() for text in shown.get_texts()}
