"""Tests of raytrain.report.live and raytrain.report.lines: the table on a terminal, and lines where there is none."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raytrain.errors import DivergenceError
from raytrain.experiment.asha import Decision
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.report import lines, live
from raytrain.runs.progress import Setting
from raytrain.runs.results import varied_fields
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.outcome import outcome_of

RATES = [0.1, 0.2, 0.3, 0.4]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunJournal]:
    experiment = Experiment.model_validate({"name": "lr", "recipe": {"epochs": 2}, "grid": {"lr": RATES}})
    trials = experiment.trials()
    folder = RunJournal.open(Folder.at(tmp_path / "run"), experiment, trials)
    folder.begin({trial.id: 7 for trial in trials})
    yield folder
    folder.close()


def report(epoch: int) -> Report:
    some = Evaluation(1.0, 0.625)
    final = FinalMetrics(epoch, some, some, some, "fp32", "cpu") if epoch == 2 else None
    return Report(EpochMetrics(epoch, 1.0, 0.5, some, None, 0.1, 30.0), final)


def begin(run: RunJournal) -> tuple[str, str, str, str]:
    """Leave one trial finished, one diverged, one in the middle of its second epoch and one waiting."""
    finished, diverged, running, waiting = run.state.progress
    for trial in (finished, running):
        run.started(trial)
        run.reported(trial, report(1))
    run.reported(finished, report(2))
    run.started(diverged)
    run.ended(diverged, outcome_of(DivergenceError(1)))
    run.state.progress[running].within_epoch = 0.5
    return finished, diverged, running, waiting


def rendered(run: RunJournal, *, rows: int = 10, width: int = 160, left: float | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    varied = varied_fields(progress.trial.recipe.model_dump() for progress in run.state.progress.values())
    console.print(live.live_table(run.state, varied=varied, rows=rows, width=width, seconds=3725, left=left))
    return console.export_text().splitlines()


def digest(run: RunJournal, trial: str) -> str:
    return run.state.progress[trial].trial.recipe.digest


def test_running_trials_come_first_then_ended_ones_by_rank_then_waiting_ones(run: RunJournal):
    finished, diverged, running, waiting = begin(run)
    listed = [line for line in rendered(run) if "resnet18" in line]
    assert [line.split()[0] for line in listed] == [digest(run, t) for t in (running, finished, diverged, waiting)]
    assert [line.split()[-1] for line in listed] == ["running", "finished", "1", "waiting"]
    assert "1.5/2" in listed[0]
    assert "62.50" in listed[0]
    assert " 0:00:30 " in listed[0]
    assert " 0:00:15 " in listed[0]  # half an epoch is left
    assert "2/2" in listed[1]
    assert "diverged at epoch 1" in listed[2]
    assert listed[3].split()[3:] == ["waiting"], "nothing is known of it: no zeros"


@pytest.mark.parametrize("width", [110, 80, 60])
def test_a_narrow_terminal_loses_columns_and_not_letters(run: RunJournal, width: int):
    begin(run)
    lines = rendered(run, width=width)
    assert all(len(line.rstrip()) <= width for line in lines)
    assert sum("diverged at epoch 1" in line for line in lines) == 1
    assert sum("resnet18" in line for line in lines) == 4
    assert not any("…" in line for line in lines)


def test_long_names_of_networks_fit_80_columns(tmp_path: Path):
    names = [f"timm:convnextv2_tiny.fcmae_ft_in22k_in1k_{size}" for size in (224, 384)]
    grid = {"arch": names, "lr": [0.1, 0.003], "optimizer": ["sgd", "adam"]}
    experiment = Experiment.model_validate({"name": "long", "recipe": {"epochs": 2}, "grid": grid})
    made = RunJournal.open(Folder.at(tmp_path / "long"), experiment, experiment.trials())
    made.begin({})
    made.started(next(iter(made.state.progress)))
    lines = rendered(made, width=80)
    made.close()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert sum("convnextv2_" in line for line in lines) == 8
    assert any("running" in line for line in lines)


def test_the_header_counts_and_says_the_time(run: RunJournal):
    begin(run)
    assert rendered(run)[0].strip() == "lr  1 running · 1 waiting · 1 finished · 1 diverged  1:02:05"


def set_up(run: RunJournal) -> RunJournal:
    """Say that trials run one after another, on 600 images an epoch."""
    key = run.state.experiment.recipe.data_key
    run.state.setting = Setting(1, images={key: 600}, classes={key: 10})
    return run


def test_speed_time_left_and_gpu_memory_are_said_of_running_trials(run: RunJournal):
    _, _, running, _ = begin(set_up(run))
    run.state.progress[running].gpu_bytes = 3_200_000_000
    _, forecast, header, *rows = rendered(run, left=75.0)
    assert forecast.strip() == "about 0:01:15 left · 20 images/s · 3.2 GB of GPU memory"
    assert header.split()[-9:] == ["images/s", "GPU", "train", "%", "val", "%", "time", "left", "status"]
    assert rows[0].split()[-8:] == ["20", "3.2", "GB", "50.00", "62.50", "0:00:30", "0:00:15", "running"]
    assert not any("20" in row.split() or "GB" in row for row in rows[1:]), "ended ones hold and do nothing"


def test_a_trial_in_its_first_epoch_takes_as_long_as_those_like_it(run: RunJournal):
    *_, waiting = begin(set_up(run))
    run.started(waiting)
    run.state.progress[waiting].within_epoch = 0.2
    row = next(line for line in rendered(run) if digest(run, waiting) in line)
    assert row.split()[-2:] == ["0:00:54", "running"], "1.8 epochs of 30 s"


@pytest.mark.parametrize("width", [80, 60])
def test_all_that_is_said_of_running_trials_fits(run: RunJournal, width: int):
    _, _, running, _ = begin(set_up(run))
    run.state.progress[running].gpu_bytes = 3_200_000_000
    lines = rendered(run, left=75.0, width=width)
    assert all(len(line.rstrip()) <= width for line in lines)
    assert any("0:00:15" in line and "0.3" in line for line in lines), "the time that is left, and what varies"


def test_fields_that_differ_have_a_column(run: RunJournal):
    begin(run)
    header, *rows = rendered(run)[1:]
    assert header.split()[:3] == ["trial", "arch", "lr"]
    assert {row.split()[2] for row in rows if "resnet18" in row} == set(map(str, RATES))


@pytest.mark.parametrize(("rows", "more"), [(10, 0), (4, 0), (3, 1), (1, 3), (0, 3), (-5, 3)])
def test_what_does_not_fit_is_counted(run: RunJournal, rows: int, more: int):
    begin(run)
    lines = rendered(run, rows=rows)
    assert sum("resnet18" in line for line in lines) == 4 - more
    assert any(f"… and {more} more" in line for line in lines) == (more > 0)


def test_a_trial_that_was_started_again_says_so(run: RunJournal):
    trial = next(iter(run.state.progress))
    run.started(trial)
    run.started(trial)
    assert any("running (attempt 2)" in line for line in rendered(run))


def test_a_name_with_brackets_is_no_markup(tmp_path: Path):
    experiment = Experiment.model_validate(
        {"name": "x", "grid": {"dataset": ["[red]a", "[/nothing]"]}, "recipe": {"epochs": 2}}
    )
    trials = experiment.trials()
    folder = RunJournal.open(Folder.at(tmp_path / "run"), experiment, trials)
    text = "\n".join(rendered(folder))
    folder.close()
    assert "[red]a" in text
    assert "[/nothing]" in text


# ---------------------------------------------------------------- lines


def shown(run: RunJournal, act: Any, **terminal: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=60, record=True, **terminal)
    assert console.is_terminal is bool(terminal)
    with live.run_shown(run.state, console):
        act(run)
    return console.export_text().splitlines()


def test_without_a_terminal_each_start_and_end_is_a_line(run: RunJournal):
    lines = shown(run, begin)
    finished, diverged, running, _ = run.state.progress
    said = [line.split(maxsplit=2)[1:] for line in lines]
    assert [finished, "started"] in said
    assert [finished, "finished  train 62.50 %  val 62.50 %  test 62.50 %"] in said
    assert [diverged, "diverged at epoch 1"] in said
    assert [running, "started"] in said
    assert len(lines) == 5


def test_a_terminal_that_cannot_move_its_cursor_gets_the_lines_too(run: RunJournal):
    assert len(shown(run, begin, force_terminal=True, _environ={"TERM": "dumb"})) == 5


def test_a_line_is_not_broken_where_the_output_is_narrow(run: RunJournal):
    assert all(len(line.split()) >= 3 for line in shown(run, begin))


def test_progress_is_a_line_after_some_seconds_and_within_an_epoch_after_more(
    run: RunJournal, monkeypatch: pytest.MonkeyPatch
):
    now = 100.0
    monkeypatch.setattr(lines.time, "monotonic", lambda: now)
    written = lines._Lines(run.state)
    trial = next(iter(run.state.progress))
    run.started(trial)
    assert [line.split()[2] for line in written.new()] == ["started"]
    run.state.progress[trial].within_epoch = 0.25
    now += lines.WITHIN_EPOCH_LINE_EVERY_S - 1
    assert list(written.new()) == []
    now += 1
    (line,) = written.new()
    assert line.endswith(f"{trial}  25% of epoch 1/2")
    now += 100
    assert list(written.new()) == []  # it stands still
    run.state.progress[trial].within_epoch = 0.5
    assert len(list(written.new())) == 1
    run.reported(trial, report(1))
    now += lines.EPOCH_LINE_EVERY_S - 1
    assert list(written.new()) == []
    now += 1
    (line,) = written.new()
    assert line.endswith("epoch 1/2  train 50.00 %  val 62.50 %")


def test_the_name_of_a_host_sets_no_title_of_the_terminal(run: RunJournal):
    def act(run: RunJournal) -> None:
        trial = next(iter(run.state.progress))
        run.note({"event": "elsewhere", "trial": trial, "hosts": ["box\x1b]0;owned\x07"]})

    (line,) = shown(run, act)
    assert line.endswith(r"on box\x1b]0;owned\x07")


def test_rungs_and_interruptions_are_no_lines(run: RunJournal):
    def act(run: RunJournal) -> None:
        run.note({"event": "interrupted", "exit_code": 130})
        run.judged(next(iter(run.state.progress)), epoch=1, decision=Decision(1.0, 0.5, None, stop=False))

    assert shown(run, act) == []


def test_on_a_terminal_the_table_is_drawn_and_removed(run: RunJournal):
    file = io.StringIO()
    console = Console(file=file, width=120, height=20, force_terminal=True)
    with live.run_shown(run.state, console):
        begin(run)
    assert "resnet18" in file.getvalue()
    assert "waiting" in file.getvalue()
    assert "\x1b[1A\x1b[2K" in file.getvalue()  # up, and the line erased


def test_a_table_that_takes_long_to_draw_is_drawn_less_often():
    now, drawn = 0.0, []

    def draw(width: int, rows: int) -> str:
        nonlocal now
        drawn.append((width, rows))
        now += 0.5
        return f"drawing {len(drawn)}"

    table = live.seldom(draw, now=lambda: now)
    assert table(80, 10) == "drawing 1"
    now += 0.5 * live.REST - 0.1
    assert table(80, 10) == "drawing 1"
    assert table(100, 10) == "drawing 2"  # the terminal has become wider
    now += 0.5 * live.REST
    assert table(100, 10) == "drawing 3"
