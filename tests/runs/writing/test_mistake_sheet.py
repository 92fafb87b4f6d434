"""Tests of raytrain.runs.writing.mistake_sheet: the picture of what a trial gets wrong, and its way to TensorBoard."""

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.metrics.predictions import Predictions
from raytrain.runs.writing.journal import RunJournal
from raytrain.runs.writing.mistake_sheet import CELL, MOST, SIDE, TAG, NamedImages, mistake_sheet
from raytrain.storage.folder import Folder

GREYS = np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((40, 8, 8, 3), dtype=np.uint8)
"""Forty images, each of one grey: its number."""
TESTS = NamedImages(GREYS, ["cat", "dog"])


def predictions(*wrong: int) -> Predictions:
    """Return predictions of forty cats, some taken for dogs; the network is the surer the higher the image's number."""
    predicted = np.zeros(40, dtype=np.int64)
    predicted[list(wrong)] = 1
    return Predictions(np.zeros(40, dtype=np.int64), predicted, np.linspace(0.5, 1, 40, dtype=np.float32))


def shown(sheet: Any) -> list[int]:
    """Return the greys in the middle of the cells of a sheet, row by row, without those of the paper."""
    rows, columns = sheet.shape[0] // CELL[1], sheet.shape[1] // CELL[0]
    middles = [
        sheet[row * CELL[1] + 4 + SIDE // 2, column * CELL[0] + CELL[0] // 2, 0]
        for row in range(rows)
        for column in range(columns)
    ]
    return [int(grey) for grey in middles if grey != 255]


def test_the_sheet_has_the_surest_mistakes_first() -> None:
    assert shown(mistake_sheet(predictions(3, 17, 30), TESTS)) == [30, 17, 3]
    many = mistake_sheet(predictions(*range(40)), TESTS)
    assert shown(many) == list(range(39, 39 - MOST, -1))
    assert many is not None
    assert many.shape == (3 * CELL[1], 4 * CELL[0], 3)


def test_the_text_below_an_image_depends_on_the_names_of_the_classes() -> None:
    first, second = (mistake_sheet(predictions(3), TESTS._replace(classes=names)) for names in (["a", "b"], ["b", "a"]))
    assert first is not None
    assert second is not None
    assert (first[: 4 + SIDE] == second[: 4 + SIDE]).all()
    assert (first[4 + SIDE :] != second[4 + SIDE :]).any()


def test_a_class_name_with_a_line_break_is_drawn_in_one_line() -> None:
    broken, plain = (mistake_sheet(predictions(3), TESTS._replace(classes=[name, "dog"])) for name in ("a\nb", "a b"))
    assert broken is not None
    assert (broken == plain).all()


def test_a_class_name_wider_than_its_cell_stays_within_it() -> None:
    sheet = mistake_sheet(predictions(3), TESTS._replace(classes=["cat" * 40, "dog" * 40]))
    assert sheet is not None
    text = sheet[4 + SIDE :]
    assert (text[:, [0, 1, 2, -3, -2, -1]] == 255).all()
    assert (text != 255).any()


def test_nothing_wrong_makes_no_sheet() -> None:
    assert mistake_sheet(predictions(), TESTS) is None


Begin = Callable[[NamedImages], tuple[RunJournal, str]]


@pytest.fixture
def begin(tmp_path: Any) -> Begin:
    """Return a function that begins a run of one trial with these test images."""
    from raytrain.experiment.experiment import Experiment

    def begin_(tests: NamedImages) -> tuple[RunJournal, str]:
        experiment = Experiment.model_validate({"name": "made", "recipe": {"epochs": 3, "width": 4}})
        journal = RunJournal.open(Folder.at(tmp_path) / "made", experiment, experiment.trials())
        (trial,) = experiment.trials()
        journal.tests = {trial.recipe.data_key: tests}
        journal.begin({trial.id: 1000})
        journal.started(trial.id)
        return journal, trial.id

    return begin_


def finish(journal: RunJournal, trial: str) -> None:
    """Report the three epochs of a trial; its best one is the second."""
    one = Evaluation(1.0, 0.5)
    final = FinalMetrics(2, one, one, one, "fp32", "cpu", predictions(3, 17).to_bytes())
    for epoch in (1, 2, 3):
        report = Report(EpochMetrics(epoch, 1.0, 0.5, one, None, lr=0.1, seconds=1.0))
        journal.reported(trial, replace(report, final=final) if epoch == 3 else report)
    journal.close()


def pictures(folder: Folder, trial: str) -> dict[tuple[str, int], Any]:
    """Return the pictures in a trial's event files by tag and step, read past tensorboardX's reader."""
    found: dict[tuple[str, int], Any] = {}
    for path in sorted((folder / "trials" / trial / "tb").local_path.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                if value.HasField("image"):
                    image = Image.open(io.BytesIO(value.image.encoded_image_string))
                    found[value.tag, event.step] = np.asarray(image)
    return found


def test_a_trial_that_has_finished_has_the_sheet_at_the_epoch_whose_weights_were_tested(begin: Begin) -> None:
    journal, trial = begin(TESTS)
    finish(journal, trial)
    found = pictures(journal.folder, trial)
    assert list(found) == [(TAG, 2)]
    assert shown(found[TAG, 2]) == [17, 3]


def test_a_sheet_that_cannot_be_drawn_loses_nothing_of_the_trial(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    journal, trial = begin(TESTS._replace(images=GREYS[:5]))  # fewer images than predictions
    finish(journal, trial)
    assert journal.state.progress[trial].result is not None
    assert journal.state.progress[trial].result.status == "finished"
    assert pictures(journal.folder, trial) == {}
    assert "no picture of the mistakes" in caplog.text


def test_what_tune_pickles_of_the_journal_has_no_images(begin: Begin) -> None:
    journal, _ = begin(TESTS)
    assert "tests" not in journal.__getstate__()
    journal.close()
