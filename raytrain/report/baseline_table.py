"""A baseline as a table: what its logs say beside what its author claims."""

from raytrain.analysis.baselines import LAST, Baseline, BaselineCurve
from raytrain.report.table import DASH, per_cent

LEFT = {"curve", "architecture"}


def baseline_columns(baseline: Baseline) -> dict[str, list[str]]:
    """Return a column for each figure, a row for each curve; columns that no curve fills are left out."""
    rows = [_row(curve) for curve in baseline.curves]
    columns = {heading: [row[heading] for row in rows] for heading in rows[0]}
    return {heading: cells for heading, cells in columns.items() if set(cells) != {DASH}}


def _row(curve: BaselineCurve) -> dict[str, str]:
    best, last, late = curve.best, curve.last, curve.late
    return {
        "curve": curve.name,
        "architecture": curve.arch or DASH,
        "epochs": str(curve.epochs[-1]),
        "last %": per_cent(last),
        "best %": per_cent(best[1] if best else None),
        "at epoch": str(best[0]) if best else DASH,
        "best - last": f"{100 * (best[1] - last):.2f}" if best and last is not None else DASH,
        f"mean of last {LAST}": f"{per_cent(late[0])} ± {100 * late[1]:.2f}" if late else DASH,
        "claimed %": per_cent(curve.claimed),
        "elsewhere %": per_cent(curve.claimed_elsewhere),
        "hours in log": DASH if curve.hours is None else f"{curve.hours:.1f}",
        "hours claimed": DASH if curve.claimed_hours is None else f"{curve.claimed_hours:.1f}",
    }
