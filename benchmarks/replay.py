"""Methods of early stopping replayed on complete learning curves: what each spends, and what it loses.

python benchmarks/replay.py                                  # the bank of benchmarks/curve_bank.py
python benchmarks/replay.py --student --output /tmp/x.json   # five curves of the student instead; writes no picture

A replay is a search: some curves of the bank, drawn at random, that start in a random order on some slots. Each method
is given the same 1,000 searches. It spends a share of all epochs, and its regret is the validation accuracy that the
best trial of the search reaches in the end, minus that of the best trial that the method ran to its end. Ray's ASHA is
Ray's own class, once with one bracket and once with three; random runs some of the trials, all to their end. Its best
static setting is the one that spends least where the best trial is missed by more than 0.2 points in at most 5 % of
the searches, or else the one that misses it least often.

`asha: {lose_at_most: 0.2}` is tried with searches that its choice has not seen: some curves are set aside, the setting
is chosen by the others, and what was set aside is then searched. That is done again and again, by random curves.

The results are in experiments/records/bench-replay.json, and in the picture docs/pictures/early-stopping.svg.
"""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from comparison import RECORDS, Record, arguments
from picture import PICTURES, drawn
from stopping_methods import Curves, Method, longest, methods, promotion, stopping

from raytrain.analysis.arrivals import Search
from raytrain.analysis.early_stopping import choose
from raytrain.analysis.replay import Curve
from raytrain.baselines.baselines import open_baseline

PICTURE = PICTURES / "early-stopping.svg"
LOST = 0.002
"""The best trial counts as missed where the regret is more than this fraction: 0.2 points."""
OFTEN = 0.05
"""Largest share of the searches in which it may be missed."""
SPARED = 0.6
"""Share of the epochs that should be saved then."""
SMALL = 8
"""Trials of the searches in which `lose_at_most` is tried: a choice needs many searches on record."""
CONFIDENCES = (0.8, 0.9)
MARKERS = "osD^vPX*h"


def searches(curves: Curves, *, count: int, trials: int, seed: int = 0) -> list[tuple[Curves, list[str]]]:
    """Return searches: which trials each has, and the order in which they start."""
    draw = np.random.default_rng(seed)
    names = sorted(curves)
    orders = [draw.permutation(names)[:trials].tolist() for _ in range(count)]
    return [({name: curves[name] for name in order}, order) for order in orders]


def measured(method: Method, drawn: Sequence[tuple[Curves, list[str]]], *, slots: int) -> dict[str, float]:
    """Return what a method comes to over searches: shares of epochs and of searches, regrets in points."""
    done = [method(curves, order, slots) for curves, order in drawn]
    regrets = np.array([one.regret for one in done])
    return {
        "epochs": statistics.fmean(one.epochs for one in done),
        "missed": float((regrets > LOST + 1e-12).mean()),
        "mean regret": float(100 * regrets.mean()),
        "95 % of regrets are below": float(100 * np.quantile(regrets, 0.95)),
    }


def best_of(settings: Mapping[str, Mapping[str, float]]) -> str:
    """Return the setting that spends least where the best is rarely missed, or else misses it least often."""
    return min(
        settings,
        key=lambda name: (
            max(settings[name]["missed"], OFTEN),
            settings[name]["epochs"],
        ),
    )


def choices(curves: Curves, *, confidence: float, count: int) -> dict[str, float]:
    """Return how `lose_at_most` does in searches that its choice has not seen, for stopping and promoting in turn.

    Args:
        curves: Complete curves.
        confidence: What `asha.confidence` is.
        count: Number of searches.
    """
    draw = np.random.default_rng(1)
    chosen: list[Search] = []
    promoted: list[Search] = []
    for number in range(count):
        names = draw.permutation(sorted(curves)).tolist()
        unseen, record = names[:SMALL], [curves[name] for name in names[SMALL:]]
        mode = ("stop", "promote")[number % 2]
        choice = choose(record, trials=SMALL, lose_at_most=LOST, confidence=confidence, mode=mode)
        if setting := choice.setting:
            rule = stopping if mode == "stop" else promotion
            method, done = rule(setting.first, setting.factor, most=setting.rungs), chosen
        else:
            method, done = promotion(math.ceil(longest(curves) / 4), 3), promoted
        done.append(method({name: curves[name] for name in unseen}, unseen, 1))
    return {
        "searches": count,
        "a setting was chosen": len(chosen) / count,
        **{f"{name}, where it was": value for name, value in _of_searches(chosen).items()},
        **{f"{name}, where it was not": value for name, value in _of_searches(promoted).items()},
    }


def _of_searches(done: Sequence[Search]) -> dict[str, float]:
    if not done:
        return {}
    return {
        "epochs": statistics.fmean(one.epochs for one in done),
        "missed": statistics.fmean(one.regret > LOST + 1e-12 for one in done),
        "mean regret": 100 * statistics.fmean(one.regret for one in done),
    }


def curves_of(bank: Path) -> dict[str, Curve]:
    """Return the curves of a bank, by trial."""
    table = pq.read_table(bank).to_pandas().sort_values(["trial", "epoch"])
    return {
        str(name): Curve(rows["val_accuracy"].tolist(), rows["seconds"].tolist(), validated=True)
        for name, rows in table.groupby("trial")
    }


def student() -> dict[str, Curve]:
    """Return the student's curves, of test accuracies; of curves of several lengths, the commonest length."""
    tested = [curve for curve in open_baseline("student").curves if curve.tested]
    length = statistics.mode(len(curve.tested) for curve in tested)
    whole = [curve for curve in tested if len(curve.tested) == length]
    return {one.name: Curve([accuracy for _, accuracy in one.tested], one.seconds) for one in whole}


def draw_picture(results: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> None:
    """Write the picture: regret of the winner against epochs spent, a line for each method."""
    with drawn(path) as axes:
        for number, (method, settings) in enumerate(results.items()):
            points = sorted((100 * one["epochs"], one["mean regret"]) for one in settings.values())
            front = [point for at, point in enumerate(points) if point[1] <= min(y for _, y in points[: at + 1])]
            (line,) = axes.plot(*zip(*front, strict=True), marker=MARKERS[number], markersize=4, label=method)
            axes.plot(*zip(*points, strict=True), MARKERS[number], markersize=3, alpha=0.25, color=line.get_color())
        axes.set(xlabel="epochs spent, % of all", ylabel="mean regret of the winner, points", xlim=(0, 100))
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set_ylim(bottom=0)


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, list[Any]]:
    """Return the best setting of each method as columns and rows of text."""
    columns = ["method", "best setting", "epochs spent, %", "best missed, % of searches", "mean regret, points"]
    rows: list[list[str]] = []
    for method, settings in results.items():
        name = best_of(settings)
        one = settings[name]
        rows.append(
            [method, name, f"{100 * one['epochs']:.0f}", f"{100 * one['missed']:.1f}", f"{one['mean regret']:.2f}"]
        )
    return {"columns": columns, "rows": rows}


def table_of_choices(tried: Mapping[str, Mapping[str, float]]) -> dict[str, list[Any]]:
    """Return what `lose_at_most` comes to, by confidence, as columns and rows of text."""
    columns = ["confidence", "searches", "a setting was chosen, %", "then: epochs spent, %", "lost more, %"]
    columns += ["else, promoting: epochs spent, %", "lost more, %"]

    def share(one: Mapping[str, float], name: str) -> str:
        return f"{100 * one[name]:.0f}" if name in one else "–"

    names = ["a setting was chosen"]
    names += [f"{name}, where it was{ending}" for ending in ("", " not") for name in ("epochs", "missed")]
    rows = [
        [confidence, f"{one['searches']:.0f}", *(share(one, name) for name in names)]
        for confidence, one in tried.items()
    ]
    return {"columns": columns, "rows": rows}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--bank", type=Path, default=RECORDS / "curve-bank.parquet")
    parser.add_argument("--student", action="store_true", help="replay the student's curves instead of a bank")
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=32, help="of a search, drawn from the bank")
    parser.add_argument("--choices", type=int, default=60, help="searches for which lose_at_most chooses")
    parser.add_argument("--slots", type=int, default=4, help="trials that run at a time")
    options = parser.parse_args()
    if not options.student and not options.bank.exists():
        print(f"{options.bank} is not there; make it with benchmarks/curve_bank.py, or give --student", file=sys.stderr)
        return 2
    record = Record("replay")
    curves = student() if options.student else curves_of(options.bank)
    trials = min(options.trials, len(curves))
    drawn = searches(curves, count=options.searches, trials=trials)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for method, settings in methods(longest(curves)).items():
        results[method] = {name: measured(one, drawn, slots=options.slots) for name, one in settings.items()}
        name = best_of(results[method])
        best = results[method][name]
        print(
            f"{method:24} {name:20} {100 * best['epochs']:5.1f} % of the epochs, missed in {100 * best['missed']:5.1f} "
            f"% of the searches, mean regret {best['mean regret']:.2f} points",
            flush=True,
        )
    record.details |= {
        "bank": "student" if options.student else options.bank.name,
        "curves": len(curves),
        "epochs of a trial": longest(curves),
        "searches": len(drawn),
        "trials of a search": trials,
        "slots": options.slots,
        "best setting": {method: best_of(settings) for method, settings in results.items()},
        "settings": results,
        "tables": [table(results)],
    }
    if len(curves) > SMALL:
        tried = {f"{one:g}": choices(curves, confidence=one, count=options.choices) for one in CONFIDENCES}
        record.details[f"lose_at_most 0.2 in searches of {SMALL} trials, by confidence"] = tried
        record.details["tables"].append(table_of_choices(tried))
        for confidence, one in tried.items():
            print(f"lose_at_most with confidence {confidence}: {one}", flush=True)
    ours = [one for method, settings in results.items() if method.startswith("ASHA") for one in settings.values()]
    fitting = [one["epochs"] for one in ours if one["missed"] <= OFTEN]
    spent = min(fitting, default=1.0)
    record.target(
        "share of the epochs saved where the best is missed by more than 0.2 points in at most 5 % of the searches",
        1 - spent,
        f"≥ {SPARED}",
        met=1 - spent >= SPARED,
    )
    record.write(options.output)
    if not options.student:
        draw_picture(results, PICTURE)
        print(f"written: {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
