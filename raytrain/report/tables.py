"""The tables beside the ranked one: what early stopping did to a run, and what a baseline's logs say."""

from collections.abc import Iterator, Mapping, Sequence

from raytrain.analysis.audit import Audit
from raytrain.analysis.replay import Replay
from raytrain.analysis.statistics.p_values import p_text
from raytrain.baselines.baselines import LAST_EPOCHS, Baseline, BaselineCurve
from raytrain.comparison.overview import RunSummary
from raytrain.comparison.side_by_side import SideBySide
from raytrain.metrics.selection import SELECTIONS, Select
from raytrain.report.metric_columns import metric_text
from raytrain.report.text.quantities import DASH, data_size, per_cent
from raytrain.training.trial_id import trial_digest

AUDIT_LEFT = {"trial", "mode", "kept", "rescued", "setting"}
"""Columns of text in the tables of an audit, which are aligned left."""
MOST_NAMED = 6
"""Most trials that a cell names; of more it gives the number."""


def summary(audit: Audit) -> list[str]:
    """Return in sentences what stopping saved, and what is known of its cost."""
    return list(_sentences(audit))


def _sentences(audit: Audit) -> Iterator[str]:
    if audit.chosen:
        yield f"The setting: {audit.chosen}."
    if not audit.stops:
        yield "No trial was stopped early." if audit.mode == "stop" else "No trial is paused."
    else:
        epochs = f"{audit.epochs_saved:,} of {audit.epochs:,} epochs ({_share(audit.epochs_saved, audit.epochs)})"
        seconds = f"{audit.seconds_saved:,.0f} of {audit.seconds:,.0f} seconds"
        trials = "1 trial" if len(audit.stops) == 1 else f"{len(audit.stops)} trials"
        did = f"stopped {trials}" if audit.mode == "stop" else f"left {trials} paused"
        yield (
            f"ASHA {did} and saved {epochs}, an estimated {seconds} "
            f"({_share(audit.seconds_saved, audit.seconds)}) of training."
        )
    rescued = sum(stop.final is not None for stop in audit.stops)
    if audit.regret is not None:
        kind = "stopped" if audit.mode == "stop" else "paused"
        trials = f"1 {kind} trial was" if rescued == 1 else f"{rescued} {kind} trials were"
        words = SELECTIONS[audit.select].words
        found = (
            f"the best ended {_difference(audit.regret, audit.select)} above" if audit.regret else "none ended above"
        )
        if SELECTIONS[audit.select].lower_is_better:
            found = found.replace("above", "below")
        others = "was never stopped" if audit.mode == "stop" else "finished without that"
        yield f"{trials} run to the end: {found} the best trial that {others} (validation {words})."
    elif audit.stops and audit.mode == "stop":
        yield "The cost of stopping was not measured; asha: {rescue: 2} runs the two best stopped trials to the end."
    elif audit.stops:
        yield "What that cost was not measured; asha: {rescue: 2} runs the two best paused trials to the end."


def _difference(value: float, select: Select) -> str:
    return f"{value:.4f} nats" if SELECTIONS[select].in_nats else f"{100 * value:.2f} points"


def _value(quality: float | None, select: Select) -> str:
    """Return a quality that ASHA has judged by, as the metric that it is."""
    return DASH if quality is None else metric_text(select, abs(quality))


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else DASH


def rung_columns(audit: Audit) -> dict[str, list[str]]:
    """Return a row for each rung."""
    return {
        "rung": [f"{rung.epoch:g}" for rung in audit.rungs],
        "judged": [str(rung.judged) for rung in audit.rungs],
        "stopped" if audit.mode == "stop" else "paused": [str(rung.stopped) for rung in audit.rungs],
        "tau": [DASH if rung.tau is None else f"{rung.tau:.2f}" for rung in audit.rungs],
        "trials compared": [str(rung.compared) for rung in audit.rungs],
    }


def stop_columns(audit: Audit, labels: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Return a row for each trial that was stopped or is paused, named by `labels`, if there are any.

    Nothing was saved of one that `asha.rescue` ran on.
    """
    heading = SELECTIONS[audit.select].heading
    unit = "" if SELECTIONS[audit.select].in_nats else " %"
    columns = {
        "trial": [(labels or {}).get(stop.trial, stop.trial) for stop in audit.stops],
        "rung": [f"{stop.rung:g}" for stop in audit.stops],
        f"{heading}{unit}": [_value(stop.accuracy, audit.select) for stop in audit.stops],
        f"cutoff{unit}": [_value(stop.cut, audit.select) for stop in audit.stops],
        "margin": [_difference(stop.margin, audit.select).split()[0] for stop in audit.stops],
        "epochs saved": [DASH if stop.rescued else str(stop.epochs_left) for stop in audit.stops],
        "seconds saved": [DASH if stop.rescued else f"{stop.seconds_left:.1f}" for stop in audit.stops],
        "rescued": [_rescue_outcome(stop.rescued, stop.final, audit.select) for stop in audit.stops],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells) or heading == "trial"}


def replay_columns(
    replays: Sequence[Replay], labels: Mapping[str, str] | None = None, *, select: Select = "accuracy"
) -> dict[str, list[str]]:
    """Return a row for each setting; those that would have done the same with one grace period are one row.

    The setting of the run has rows of its own, which say so.
    """
    rows: list[tuple[Replay, list[str]]] = []
    for one in replays:
        before = rows[-1][0] if rows else None
        if before and _did(before) == _did(one):
            rows[-1][1].append(f"{one.reduction_factor:g}")
        else:
            rows.append((one, [f"{one.reduction_factor:g}"]))
    columns = {
        "mode": [one.mode for one, _ in rows],
        "grace period": [str(one.grace_period) for one, _ in rows],
        "reduction factor": [", ".join(factors) for _, factors in rows],
        "rungs": ["all" if one.rungs is None else str(one.rungs) for one, _ in rows],
        "kept": [_named(one.kept, labels or {}) for one, _ in rows],
        "regret": [_difference(one.regret, select).split()[0] for one, _ in rows],
        "epochs saved": [f"{one.epochs_saved:.0%}" for one, _ in rows],
        "seconds saved": [f"{one.seconds_saved:.0%}" for one, _ in rows],
        "setting": ["this run's setting" if one.this_run else "" for one, _ in rows],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells)}


def _did(one: Replay) -> tuple[object, ...]:
    return one.mode, one.grace_period, one.rungs, one.kept, one.stopped, one.this_run


def _rescue_outcome(rescued: bool, final: float | None, select: Select) -> str:  # noqa: FBT001
    if final is not None:
        return f"run to the end: {SELECTIONS[select].text(abs(final))}"
    return "run on, unfinished" if rescued else ""


def _named(trials: Sequence[str], labels: Mapping[str, str]) -> str:
    if len(trials) > MOST_NAMED:
        return f"{len(trials)} trials, the best {labels.get(trials[0], trials[0])}"
    return ", ".join(labels.get(trial, trial) for trial in trials)


SIDES_LEFT = {"part", "what", "first", "second", "metric", "test"}
"""Columns of text in the tables of two runs side by side, which are aligned left."""


def difference_columns(found: SideBySide) -> dict[str, list[str]]:
    """Return a row for each thing in which two runs differ."""
    return {
        "part": [one.part for one in found.differences],
        "what": [one.name for one in found.differences],
        "first": [one.first for one in found.differences],
        "second": [one.second for one in found.differences],
    }


def accuracy_columns(found: SideBySide) -> dict[str, list[str]]:
    """Return a row for each pair of configurations: the metric that is compared, accuracy unless it is named."""
    rows = found.accuracies
    names = {"first": [_trials(one.first) for one in rows], "second": [_trials(one.second) for one in rows]}
    p_and_test = {
        "p": [DASH if one.p_value is None else p_text(one.p_value) for one in rows],
        "test": [one.test for one in rows],
    }
    if all(one.metric == "accuracy" for one in rows):
        values = {
            "first %": [per_cent(one.first_value) for one in rows],
            "second %": [per_cent(one.second_value) for one in rows],
            "points": [one.difference for one in rows],
        }
        return names | values | p_and_test
    selections = [SELECTIONS[one.metric] for one in rows]
    return (
        names
        | {
            "metric": [selection.heading for selection in selections],
            "of first": [selection.text(one.first_value) for selection, one in zip(selections, rows, strict=True)],
            "of second": [selection.text(one.second_value) for selection, one in zip(selections, rows, strict=True)],
            "difference": [one.difference for one in rows],
        }
        | p_and_test
    )


def _trials(trials: Sequence[str]) -> str:
    digest = trial_digest(trials[0])
    return digest if len(trials) == 1 else f"{digest} +{len(trials) - 1}"


BASELINE_LEFT = {"curve", "architecture"}
"""Columns of text in the table of a baseline, which are aligned left."""
BASELINE_SPARE = ("at epoch", "hours claimed", "hours in log", "best - last", "elsewhere %")
"""Columns of that table to leave out where there is no room, the first first."""


def baseline_columns(baseline: Baseline) -> dict[str, list[str]]:
    """Return a column for each figure, a row for each curve; columns that no curve fills are left out."""
    rows = [_baseline_row(curve) for curve in baseline.curves]
    columns = {heading: [row[heading] for row in rows] for heading in rows[0]}
    return {heading: cells for heading, cells in columns.items() if set(cells) != {DASH}}


def _baseline_row(curve: BaselineCurve) -> dict[str, str]:
    best, last, late = curve.best, curve.last, curve.late
    return {
        "curve": curve.name,
        "architecture": curve.arch or DASH,
        "epochs": str(curve.epochs[-1]),
        "last %": per_cent(last),
        "best %": per_cent(best[1] if best else None),
        "at epoch": str(best[0]) if best else DASH,
        "best - last": f"{100 * (best[1] - last):.2f}" if best and last is not None else DASH,
        f"mean of last {LAST_EPOCHS}": f"{per_cent(late[0])} ± {100 * late[1]:.2f}" if late else DASH,
        "claimed %": per_cent(curve.claimed),
        "elsewhere %": per_cent(curve.claimed_elsewhere),
        "hours in log": DASH if curve.hours is None else f"{curve.hours:.1f}",
        "hours claimed": DASH if curve.claimed_hours is None else f"{curve.claimed_hours:.1f}",
    }


RUNS_LEFT = {"run", "started", "dataset", "chosen", "state"}
"""Columns of text in the list of runs, which are aligned left."""
RUNS_SPARE = ("val_accuracy %", "size", "chosen", "started", "dataset")
"""Columns of the list of runs that are left out, in this order, when it is too wide."""


def run_columns(runs: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Return a row for each run."""
    return {
        "run": [one.run for one in runs],
        "started": [one.started[:10] if one.started else DASH for one in runs],
        "dataset": [", ".join(one.dataset) or DASH for one in runs],
        "trials": [f"{one.finished}/{one.trials}" if one.trials else DASH for one in runs],
        "chosen": [trial_digest(one.chosen) if one.chosen else DASH for one in runs],
        "val_accuracy %": [per_cent(one.val_accuracy) for one in runs],
        "test_accuracy %": [per_cent(one.test_accuracy) for one in runs],
        "size": [data_size(one.bytes) for one in runs],
        "state": [one.state for one in runs],
    }
