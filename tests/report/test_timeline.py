"""Tests of raytrain.report.figures.timeline: who ran when, and on how many slots."""

from typing import Any

import pytest

from raytrain.report.figures.timeline import Timeline, timeline


def events(*rows: tuple[float, str, str]) -> list[dict[str, Any]]:
    """Return events of (seconds, event, trial)."""
    return [
        {"time": f"2026-01-01T{int(at) // 3600:02}:{int(at) // 60 % 60:02}:{at % 60:06.3f}+00:00", "event": name}
        | ({"trial": trial} if trial else {})
        for at, name, trial in rows
    ]


def shown(of: Timeline) -> list[tuple[str, float, float, str, int]]:
    return [(span.trial, span.start, span.end, span.outcome, span.slot) for span in of.spans]


def test_trials_that_overlap_are_on_different_slots() -> None:
    ran = timeline(
        events(
            (0, "started", "a"), (1, "started", "b"), (4, "stopped", "b"), (5, "started", "c"),
            (9, "finished", "a"), (10, "finished", "c"),
        )
    )  # fmt: skip
    assert shown(ran) == [
        ("a", 0, 9, "finished", 0),
        ("b", 1, 4, "stopped", 1),
        ("c", 5, 10, "finished", 1),
    ]
    assert (ran.slots, ran.seconds) == (2, 10)
    assert ran.utilization == pytest.approx((9 + 3 + 5) / 20)


def test_an_interruption_is_cut_out_and_marked() -> None:
    ran = timeline(
        events(
            (100, "started", "a"), (110, "interrupted", ""), (5000, "started", "a"), (5020, "finished", "a"),
        )
    )  # fmt: skip
    assert shown(ran) == [("a", 0, 10, "interrupted", 0), ("a", 10, 30, "finished", 0)]
    assert ran.breaks == [10]


def test_when_ray_is_lost_the_trials_end() -> None:
    ran = timeline(
        events(
            (0, "started", "a"), (0, "started", "b"), (600, "ray lost", ""),
            (50_400, "begun", ""), (50_400, "started", "a"), (50_460, "finished", "a"),
        )
    )  # fmt: skip
    assert shown(ran) == [
        ("a", 0, 600, "interrupted", 0),
        ("b", 0, 600, "interrupted", 1),
        ("a", 600, 660, "finished", 0),
    ]
    assert (ran.seconds, ran.breaks) == (660, [600])


@pytest.mark.parametrize("first", ["begun", "added", "proposed", "events lost"])
def test_trials_of_a_killed_command_last_until_its_last_event_and_not_until_the_next_command(first: str) -> None:
    ran = timeline(
        events(
            (0, "begun", ""), (1, "started", "a"), (2, "started", "b"), (601, "finished", "b"), (50_390, first, "c"),
            (50_400, "begun", ""), (50_401, "started", "a"), (50_461, "finished", "a"),
        )
    )  # fmt: skip
    assert shown(ran) == [
        ("a", 0, 600, "interrupted", 0),
        ("b", 1, 600, "finished", 1),
        ("a", 600, 660, "finished", 0),
    ]


def test_a_killed_trial_lasts_as_long_as_the_epochs_that_it_added() -> None:
    rows = {"a": [{"epoch": epoch, "seconds": 120.0 if epoch <= 5 else 20.0} for epoch in range(1, 9)]}
    told = events(
        (0, "begun", ""), (0, "started", "a"),
        (50_400, "begun", ""), (50_401, "started", "a"), (50_461, "finished", "a"),
    )  # fmt: skip
    told[3]["after_epoch"] = 5
    assert shown(timeline(told, rows)) == [("a", 0, 600, "interrupted", 0), ("a", 600, 660, "finished", 0)]
    assert timeline(told[:2], {"a": rows["a"][:5]}).seconds == 600, "no command has continued it"
    told[2]["time"] = told[3]["time"] = told[0]["time"].replace("T00:00", "T00:05")
    assert timeline(told, rows).spans[0].end == 300, "no longer than until the next command"


def test_a_trial_that_was_stopped_ends_there_also_if_a_kill_left_its_end_to_the_next_command() -> None:
    told = events(
        (0, "started", "a"), (100, "started", "b"), (500, "rung", "a"),
        (50_390, "stopped", "a"), (50_400, "begun", ""), (50_401, "started", "b"), (50_461, "finished", "b"),
    )  # fmt: skip
    told[2]["stop"] = True
    assert shown(timeline(told)) == [
        ("a", 0, 500, "stopped", 0),
        ("b", 100, 500, "interrupted", 1),
        ("b", 500, 560, "finished", 0),
    ]


def test_a_trial_that_lost_its_process_leaves_its_slot_until_it_starts_again() -> None:
    ran = timeline(
        events(
            (0, "started", "a"), (5, "worker lost", "a"), (5, "started", "b"), (50, "finished", "b"),
            (50, "started", "a"), (60, "finished", "a"),
        )
    )  # fmt: skip
    assert (ran.slots, ran.utilization) == (1, 1.0)
    assert [span.outcome for span in ran.spans] == ["interrupted", "finished", "finished"]


def test_a_trial_without_an_end_on_record_lasts_until_it_starts_again_or_the_events_end() -> None:
    ran = timeline(events((0, "started", "a"), (7, "started", "a"), (9, "started", "b"), (12, "rung", "a")))
    assert shown(ran) == [
        ("a", 0, 7, "interrupted", 0),
        ("a", 7, 12, "interrupted", 0),
        ("b", 9, 12, "interrupted", 1),
    ]


def test_a_run_that_never_started_has_an_empty_timeline() -> None:
    ran = timeline([])
    assert (ran.spans, ran.slots, ran.seconds, ran.utilization) == ([], 0, 0.0, 0.0)
