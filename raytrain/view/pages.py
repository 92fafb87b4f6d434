"""The pages that `raytrain view` serves: the list of runs, the report of one, and two beside each other."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from raytrain import __version__
from raytrain.analysis.contest import rankings_by_data
from raytrain.analysis.record import RunRecord, read_record
from raytrain.analysis.wording import explain
from raytrain.comparison.side_by_side import Side, side_by_side
from raytrain.errors import RaytrainError
from raytrain.provenance.manifest import NAME as MANIFEST
from raytrain.report import table
from raytrain.report.figures.charts import figures
from raytrain.report.figures.legend import legend
from raytrain.report.html import environment, packed_plotly, policy
from raytrain.report.page import Served, render
from raytrain.report.sections.facts import day
from raytrain.report.sections.rows import spare_columns
from raytrain.report.tables import SIDES_LEFT, accuracy_columns, difference_columns
from raytrain.report.text.quantities import DASH, per_cent
from raytrain.runs.folder import EXPERIMENT
from raytrain.storage.folder import Folder
from raytrain.view.watch import last_written, version_of

_TEMPLATES = Path(__file__).parent / "templates"
BESIDE = ("accuracy", "loss")
"""Charts that two runs have beside each other, as `figures` names them."""
BEGINS = "The run begins; no trial has started yet."


@dataclass(frozen=True)
class Page:
    """A page as it is served.

    Attributes:
        html: The page.
        status: Status of the HTTP answer: 200, or 503 where the run cannot be read at the moment.
    """

    html: str
    status: int = 200

    @property
    def content(self) -> str:
        """The page without Plotly, which is most of it and which a page that is open already has."""
        return self.html.replace(packed_plotly(), "", 1)


@dataclass(frozen=True)
class Summary:
    """A row of the list of runs.

    Attributes:
        name: Name of the run.
        started: Day and time of its first command; a dash where that is not known.
        data: Names of its data sets.
        trials: Number of trials that have ended or are paused, and of all.
        chosen: Name of the configuration that validation chooses; a dash where there is none.
        accuracy: Test accuracy of that configuration in per cent.
        state: What has become of the run, in words.
    """

    name: str
    started: str = DASH
    data: str = DASH
    trials: str = DASH
    chosen: str = DASH
    accuracy: str = DASH
    state: str = ""


def summary(name: str, folder: Folder) -> Summary:
    """Return the row of a run; of one that cannot be read, with the reason as its state."""
    try:
        record = read_record(folder)
        if _begins(record):
            return Summary(name, state=BEGINS)
        progress = record.state.progress.values()
        ended = [one for one in record.listed if one.status != "unfinished"]
        sessions = record.manifest.get("sessions") or [{}]
        label, accuracy = _chosen(record)
        return Summary(
            name,
            day(sessions[0]["started"]) if sessions[0] else DASH,
            ", ".join(sorted({str(one.trial.recipe.dataset) for one in progress})),
            f"{len(ended)} of {len(progress)}",
            label,
            accuracy,
            _state(record, closed="ended" in sessions[-1]),
        )
    except (RaytrainError, OSError) as error:
        return Summary(name, state=str(error))


def _chosen(record: RunRecord) -> tuple[str, str]:
    """Return the name of the configuration that validation chooses, and its test accuracy in per cent."""
    standings = record.ranking.standings
    for standing, entry in zip(standings, legend(record.ranking), strict=True):
        if standing is record.chosen:
            return entry.label, per_cent(standing.test_accuracy)
    return DASH, DASH


def _state(record: RunRecord, *, closed: bool) -> str:
    """Return what has become of a run. One that was killed looks like one that trains, but for the time."""
    statuses = Counter(one.status for one in record.listed)
    left = statuses.pop("unfinished", 0)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    if not left and (closed or not statuses["paused"]):  # while the command runs, a paused trial may go on
        return counts
    if closed:
        return f"interrupted: {counts or 'no trial has ended'}"
    written = last_written(record.folder)
    return (
        f"trains, or was killed; last written {written:%Y-%m-%d %H:%M:%S} UTC" if written else "trains, or was killed"
    )


def list_page(folders: Mapping[str, Folder], *, version: str, known: dict[str, tuple[str, Summary]]) -> Page:
    """Return the list of runs.

    Args:
        folders: Run folders by name.
        version: Version of what is on record in them.
        known: Summaries by name, with the versions that they are of: read and filled, since each reads a whole run.
    """
    rows: list[Summary] = []
    for name, folder in folders.items():
        now = ""
        with contextlib.suppress(OSError):
            now = version_of({name: folder})
        before, row = known.get(name, ("", None))
        if row is None or not now or now != before:
            row = summary(name, folder)
            known[name] = now, row
        rows.append(row)
    rows.sort(key=lambda row: row.started, reverse=True)
    return Page(_page_text("runs.html", title="Runs", root="", version=version, rows=rows))


def unlisted_page(reason: str, *, root: str) -> Page:
    """Return why the runs cannot be listed now. Any version is newer than that of this page.

    Args:
        reason: Why they cannot.
        root: Address of the list of runs, relative to the page.
    """
    return _problem("Runs", reason, root=root, version="")


def report_page(folder: Folder, *, version: str) -> Page:
    """Return the report of a run, or why it cannot be shown now."""
    try:
        record = read_record(folder)
        if _begins(record):
            return _problem(folder.name, BEGINS, root="../../", version=version)
        statuses = _going_on(record)
        until = _until(record) if "running" in statuses.values() else None
        return Page(render(record, served=Served(version, _script("live.js"), statuses, until)))
    except (RaytrainError, OSError) as error:
        return _problem(folder.name, _reason(folder, error), root="../../", version=version)


def _begins(record: RunRecord) -> bool:
    """Return whether a run has written nothing but that it begins: the manifest comes a moment later."""
    begun = all(event["event"] == "begun" for event in record.events)
    ended = any(one.result for one in record.state.progress.values())
    return begun and not ended and not record.folder.exists(MANIFEST)


def _until(record: RunRecord) -> str | None:
    """Return when the run folder was last written, in ISO 8601, and no earlier than its last event."""
    written = last_written(record.folder)
    last = record.events[-1]["time"] if record.events else ""
    return max(written, datetime.fromisoformat(last)).isoformat() if written and last else None


def _going_on(record: RunRecord) -> dict[str, str]:
    """Return "running" or "waiting" by the id of each trial that has not ended; nothing once the command has ended."""
    session = (record.manifest.get("sessions") or [{}])[-1]
    if not session or "ended" in session:
        return {}
    began = datetime.fromisoformat(session["started"])
    running: dict[str, bool] = {}
    for event in record.events:
        if event["event"] in {"started", "promoted", "rescued", "worker lost"}:
            now = datetime.fromisoformat(event["time"]) >= began  # an earlier command was killed
            running[event["trial"]] = now and event["event"] == "started"
    left = [result.trial for result in record.results if result.status == "unfinished"]
    return {trial: "running" if running.get(trial) else "waiting" for trial in left}


def comparison_page(folders: Mapping[str, Folder], *, version: str) -> Page:
    """Return two runs beside each other, or why they cannot be shown now."""
    first, second = folders
    title = f"{first} and {second}"
    try:
        records = {name: read_record(folder) for name, folder in folders.items()}
        found = side_by_side(*(Side(record) for record in records.values()))
        return Page(
            _page_text(
                "comparison.html",
                title=title,
                root="../",
                version=version,
                charts=_charts(records),
                names=list(records),
                **_ranked(folders, records),
                accuracies=accuracy_columns(found),
                differences=difference_columns(found),
                left=SIDES_LEFT,
            )
        )
    except (RaytrainError, OSError) as error:
        missing = [folder for folder in folders.values() if not _is_there(folder)]
        reason = _reason(missing[0], error) if missing else str(error)
        return _problem(title, reason, root="../", version=version)


def _ranked(folders: Mapping[str, Folder], records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """Return the tables of two runs, one for each data set by its name, or why there are none."""
    try:
        rankings = rankings_by_data(folders)
    except RaytrainError as error:
        return {"rankings": [], "refused": str(error)}
    now = {f"{name}/{trial}": status for name, one in records.items() for trial, status in _going_on(one).items()}
    tables = [
        {
            "heading": heading,
            "cells": (cells := table.cells_by_heading(ranking, now)),
            "left": table.left_of(cells),
            "spare": spare_columns(cells),
            "reading": explain(ranking),
        }
        for heading, ranking in rankings.items()
    ]
    return {"rankings": tables, "refused": ""}


def _charts(records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """Return the charts of each run, named `accuracy-0` for the first and `accuracy-1` for the second."""
    found = [figures(record, legend(record.ranking, _going_on(record)), None) for record in records.values()]
    return {f"{kind}-{index}": one[kind] for kind in BESIDE for index, one in enumerate(found) if kind in one}


def _problem(title: str, reason: str, *, root: str, version: str) -> Page:
    return Page(_page_text("problem.html", title=title, root=root, version=version, reason=reason), 503)


def _reason(folder: Folder, error: Exception) -> str:
    return str(error) if _is_there(folder) else f"{folder} is gone: there is no {EXPERIMENT} in it any more."


def _is_there(folder: Folder) -> bool:
    with contextlib.suppress(OSError):
        return folder.exists(EXPERIMENT)
    return True  # storage that does not answer says nothing


@cache
def _script(name: str) -> str:
    return environment(_TEMPLATES).get_template(name).render()


def _page_text(template: str, *, charts: Mapping[str, Any] | None = None, **values: Any) -> str:
    """Return a page of this package; one with charts has the scripts that draw them."""
    live, page = _script("live.js"), _script("page.js") if charts else ""
    allowed = [page, get_plotlyjs(), live] if charts else [live]
    return (
        environment(_TEMPLATES)
        .get_template(template)
        .render(
            policy=policy(*allowed, served=True),
            live=live,
            script=page,
            charts=charts or {},
            plotly=packed_plotly() if charts else "",
            program=__version__,
            **values,
        )
    )
