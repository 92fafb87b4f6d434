"""How often the table is wrong: intervals that miss the truth, and equal configurations that a test separates.

python benchmarks/rank_errors.py               # 2,000 draws of each, about a quarter of an hour on two cores
python benchmarks/rank_errors.py --draws 100

It draws the accuracies and the predictions of configurations that are all equally good (equal_rows.py), and asks the
code that makes the table (`analysis.statistics`) for the interval of one and for the tests of all pairs. Seeds differ
by a standard deviation that is given. On the grid, the accuracy is a share of the test images: a part of the images is
right or wrong by chance in every training, which gives half of the variance (with 10,000 images less, where it would
take more than a tenth of the images), and the rest moves all of them together; where they are less than one image on
average, it moves nothing in most test sets, and the seeds differ by less than is given. Continuous accuracies are
normal and have no predictions.

The same is asked of `select`: configurations that are right on each image with the same probability, where one of three
classes has few images. Half of the images are right or wrong by chance in every training. It is also asked of
accuracies near 100 %, and of rows with one seed.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Record, arguments
from equal_rows import Rows, continuous, on_classes, on_grid

from raytrain.analysis.statistics.sample import Sample, comparing
from raytrain.analysis.statistics.significance import ALPHA, pairwise, rank_intervals
from raytrain.metrics.selection import Select

SEEDS = (2, 3, 5, 10)
CONFIGURATIONS = (3, 5, 10, 28)
FEWER = CONFIGURATIONS[:-1]
NOISE = (0.001, 0.003, 0.005)
IMAGES = (None, 360, 10_000)
"""Numbers of test images; None for continuous accuracies."""
INTERVALS = 5
"""Number of intervals for each draw of a table: they take less time, and a miss of two points is to be seen."""

SELECTS: tuple[Select, ...] = ("balanced_accuracy", "macro_f1")
SELECT_SEEDS = (1, 3)
SELECT_ROWS = (2, 5)
"""Numbers of equal rows of which a metric other than accuracy is tested."""
RAREST = (1, 3, 10, 60)
"""Numbers of test images of the rarest of three classes; the others have 60 each."""
FEW = 3
"""Most images of the rarest class with which several seeds are drawn too, which takes long."""

NEAR = (
    *((0.99, images, noise) for images in (360, 10_000) for noise in (0.0005, 0.001)),
    *((0.998, images, 0.0005) for images in (360, 10_000)),
)
"""Accuracies near 100 %, numbers of test images, and deviations over seeds that are possible there."""

ONE, TURNS, FIRST = "1", "1 and 3 in turn", "1 of the first, 3 of the others"
COUNTS: Mapping[str, Sequence[int]] = {ONE: [1] * 10, TURNS: [1, 3] * 5, FIRST: [1] + [3] * 9}
"""Numbers of seeds of ten rows, in words and one by one."""
ONE_SEED_NOISE = (0.001, 0.002, 0.003)

Setting = tuple[Any, ...]


def separated(drawn: Callable[[], Sequence[Sample]], counts: Sequence[int], *, draws: int) -> dict[int, float]:
    """Return how often some pair of the first 3, 5, ... of equal configurations is separated, by their number."""
    times = dict.fromkeys(counts, 0)
    for _ in range(draws):
        samples = drawn()
        p_value = comparing(samples)
        p_values = {pair: p_value(*pair) for pair in combinations(range(len(samples)), 2)}
        for count in counts:
            corrected = pairwise(count, lambda one, other: p_values[one, other])  # noqa: B023 (called at once)
            apart = min(corrected.values()) < ALPHA
            # equal configurations all have every rank, unless a pair is separated
            assert apart or rank_intervals(corrected, count) == [(1, count)] * count
            times[count] += apart
    return {count: number / draws for count, number in times.items()}


def covered(drawn: Callable[[], Rows], *, draws: int) -> tuple[float, float]:
    """Return how often the interval of one configuration holds its accuracy, and that of its first network."""
    held = np.zeros(2)
    for _ in range(draws):
        rows = drawn()
        interval = rows.samples[0].interval()
        assert interval is not None
        held += [interval.low <= truth <= interval.high for truth in (rows.truth, rows.networks[0][0])]
    whole, network = held / draws
    return float(whole), float(network)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def errors(setting: Setting, *, draws: int) -> list[str]:
    """Return the coverage of the interval, and how often some pair is separated, by number of configurations.

    28 configurations have 378 pairs, which take long: only with the middle noise, and with 10,000 images only for two
    and three seeds. Tests and intervals of continuous accuracies do not depend on the unit: one noise stands for all.
    """
    images, noise, seeds = setting
    many = noise == NOISE[1] and (images == IMAGES[1] or (images == IMAGES[2] and seeds <= 3))
    counts = CONFIGURATIONS if many else FEWER
    draw = np.random.default_rng([images or 0, round(noise * 1e4), seeds])

    def drawn(count: int) -> Rows:
        return on_grid([seeds] * count, noise, images, draw) if images else continuous([seeds] * count, noise, draw)

    apart = separated(lambda: drawn(max(counts)).samples, counts, draws=draws)
    held, _ = covered(lambda: drawn(1), draws=INTERVALS * draws)
    return [percent(held), *(percent(apart[count]) if count in apart else "" for count in CONFIGURATIONS)]


def errors_of_select(setting: Setting, *, draws: int) -> list[str]:
    """Return the same for a metric other than accuracy; the truth is its mean over all that is drawn."""
    select, rarest, seeds = setting
    draw = np.random.default_rng([SELECTS.index(select), rarest, seeds])
    lows, highs, values = np.empty(draws), np.empty(draws), np.empty(draws)
    times = dict.fromkeys(SELECT_ROWS, 0)
    for index in range(draws):
        samples = on_classes(select, rarest, seeds, draw, count=max(SELECT_ROWS))
        interval = samples[0].interval()
        assert interval is not None
        lows[index], highs[index] = interval.low, interval.high
        values[index] = np.mean([value for sample in samples for value in sample.values])
        for count in SELECT_ROWS:
            p_values = pairwise(count, lambda one, other: samples[one].p_value(samples[other]))  # noqa: B023 (called at once)
            times[count] += min(p_values.values()) < ALPHA
    held = float(((lows <= values.mean()) & (values.mean() <= highs)).mean())
    return [percent(held), *(percent(times[count] / draws) for count in SELECT_ROWS)]


def errors_near_1(setting: Setting, *, draws: int) -> list[str]:
    """Return the same for an accuracy near 100 %."""
    accuracy, images, noise, seeds = setting
    draw = np.random.default_rng([round(accuracy * 1e3), images, round(noise * 1e4), seeds])

    def drawn(count: int) -> Rows:
        return on_grid([seeds] * count, noise, images, draw, accuracy=accuracy)

    apart = separated(lambda: drawn(max(FEWER)).samples, FEWER, draws=draws)
    held, _ = covered(lambda: drawn(1), draws=INTERVALS * draws)
    return [percent(held), *(percent(apart[count]) for count in FEWER)]


def errors_of_one_seed(setting: Setting, *, draws: int) -> list[str]:
    """Return how often some pair is separated, and what the interval holds of a row with one seed."""
    words, images, noise = setting
    draw = np.random.default_rng([list(COUNTS).index(words), images, round(noise * 1e4), 1])
    apart = separated(lambda: on_grid(COUNTS[words], noise, images, draw).samples, FEWER, draws=draws)
    held = ["", ""]
    if words == ONE:
        whole, network = covered(lambda: on_grid([1], noise, images, draw), draws=INTERVALS * draws)
        held = [percent(network), percent(whole)]
    return [*held, *(percent(apart[count]) for count in FEWER)]


def equal(counts: Sequence[int]) -> list[str]:
    return [f"{count} equal rows: some pair separated, %" for count in counts]


HELD = "interval holds the truth, %"


@dataclass(frozen=True)
class Table:
    """A table of the record.

    Attributes:
        settings: What is drawn, a row each.
        words: What returns the first cells of a row.
        errors: What returns the other cells.
        columns: Heads of all columns.
    """

    settings: Sequence[Setting]
    words: Callable[[Setting], list[str]]
    errors: Callable[..., list[str]]
    columns: Sequence[str]


TABLES = {
    "rows": Table(
        [(images, noise, seeds) for images in IMAGES for noise in (NOISE if images else NOISE[1:2]) for seeds in SEEDS],
        lambda of: [f"{of[0]:,}" if of[0] else "continuous", f"{100 * of[1]:.1f}", str(of[2])],
        errors,
        ["test images", "seed noise, points", "seeds", HELD, *equal(CONFIGURATIONS)],
    ),
    "by select": Table(
        [
            (select, rarest, seeds)
            for select in SELECTS
            for rarest in RAREST
            for seeds in SELECT_SEEDS
            if seeds == 1 or rarest <= FEW
        ],
        lambda of: [of[0].replace("_", " "), str(of[1]), str(of[2])],
        errors_of_select,
        ["select", "test images of the rarest class", "seeds", HELD, *equal(SELECT_ROWS)],
    ),
    "near 100 %": Table(
        [(*near, seeds) for near in NEAR for seeds in SEEDS],
        lambda of: [percent(of[0]), f"{of[1]:,}", f"{100 * of[2]:.2f}", str(of[3])],
        errors_near_1,
        ["accuracy, %", "test images", "seed noise, points", "seeds", HELD, *equal(FEWER)],
    ),
    "one seed": Table(
        [(words, images, noise) for words in COUNTS for images in IMAGES[1:] for noise in ONE_SEED_NOISE],
        lambda of: [of[0], f"{of[1]:,}", f"{100 * of[2]:.1f}"],
        errors_of_one_seed,
        [
            "seeds of each row",
            "test images",
            "seed noise, points",
            "interval holds the accuracy of this network, %",
            "interval holds the mean over seeds, %",
            *equal(FEWER),
        ],
    ),
}


def row(of: tuple[str, Setting], *, draws: int) -> list[str]:
    """Return the row of a table for one setting."""
    name, setting = of
    return [*TABLES[name].words(setting), *TABLES[name].errors(setting, draws=draws)]


def aims(record: Record, rows: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Keep what was aimed at in a record."""
    for name, table in TABLES.items():
        if name == "one seed" or not rows[name]:
            continue
        what, first = "" if name == "rows" else f" {name}", table.columns.index(HELD)
        coverages = [float(cells[first]) / 100 for cells in rows[name]]
        lowest, highest = min(coverages), max(coverages)
        record.target(f"lowest coverage of a 95 % interval{what}", lowest, "≥ 0.93", met=lowest >= 0.93)
        if name != "by select":  # few images of a class make the interval of another metric wide
            record.target(f"highest coverage of a 95 % interval{what}", highest, "≤ 0.97", met=highest <= 0.97)
        worst = max(float(cell) / 100 for cells in rows[name] for cell in cells[first + 1 :] if cell.strip())
        record.target(f"most often some pair of equal rows separated{what}", worst, "≤ 0.05", met=worst <= 0.05)
    # of networks with one seed each, McNemar's test does not say which configuration is better: nothing to aim at
    one = [float(cells[3]) / 100 for cells in rows["one seed"] if cells[0] == ONE]
    first = [float(cell) / 100 for cells in rows["one seed"] if cells[0] == FIRST for cell in cells[5:]]
    if one:
        record.target("lowest coverage of one network's accuracy", min(one), "≥ 0.93", met=min(one) >= 0.93)
    if first:
        what = "most often some pair separated, one row with 1 seed and the others with 3"
        record.target(what, max(first), "≤ 0.05", met=max(first) <= 0.05)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="rows that an interrupted command printed, which are not drawn again")
    parser.add_argument("--most", type=int, help="draw so many settings at most; the record names those that are left")
    options = parser.parse_args()
    record = Record("rank_errors")
    listed = {
        (name, *table.words(setting)): (name, setting) for name, table in TABLES.items() for setting in table.settings
    }
    lines = [line.split(" | ") for line in options.rows.read_text().splitlines()] if options.rows else []
    known = {key: line[1:] for line in lines for key in listed if list(key) == line[: len(key)]}
    todo = [key for key in listed if key not in known][: options.most]
    with ProcessPoolExecutor(options.processes) as pool:
        found = pool.map(partial(row, draws=options.draws), [listed[key] for key in todo])
        for key, cells in zip(todo, found, strict=True):
            known[key] = cells
            print(" | ".join([key[0], *cells]), flush=True)
    rows = {name: [known[key] for key in listed if key[0] == name and key in known] for name in TABLES}
    record.details["settings not drawn"] = [" | ".join(key) for key in listed if key not in known]
    record.details["draws"] = options.draws
    record.details["tables"] = [{"columns": table.columns, "rows": rows[name]} for name, table in TABLES.items()]
    aims(record, rows)
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
