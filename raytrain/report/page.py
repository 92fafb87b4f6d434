"""report.html: one file that shows a whole run, without a network, and without scripts but for its moving charts.

`raytrain view` serves the same page with a script of its own, which keeps it up to date.
"""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from plotly.offline import get_plotlyjs

from raytrain import __version__
from raytrain.analysis.audit import audit
from raytrain.analysis.ranking import Ranking, Standing, beside
from raytrain.analysis.record import RunRecord
from raytrain.analysis.wording import explain
from raytrain.baselines.baselines import Baseline
from raytrain.data import is_here
from raytrain.data.data_key import DataKey
from raytrain.data.mapped import Images
from raytrain.errors import RaytrainError, RunFolderError
from raytrain.metrics.predictions import Predictions
from raytrain.provenance.manifest import inputs_of
from raytrain.report import REPORT, table, tables
from raytrain.report.figures import timeline
from raytrain.report.figures.charts import figures
from raytrain.report.figures.heat_map import effects, heat_map
from raytrain.report.figures.legend import Entry, legend
from raytrain.report.figures.mistakes import Mistakes, mistakes
from raytrain.report.figures.parallel import parallel
from raytrain.report.figures.pictures import pictures, static_curves
from raytrain.report.figures.thinning import shown
from raytrain.report.html import environment, packed_plotly, policy
from raytrain.report.text import duration
from raytrain.runs.folder import refuse_links
from raytrain.training.recipe import Recipe

STOPS = 30
"""Most stopped trials that the page lists."""
ROWS = 1000
"""Most rows of the ranked table that the page shows: a row takes 0.7 kB, and a browser a millisecond."""
ERRORS = 50
"""Most errors of trials that the page shows."""


@dataclass(frozen=True)
class Row:
    """A row of the ranked table.

    Attributes:
        cells: Cells as text.
        status: Status of the trials, or "baseline".
        colour: CSS colour of the configuration in the charts; "" for a baseline.
        whisker: Low end, mean and high end of the interval, as shares of the cell's width; None without an interval.
        label: Label of the configuration in the charts; "" for a baseline.
    """

    cells: Sequence[str]
    status: str
    colour: str
    whisker: tuple[float, float, float] | None
    label: str = ""


@dataclass(frozen=True)
class Served:
    """What a page has that a server shows while the run may still be written, beside the report.

    Attributes:
        version: What the run folder held when the page was made; the page's script sends it to the server.
        script: JavaScript that runs after that of the report.
        statuses: What trials that have not ended do, by trial id; without it they are "unfinished".
        until: Time in ISO 8601 up to which the running trials are known to have run; None where none runs.
    """

    version: str
    script: str
    statuses: Mapping[str, str] = field(default_factory=dict[str, str])
    until: str | None = None


def write_report(record: RunRecord, *, baseline: Baseline | None = None) -> None:
    """Write report.html and plots/*.png into the run folder.

    Raises:
        RunFolderError: The run folder cannot be read or written, or a link leads out of it.
    """
    folder = record.folder
    refuse_links(folder)
    page = render(record, baseline=baseline).encode()
    images = pictures(record, legend(record.ranking), baseline)
    try:
        folder.write(REPORT, page)
        for name, content in images.items():
            (folder / "plots").write(f"{name}.png", content)
    except OSError as error:
        raise RunFolderError(
            f"{folder}/{REPORT} cannot be written ({error}); write to another file with --output"
        ) from error


def render(record: RunRecord, *, baseline: Baseline | None = None, served: Served | None = None) -> str:
    """Return the page as HTML; one that is `served` needs scripts, and has no static curves."""
    entries = legend(record.ranking)
    ranking = beside(record.ranking, baseline) if baseline else record.ranking
    statuses = served.statuses if served else {}
    columns = table.cells_by_heading(ranking, statuses)
    by_trial = {
        result.trial: entry
        for standing, entry in zip(record.ranking.standings, entries, strict=True)
        for result in standing.results
    }
    several = {result.trial for one in record.ranking.standings if one.seeds > 1 for result in one.results}
    labels = {
        result.trial: by_trial[result.trial].label
        + (f", seed {result.recipe['seed']}" if result.trial in several else "")
        for result in record.results
    }
    charts: dict[str, Mapping[str, Any]] = dict(figures(record, entries, baseline))
    ran = timeline.timeline([*record.events, *_running(served)])
    if ran.spans:
        charts["timeline"] = {"timeline": timeline.figure(ran, by_trial)}
    rows = _rows(ranking, columns, entries)
    first = _first(rows, ranking)
    errors = [result for result in record.results if result.error]
    templates = environment()
    script, plotly = templates.get_template("page.js").render(), get_plotlyjs()
    own = [served.script] if served else []
    return templates.get_template("page.html").render(
        policy=policy(script, plotly, *own, served=served is not None),
        script=script,
        served=served,
        record=record,
        verdict=verdict(record.ranking, entries),
        facts=dict(_facts(record, ran, statuses)),
        going_on=bool(statuses),
        headings=list(columns),
        left={"rank", *table.left_of(columns)},
        spare=spare_columns(columns),
        rows=first,
        left_out={
            "rows": len(rows) - len(first),
            "curves": len(record.results) - len(shown(record.ranking.standings, entries)),
            "errors": max(0, len(errors) - ERRORS),
        },
        errors=errors[:ERRORS],
        reading=explain(ranking),
        charts=charts,
        static="" if served else static_curves(record, entries, baseline),
        parallel=parallel(record.ranking.standings, entries),
        effects=effects(record.results),
        heat=heat_map(record.results, statuses),
        ran=ran,
        asha=_asha(record, labels),
        labels=labels,
        mistakes=_mistakes(record),
        provenance=dict(_provenance(record, going_on=bool(statuses))),
        command=_command(record),
        version=__version__,
        plotly=packed_plotly(),
    )


def verdict(ranking: Ranking, entries: Sequence[Entry]) -> str:
    """Return one or two sentences on which configuration is chosen, and how it stands among the others."""
    finished = [standing for standing in ranking.standings if standing.test_accuracy is not None]
    if not finished:
        return "No trial has finished."
    named = {id(standing): entry.label for standing, entry in zip(ranking.standings, entries, strict=True)}
    leads = finished[0]
    chosen = ranking.chosen or leads
    accuracy = f"{ranking.score_text(chosen)} on the test set"
    if len(finished) == 1:
        return f"{named[id(chosen)]} reaches {accuracy}."
    found = f"{named[id(chosen)]}, chosen by validation, reaches" if ranking.chosen else f"{named[id(chosen)]} reaches"
    candidates = sum(standing.may_lead for standing in finished)
    if not chosen.may_lead:
        return f"{found} {accuracy}. {named[id(leads)]} is first with {ranking.score_text(leads)}."
    if chosen.rank == "1":
        return f"{found} {accuracy} and is ahead of all others."
    if candidates > 1:
        others = "another one" if candidates == 2 else f"{candidates - 1} others"
        return f"{found} {accuracy}. {others.capitalize()} may be as good: the test does not separate them."
    return f"{found} {accuracy}. No other is better by the test, which does not separate all of them from it."


def _facts(record: RunRecord, ran: timeline.Timeline, statuses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the facts at the top: the data, the trials, the time and the machine."""
    results = record.results
    if results:
        yield "Data set", ", ".join(sorted({str(result.recipe["dataset"]) for result in results}))
    counts = Counter(statuses.get(result.trial, result.status) for result in results)
    yield "Trials", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none has ended"
    if ran.spans:
        yield (
            "Has taken" if statuses else "Took",
            f"{duration(ran.seconds)} on {ran.slots} slot{'s' if ran.slots > 1 else ''}",
        )
    if sessions := record.manifest.get("sessions"):
        machine = sessions[-1]["machine"]
        yield "Machine", ", ".join(machine["gpus"]) or f"{machine['cores']} cores of {machine['processor']}, no GPU"
        yield "Started", day(sessions[0]["started"])


def _running(served: Served | None) -> Iterator[Mapping[str, Any]]:
    """Yield an event for each running trial, at the time up to which it is known to have run."""
    if served and served.until:
        for trial, status in served.statuses.items():
            if status == "running":
                yield {"time": served.until, "event": status, "trial": trial}


def _provenance(record: RunRecord, *, going_on: bool) -> Iterator[tuple[str, str]]:
    """Yield what the manifest says of the code, the data and the machine."""
    if sessions := record.manifest.get("sessions"):
        code, machine = sessions[-1]["code"], sessions[-1]["machine"]
        versions = {"raytrain": code["raytrain"], "Python": code["python"], **code["packages"]}
        yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        if code["git_commit"]:
            changed = code.get("git_diff") or code.get("git_diff_left_out")
            changed = ", with uncommitted changes (in manifest.json)" if changed else ""
            yield "Commit", code["git_commit"] + changed
        memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
        yield "Machine", f"{machine['processor']}, {machine['cores']} cores, {memory}, {machine['system']}"
        ends = [day(one.get("ended")) for one in sessions]
        if going_on:
            ends[-1] = "now, unless it was killed"
        yield "Sessions", "; ".join(f"{day(one['started'])} to {end}" for one, end in zip(sessions, ends, strict=True))
    for name, fingerprint in record.manifest.get("data", {}).items():
        yield "Data", f"{name}, fingerprint {fingerprint}"
    seeds = {*record.manifest.get("seeds", ()), *(result.recipe["seed"] for result in record.results)}
    yield "Seeds", ", ".join(map(str, sorted(seeds)))


def day(moment: str | None) -> str:
    """Return the day and the time of a moment in ISO 8601, to the minute; "killed" for none, a session without end."""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M UTC}" if moment else "killed"


def _command(record: RunRecord) -> str:
    sessions = record.manifest.get("sessions")
    return shlex.join(sessions[0]["command"]) if sessions else ""


def _rows(ranking: Ranking, columns: Mapping[str, Sequence[str]], entries: Sequence[Entry]) -> list[Row]:
    cells = list(zip(*columns.values(), strict=True))
    whiskers = _whiskers(ranking.standings)
    ours = [
        Row(row, standing.status, entry.colour, whisker, entry.label)
        for row, standing, entry, whisker in zip(cells, ranking.standings, entries, whiskers, strict=False)
    ]
    return ours + [Row(row, "baseline", "", None) for row in cells[len(ours) :]]


def _first(rows: Sequence[Row], ranking: Ranking) -> list[Row]:
    """Return the first rows of the table, and of the others the chosen one and the baselines."""
    chosen = next((at for at, standing in enumerate(ranking.standings) if standing is ranking.chosen), None)
    return [row for at, row in enumerate(rows) if at < ROWS or at == chosen or row.status == "baseline"]


def spare_columns(columns: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the columns that a phone leaves out, so that accuracies stand beside what tells the rows apart."""
    alike = {"architecture"} if len(set(columns["architecture"])) == 1 and len(columns["rank"]) > 1 else set[str]()
    names = list(columns)
    axes = {*names[names.index("architecture") + 1 : names.index("parameters")]} - {"seeds"}
    judged = {"val accuracy %"} if len(axes) > 1 else set[str]()
    return {*table.SPARE[:-1], "seeds"} | alike | judged


def _whiskers(standings: Sequence[Standing]) -> list[tuple[float, float, float] | None]:
    """Return where each interval and its mean are drawn, on a scale that holds them all."""
    known = [one.score_interval for one in standings if one.score_interval]
    low = min((interval.low for interval in known), default=0.0)
    width = max((interval.high for interval in known), default=1.0) - low or 1.0

    def share(value: float) -> float:
        return round(min(1.0, max(0.0, (value - low) / width)), 4)

    return [
        (share(known.low), share(one.score or 0.0), share(known.high)) if (known := one.score_interval) else None
        for one in standings
    ]


def _asha(record: RunRecord, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what is shown of early stopping, or None where there was none."""
    if not any(event["event"] == "rung" for event in record.events):
        return None
    audited = audit(record.results, record.epochs, record.events, replayed=False)
    return {
        "mode": audited.mode,
        "summary": tables.summary(audited),
        "rungs": tables.rung_columns(audited),
        "stops": tables.stop_columns(replace(audited, stops=audited.stops[:STOPS]), labels),
        "stopped": len(audited.stops),
        "shown": STOPS,
        "left": tables.AUDIT_LEFT,
    }


def _mistakes(record: RunRecord) -> Mistakes | None:
    shown = record.chosen_trial
    if shown is None or shown.trial not in record.predictions:
        return None
    inputs = inputs_of(record.manifest, shown.recipe)
    key = Recipe(**shown.recipe).data_key
    images = _test_images(key, fingerprint=record.manifest["data"].get(key.label))
    return mistakes(shown.trial, record.predictions, classes=inputs.classes, images=images, best=_best(record))


def _best(record: RunRecord) -> list[Predictions]:
    """Return the predictions of the best finished trials by validation, with the probabilities of all classes."""
    found = (record.predictions.get(one.trial) for one in record.best_by_validation)
    return [one for one in found if one is not None]


def _test_images(key: DataKey, *, fingerprint: str | None) -> Images | None:
    """Return the test images, or None where they are not on this machine: a run may be looked at anywhere."""
    try:
        found = key.load(quiet=True) if is_here(key.dataset) else None
    except RaytrainError:
        return None
    return found.test.images if found and found.fingerprint == fingerprint else None
