"""The ranked table of a run: in the terminal, in Markdown and LaTeX, and as files for other programs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from raytrain.analysis.columns import check_column, column_names, column_value
from raytrain.analysis.wording import explain
from raytrain.report.column_text import axis_cells, heading_of, name_of, value_text
from raytrain.report.metric_columns import interval_text, selected_cells
from raytrain.report.records import baseline_values, trial_name
from raytrain.report.text.columns import Lines, as_latex, as_markdown, as_text, fitted
from raytrain.report.text.quantities import DASH, per_cent
from raytrain.report.text.visible import visible
from raytrain.runs.results import TrialResult, run_of, varied_fields
from raytrain.user_code.reference import without_digest

if TYPE_CHECKING:
    from raytrain.analysis.ranking import Ranking, Standing  # brings SciPy, which running trials do not wait for
    from raytrain.baselines.baselines import BaselineRow

LEFT = {"run", "trial", "arch", "architecture", "status"}
"""Columns of text, which are aligned left; `left_of` adds others that contain words."""
CHOSEN = ", chosen"
"""Text after the status of the configuration that validation chooses."""
SPARE = ("trial", "parameters", "train accuracy %", "seconds", "epochs", "95 % interval")
"""Columns that are left out, in this order, when the table is too wide."""
OF_NETWORK = "rank of trained network"
"""Heading of the ranks where each is that of a network: the rows have one seed each."""
OF_SOME = "rank (1 seed: of trained network)"
"""Heading of the ranks where some of them are those of networks."""


def cells_by_heading(ranking: "Ranking", now: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Return the cells of the ranked table by heading, a row for each configuration, best first.

    Each recipe field that differs has a column, between the fixed ones. What differs between the seeds of a
    configuration is shown as their mean.

    Args:
        ranking: Ranking to show.
        now: What trials that have not ended do, by trial id; without it they are "unfinished".
    """
    standings = ranking.standings
    first = [standing.results[0] for standing in standings]
    several_runs = len({run_of(result) for result in first}) > 1
    several_seeds = any(standing.seeds > 1 for standing in standings)
    varied = [name for name in varied_fields(result.recipe for result in first) if name != "seed"]
    columns = {
        _rank_heading(standings): [standing.rank for standing in standings],
        **({"run": [run_of(result) for result in first]} if several_runs else {}),
        "trial": [trial_name(standing) for standing in standings],
        "architecture": _without_digests([str(result.recipe["arch"]) for result in first]),
        **{name: _without_digests(cells) for name, cells in axis_cells([one.recipe for one in first], varied).items()},
        **({"seeds": [str(standing.seeds) for standing in standings]} if several_seeds else {}),
        "parameters": [f"{result.parameters / 1e6:.2f} M" if result.parameters else DASH for result in first],
        "epochs": [f"{_epochs(one.results)}/{one.results[0].recipe['epochs']}" for one in standings],
        "train accuracy %": [per_cent(standing.mean("train_accuracy")) for standing in standings],
        "val accuracy %": [per_cent(standing.val_accuracy) for standing in standings],
        "test accuracy %": [per_cent(standing.test_accuracy) for standing in standings],
        **selected_cells(ranking),
        **_views_cells(standings),
        "95 % interval": [interval_text(ranking, standing) for standing in standings],
        "seconds": [f"{seconds:.1f}" if (seconds := one.mean("seconds")) else DASH for one in standings],
        "status": [outcome(one.results, now) + (CHOSEN if one is ranking.chosen else "") for one in standings],
    }
    beside = [_baseline_cells(row) for row in ranking.beside]
    return {name: [*cells, *(row.get(name, DASH) for row in beside)] for name, cells in columns.items()}


def _rank_heading(standings: Sequence["Standing"]) -> str:
    """Return the heading of the ranks, which says where they are those of trained networks."""
    of_network = {standing.of_network for standing in standings if standing.rank != DASH}
    if True not in of_network:
        return "rank"
    return OF_SOME if False in of_network else OF_NETWORK


def _without_digests(full: list[str]) -> list[str]:
    """Return cells, code of the user's own without the digest of its source where that tells nothing apart."""
    short = [without_digest(text) for text in full]
    return short if len(set(short)) == len(set(full)) else full


def _views_cells(standings: Sequence["Standing"]) -> dict[str, list[str]]:
    """Return the column of test accuracies with test-time augmentation, where there are any."""
    means = [standing.mean("test_tta_accuracy") for standing in standings]
    return {"with TTA %": [per_cent(mean) for mean in means]} if any(mean is not None for mean in means) else {}


def _baseline_cells(row: "BaselineRow") -> dict[str, str]:
    return {
        "trial": row.name,
        "architecture": row.arch or DASH,
        "epochs": f"{row.epoch}/{row.epochs}",
        "train accuracy %": per_cent(row.train_accuracy),
        "test accuracy %": per_cent(row.test_accuracy),
        "status": f"baseline at {row.epoch}",
    }


def terminal_table(ranking: "Ranking", *, width: int, columns: Sequence[str] = ()) -> Lines:
    """Return the ranked table for a terminal of `width` characters; on a narrow one with fewer columns.

    Columns are headed by their names. Axes are never left out, nor is a column that was asked for.

    Args:
        ranking: Ranking to show.
        width: Width of the terminal in characters.
        columns: Names of the columns to show, whatever the width; empty for the usual ones.

    Raises:
        ExperimentError: There is no such column.
    """
    cells = _named(ranking, columns)
    return fitted(cells, left=left_of(cells), width=width, dispensable=() if columns else _dispensable(ranking, cells))


def _dispensable(ranking: "Ranking", cells: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the columns that a narrow terminal leaves out, in that order."""
    axes = varied_fields(standing.results[0].recipe for standing in ranking.standings)
    alike = ["arch"] if len(set(cells["arch"])) == 1 and len(cells["arch"]) > 1 else []
    order = [*map(name_of, SPARE), "test_tta_accuracy %", "seeds", *alike, "val_accuracy %"]
    return [name for name in order if name not in axes]


def plain(ranking: "Ranking", *, columns: Sequence[str] = ()) -> str:
    """Return the ranked table as text, as wide as it needs."""
    cells = _named(ranking, columns)
    return as_text(cells, left=left_of(cells))


def markdown(ranking: "Ranking", *, columns: Sequence[str] = ()) -> str:
    """Return the ranked table in Markdown, with these columns only, if any are named.

    Raises:
        ExperimentError: There is no such column.
    """
    cells = _selected(ranking, columns)
    return as_markdown(cells, left=left_of(cells))


def latex(ranking: "Ranking", *, columns: Sequence[str] = ()) -> str:
    """Return the ranked table in LaTeX, with these columns only, if any are named.

    Raises:
        ExperimentError: There is no such column.
    """
    cells = _selected(ranking, columns)
    return as_latex(cells, left=left_of(cells))


def left_of(columns: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the columns that stand to the left: `LEFT`, and recipe fields whose values are words, such as cosine."""

    def worded(cells: Sequence[str]) -> bool:
        known = [text for text in cells if text != DASH]
        return bool(known) and not any(text.lstrip("-")[:1].isdigit() for text in known)

    return LEFT | {name for name, cells in columns.items() if worded(cells)}


def _selected(ranking: "Ranking", columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the cells of the named columns, or of the usual ones, by their headings for readers."""
    cells = cells_by_heading(ranking)
    if not columns:
        return cells
    known = column_names(ranking)
    for name in columns:
        check_column(name, known)
    rank = _rank_heading(ranking.standings)
    shown = {rank if name == "rank" else heading_of(name): _cells(ranking, name) for name in columns}
    return {heading: cells.get(heading, made) for heading, made in shown.items()}


def _cells(ranking: "Ranking", name: str) -> list[str]:
    """Return the cells of any column."""
    texts = [value_text(name, column_value(ranking, standing, name)) for standing in ranking.standings]
    return _without_digests(texts) + [value_text(name, baseline_values(row).get(name)) for row in ranking.beside]


def _named(ranking: "Ranking", columns: Sequence[str]) -> dict[str, list[str]]:
    return {name_of(heading): cells for heading, cells in _selected(ranking, columns).items()}


def status(result: TrialResult) -> str:
    """Return how a trial ended, in words."""
    if result.status in {"stopped", "paused"}:
        return f"{result.status} at {result.epochs}"
    if result.status == "diverged":
        return f"diverged at epoch {result.epochs + 1}"
    if result.status == "failed" and result.attempts > 1:
        return f"failed after {result.attempts} starts"
    return result.status


def outcome(results: Sequence[TrialResult], now: Mapping[str, str] | None = None) -> str:
    """Return how the seeds of a configuration, all of one status, ended, in words.

    Args:
        results: Results of the seeds.
        now: What trials that have not ended do, by trial id; without it they are "unfinished".
    """
    if doing := {now[result.trial] for result in results if now and result.trial in now}:
        return ", ".join(sorted(doing))
    if results[0].status in {"stopped", "paused"}:
        return f"{results[0].status} at {_epochs(results)}"
    return status(max(results, key=lambda result: result.epochs))


def _epochs(results: Sequence[TrialResult]) -> str:
    fewest, most = min(result.epochs for result in results), max(result.epochs for result in results)
    return f"{most}" if fewest == most else f"{fewest}–{most}"


def readme(name: str, ranking: "Ranking", *, command: str) -> str:
    """Return the README.md of a run folder."""
    reading = " ".join(explain(ranking))
    return visible(f"# {name}\n\n{markdown(ranking)}\n{reading}\n\nCommand: `{command}`\n")
