"""When each trial ran where: spans of time from a run's events, packed into the slots they must have had."""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from raytrain.report.figures.legend import Entry

ENDS = {"finished", "stopped", "paused", "diverged", "failed", "running"}
"""Events at which a bar ends. "running" is not in events.jsonl: the live page adds it for each running trial."""
ENDS_ALL = {"interrupted", "ray lost"}
"""Events at which every bar ends: the command trains no further."""
BEFORE_TRAINING = {"begun", "added", "withdrawn", "proposed", "asha chosen", "events lost"}
"""Events that a command writes before it trains, perhaps a night after another was killed: they show no trial at work.
"""
MOST_NAMED = 1000
"""Most bars with a name on them; of more, none would be wide enough, and a browser would measure each."""
IDLE_S = 30.0
"""Seconds of idle time above which it is cut out: a command ended, and another continued the run later."""


@dataclass(frozen=True)
class Span:
    """A trial on a slot.

    Attributes:
        trial: Id of the trial.
        start: Start in seconds since the first start of the run, without idle time.
        end: End in seconds since the first start of the run, without idle time.
        outcome: Status at the end: one of `ENDS`, or "interrupted".
        slot: Number of the slot, counted from 0.
    """

    trial: str
    start: float
    end: float
    outcome: str
    slot: int = 0


@dataclass(frozen=True)
class Timeline:
    """All spans of a run.

    Attributes:
        spans: Spans, sorted by start.
        breaks: Times in seconds at which idle time was cut out.
    """

    spans: Sequence[Span]
    breaks: Sequence[float]

    @property
    def slots(self) -> int:
        """Largest number of trials that ran at the same time."""
        return max((span.slot + 1 for span in self.spans), default=0)

    @property
    def seconds(self) -> float:
        """Seconds from the first start to the last end, without idle time."""
        return max((span.end for span in self.spans), default=0.0)

    @property
    def utilization(self) -> float:
        """Share of the slots' time in which a trial ran, in [0, 1]."""
        whole = self.slots * self.seconds
        return sum(span.end - span.start for span in self.spans) / whole if whole else 0.0


def timeline(
    events: Sequence[Mapping[str, Any]], epochs: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})
) -> Timeline:
    """Return the timeline that a run's events tell.

    The end of a trial is not on record where its command was killed. Its span then lasts until the last event of that
    command, or longer, if the epochs that it added took longer. A trial whose process alone was lost ends there, or
    where it starts again.

    Args:
        events: Rows of events.jsonl.
        epochs: Rows of metrics.jsonl by trial.
    """
    spans, idle = _without_idle_time(sorted(_spans(events, epochs), key=lambda span: (span.start, span.end)))
    free: list[float] = []  # when each slot becomes free
    placed: list[Span] = []
    for span in spans:
        slot = next((slot for slot, since in enumerate(free) if since <= span.start), len(free))
        free[slot : slot + 1] = [span.end]
        placed.append(replace(span, slot=slot))
    return Timeline(placed, idle)


def figure(shown: Timeline, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return the Plotly figure: a bar for each span; `entries` are by trial, those without one are grey."""
    grey = Entry("unfinished", "#8b8f98", "solid", coloured=False)
    rows = [(span, entries.get(span.trial, grey)) for span in shown.spans]
    bars = {
        "type": "bar",
        "orientation": "h",
        "base": [round(span.start, 2) for span, _ in rows],
        "x": [round(span.end - span.start, 2) for span, _ in rows],
        "y": [f"slot {span.slot + 1}" for span, _ in rows],
        "text": [html.escape(entry.label) for _, entry in rows],
        "textposition": "inside" if len(rows) <= MOST_NAMED else "none",
        "insidetextanchor": "start",
        "textangle": 0,
        "constraintext": "inside",
        "customdata": [[html.escape(span.trial), span.outcome] for span, _ in rows],
        "hovertemplate": "%{text}<br>%{customdata[0]}<br>%{x:.1f} s, %{customdata[1]}<extra></extra>",
        "marker": {
            "color": [entry.colour for _, entry in rows],
            "opacity": [1 if span.outcome == "finished" else 0.55 for span, _ in rows],
            "line": {"width": 1, "color": "rgba(255, 255, 255, 0.6)"},
        },
        "showlegend": False,
    }
    lines = [
        {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dash", "width": 1}}
        for at in shown.breaks
    ]
    return {
        "data": [bars],
        "layout": {
            "height": 96 + 34 * shown.slots,
            "margin": {"l": 64, "r": 16, "t": 8, "b": 44},
            "xaxis": {"title": {"text": "seconds"}, "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed", "automargin": True, "fixedrange": True, "showgrid": False},
            "barmode": "overlay",
            "bargap": 0.15,
            "uniformtext": {"mode": "hide", "minsize": 9},
            "shapes": lines,
        },
    }


def _spans(events: Sequence[Mapping[str, Any]], epochs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterable[Span]:
    """Give the spans in seconds since the first event."""
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in events]
    trained = _trained(events, epochs)
    running: dict[str, tuple[float, float]] = {}  # since when, and the seconds of the epochs that it then added
    seen = 0.0  # when the command was last seen at work

    def killed(before: float) -> Iterator[Span]:
        for one, (since, seconds) in running.items():
            yield Span(one, since, min(max(seen, since + seconds), before), "interrupted")
        running.clear()

    for index, (event, time) in enumerate(zip(events, times, strict=True)):
        at, trial = time - times[0], event.get("trial", "")
        name = "paused" if event.get("pause") else "stopped" if event.get("stop") else event["event"]
        if name == "begun":
            yield from killed(before=at)
        if name in BEFORE_TRAINING or (name in ENDS and trial not in running):  # an end that a kill had left unwritten
            continue
        seen = at
        if name in ENDS_ALL:
            yield from (Span(one, since, at, "interrupted") for one, (since, _) in running.items())
            running.clear()
        elif name in {"started", "worker lost"} and trial in running:
            yield Span(trial, running.pop(trial)[0], at, "interrupted")
        elif name in ENDS:
            yield Span(trial, running.pop(trial)[0], at, name)
        if name == "started":
            running[trial] = at, trained[index]
    yield from killed(before=float("inf"))


def _trained(
    events: Sequence[Mapping[str, Any]], epochs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[int, float]:
    """Return the seconds of the epochs that a trial added after each start, by the index of the event."""
    found: dict[int, float] = {}
    until: dict[str, int] = {}  # epochs on record when the trial started again
    for index, event in reversed([*enumerate(events)]):
        if event["event"] == "started":
            trial, after = event["trial"], event.get("after_epoch", 0)
            rows = epochs.get(trial, ())[after : until.get(trial)]
            found[index] = sum(row["seconds"] for row in rows)
            until[trial] = after
    return found


def _without_idle_time(spans: Sequence[Span]) -> tuple[list[Span], list[float]]:
    """Return the spans, by their start, moved together over idle time, and where that was."""
    moved: list[Span] = []
    breaks: list[float] = []
    cut = spans[0].start if spans else 0.0
    busy_until = cut
    for span in spans:
        if span.start - busy_until > IDLE_S:
            breaks.append(busy_until - cut)
            cut += span.start - busy_until
        busy_until = max(busy_until, span.end)
        moved.append(replace(span, start=span.start - cut, end=span.end - cut))
    return moved, breaks
