"""Tests of raytrain.report.plots and `raytrain plot`: files of each kind, right numbers, legends in one piece."""

import io
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.errors import ExperimentError
from raytrain.report.figures.below import labelled
from raytrain.report.figures.legend import MOST_COLOURED, legend
from raytrain.report.plots import Kind
from raytrain.report.plots.files import KINDS, figure_of, plot

pytestmark = pytest.mark.slow  # matplotlib takes a second to import
GRID = {"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]}


def test_each_kind_makes_a_file_of_each_format(make_run: Any) -> None:
    record = read_record(make_run(grid=GRID, ends={3: "stopped"}, asha={}, track_test=True))
    assert set(KINDS) == set(Kind)
    for kind, format_ in zip(Kind, cycle(["pdf", "svg", "png"]), strict=False):
        content = plot(record, kind, width=3, format_=format_)
        if format_ == "pdf":
            assert content.startswith(b"%PDF")
            assert b"/Type3" not in content
        elif format_ == "svg":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert Image.open(io.BytesIO(content)).width == 3 * 300
    assert plot(record, Kind.lr) == plot(record, Kind.lr), "the same run makes the same file"


def test_the_settings_of_matplotlib_that_lie_about_have_no_effect(make_run: Any) -> None:
    """`text.usetex` would have LaTeX run; a file matplotlibrc in the working folder may set it."""
    record = read_record(make_run(grid=GRID))
    expected = plot(record, Kind.lr)
    with mpl.rc_context({"text.usetex": True, "text.latex.preamble": "\\input{evil}", "lines.linewidth": 9}):
        assert plot(record, Kind.lr) == expected
        assert mpl.rcParams["text.usetex"], "they hold for others"


@pytest.mark.parametrize("width", [2.5, 6.75])
def test_a_legend_of_sixteen_long_names_lies_within_the_figure(make_run: Any, width: float) -> None:
    names = [f"/photos/of/many/kinds/of/birds/at/dawn/and/dusk/in/the/year/20{place:02}" for place in range(20)]
    record = read_record(make_run(grid={"dataset": names}, recipe={"epochs": 2}))
    figure = figure_of(record, Kind.val_accuracy, width=width)
    figure.canvas.draw()
    (shown,) = figure.legends
    there, whole = shown.get_window_extent(), figure.bbox
    assert len(shown.get_texts()) == MOST_COLOURED == 16
    assert whole.x0 <= there.x0 < there.x1 <= whole.x1
    assert whole.y0 <= there.y0 < there.y1 <= whole.y1
    (axes,) = figure.axes
    assert axes.get_tightbbox().y0 >= there.y1 - 1, "the curves keep their room"
    assert axes.get_window_extent().height > 0.25 * width * figure.dpi


@pytest.mark.parametrize(("count", "bars"), [(20, 20), (80, MOST_COLOURED)])
def test_the_intervals_of_many_grey_points_are_left_out(make_run: Any, count: int, bars: int) -> None:
    rates = [round(0.001 * step, 3) for step in range(1, count + 1)]
    record = read_record(make_run(grid={"lr": rates}, recipe={"epochs": 2}))
    figure = figure_of(record, Kind.parameters, width=6.0)
    containers = figure.axes[0].containers
    assert sum(len(one[0].get_xdata()) for one in containers) == count
    assert sum(len(one[0].get_xdata()) for one in containers if one[2]) == bars


def test_a_confusion_matrix_and_a_reliability_diagram_count_the_test_images(make_run: Any) -> None:
    record = read_record(make_run())
    assert record.chosen_trial
    own = record.predictions[record.chosen_trial.trial]
    written = [text.get_text() for text in figure_of(record, Kind.confusion).axes[0].texts]
    assert len(written) == 10 * 10
    assert sum(map(int, filter(None, written))) == len(own.labels) == 360
    assert sum(int(text or 0) for text in written[::11]) == own.correct.sum()
    axes, below = figure_of(record, Kind.reliability).axes
    counts = np.array([bar.get_height() for bar in below.patches])
    assert counts.sum() == 360
    heights = [bar.get_height() for bar in axes.patches]
    assert sum(heights * counts[counts > 0]) == pytest.approx(own.correct.sum())


def test_the_effects_of_two_fields_are_the_means_over_the_other_one(make_run: Any) -> None:
    record = read_record(make_run(grid=GRID))
    by_rate: dict[float, list[float]] = {}
    for result in record.results:
        by_rate.setdefault(result.recipe["lr"], []).append(100 * (result.test_accuracy or 0.0))
    panels = {axes.get_xlabel(): axes for axes in figure_of(record, Kind.effects).axes}
    assert set(panels) == {"lr", "schedule"}
    (points,) = panels["lr"].lines
    assert list(points.get_ydata()) == pytest.approx([sum(of) / len(of) for _, of in sorted(by_rate.items())])
    assert [text.get_text() for text in panels["lr"].get_xticklabels()] == ["0.1", "0.2"]


def test_parallel_coordinates_lead_each_configuration_to_its_accuracy(make_run: Any) -> None:
    record = read_record(make_run(grid=GRID))
    (axes,) = figure_of(record, Kind.parallel).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["lr", "schedule", "test accuracy %"]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    best, worst = record.ranking.standings[0], record.ranking.standings[-1]
    ends = {line.get_label(): line.get_ydata()[-1] for line in lines}  # by the label that `add_legend` reads
    assert len(ends) == len(record.ranking.standings) == 4
    assert (max(ends.values()), min(ends.values())) == (1.0, 0.0)
    entries = zip(legend(record.ranking), record.ranking.standings, strict=True)
    labels = {labelled(entry.label): one for entry, one in entries}
    assert labels[max(ends, key=ends.__getitem__)].test_accuracy == best.test_accuracy
    assert labels[min(ends, key=ends.__getitem__)].test_accuracy == worst.test_accuracy


def test_what_a_run_has_no_data_for_is_refused_with_the_reason(make_run: Any) -> None:
    record = read_record(make_run())
    for kind, why in ((Kind.test_loss, "track_test: true"), (Kind.heat_map, "two fields vary"), (Kind.seconds, "two")):
        with pytest.raises(ExperimentError, match=f"--kind {kind}: .*{why}"):
            figure_of(record, kind)


def test_a_heat_map_with_too_many_values_on_an_axis_is_refused_with_their_limit(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(make_run(grid=GRID))
    figure_of(record, Kind.heat_map)
    monkeypatch.setattr("raytrain.report.figures.heat_map.MOST_VALUES", 1)  # as a field with 41 values has it
    with pytest.raises(ExperimentError, match="each axis with at most 40 values"):
        figure_of(record, Kind.heat_map)


def test_a_grid_in_which_nothing_finished_has_no_figure_of_accuracies(make_run: Any) -> None:
    record = read_record(make_run(grid=GRID, ends=dict.fromkeys(range(4), "failed")))
    for kind in (Kind.heat_map, Kind.effects, Kind.parallel):
        with pytest.raises(ExperimentError, match=f"--kind {kind}: it takes a search in which two fields vary"):
            figure_of(record, kind)


def test_the_command_names_the_file_and_refuses_other_formats(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(make_run())
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["plot", folder, *arguments])

    written = run("--kind", "val-loss")
    assert (written.exit_code, written.stdout) == (0, "made-val-loss.pdf\n")
    assert Path("made-val-loss.pdf").read_bytes().startswith(b"%PDF")
    refused = run("--kind", "lr", "-o", "lr.gif")
    assert (refused.exit_code, "one of .pdf, .svg, .png" in refused.stderr) == (2, True)
    assert run("--kind", "nothing").exit_code == 2
