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


def test_a_killed_trial_lasts_until_it_starts_again_or_the_events_end() -> None:
    ran = timeline(events((0, "started", "a"), (7, "started", "a"), (9, "started", "b"), (12, "rung", "a")))
    assert shown(ran) == [
        ("a", 0, 7, "interrupted", 0),
        ("a", 7, 12, "interrupted", 0),
        ("b", 9, 12, "interrupted", 1),
    ]


def test_a_run_that_never_started_has_an_empty_timeline() -> None:
    ran = timeline([])
    assert (ran.spans, ran.slots, ran.seconds, ran.utilization) == ([], 0, 0.0, 0.0)
