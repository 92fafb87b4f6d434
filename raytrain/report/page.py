"""report.html: one file that shows a whole run, without a network, and without scripts but for its moving charts.

`raytrain view` serves the same page with a script of its own, which keeps it up to date.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from plotly.offline import get_plotlyjs

from raytrain import __version__
from raytrain.analysis.audit import audit
from raytrain.analysis.ranking import beside
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
from raytrain.report.figures.legend import legend
from raytrain.report.figures.mistakes import Mistakes, mistakes
from raytrain.report.figures.parallel import parallel
from raytrain.report.figures.pictures import pictures, static_curves
from raytrain.report.figures.thinning import drawn_trials
from raytrain.report.html import environment, packed_plotly, policy
from raytrain.report.sections.facts import command, facts, provenance, verdict
from raytrain.report.sections.rows import PAGE, first_rows, ranked_rows, spare_columns
from raytrain.runs.folder import refuse_links
from raytrain.training.recipe import Recipe

STOPS = 30
"""Most stopped trials that the page lists."""
ERRORS = 50
"""Most errors of trials that the page shows."""


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
        for name, content in images.items():
            (folder / "plots").write(f"{name}.png", content)
        folder.write(REPORT, page)  # last: where it is, the pictures are
    except OSError as error:
        raise RunFolderError(
            f"{folder}/{REPORT} cannot be written ({error}); write to another file with --output"
        ) from error


def render(record: RunRecord, *, baseline: Baseline | None = None, served: Served | None = None) -> str:
    """Return the page as HTML; one that is `served` needs scripts, and has no static curves."""
    statuses = served.statuses if served else {}
    entries = legend(record.ranking, statuses)
    ranking = beside(record.ranking, baseline) if baseline else record.ranking
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
    ran = timeline.timeline([*record.events, *_running(served)], record.epochs)
    if ran.spans:
        charts["timeline"] = {"timeline": timeline.figure(ran, by_trial)}
    rows = ranked_rows(ranking, columns, entries)
    first = first_rows(rows, ranking)
    errors = [result for result in record.results if result.error]
    templates = environment()
    script, plotly = templates.get_template("page.js").render(), get_plotlyjs()
    paging = templates.get_template("paging.js").render() if len(first) > PAGE else ""
    own = [served.script] if served else []
    return templates.get_template("page.html").render(
        policy=policy(*([paging] if paging else []), script, plotly, *own, served=served is not None),
        paging=paging,
        script=script,
        served=served,
        record=record,
        verdict=verdict(record.ranking, entries),
        facts=dict(facts(record, ran, statuses)),
        going_on=bool(statuses),
        headings=list(columns),
        left={next(iter(columns)), *table.left_of(columns)},
        spare=spare_columns(columns),
        rows=first,
        left_out={
            "rows": len(rows) - len(first),
            "curves": len(record.results) - len(drawn_trials(record.ranking.standings, entries)),
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
        provenance=dict(provenance(record, going_on=bool(statuses))),
        command=command(record),
        version=__version__,
        plotly=packed_plotly(),
    )


def _running(served: Served | None) -> Iterator[Mapping[str, Any]]:
    """Yield an event for each running trial, at the time up to which it is known to have run."""
    if served and served.until:
        for trial, status in served.statuses.items():
            if status == "running":
                yield {"time": served.until, "event": status, "trial": trial}


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
