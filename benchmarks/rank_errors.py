"""How often the table is wrong: intervals that miss the truth, and equal configurations that a test separates.

python benchmarks/rank_errors.py               # 2,000 draws of each, about a quarter of an hour on two cores
python benchmarks/rank_errors.py --draws 100

It draws the accuracies and the predictions of configurations that are all equally good, and asks the code that makes
the table (`analysis.statistics`) for the interval of one and for the tests of all pairs. Seeds
differ by a standard deviation that is given. On the grid, the accuracy is a share of the test images: a part of the
images is right or wrong by chance in every training, which gives half of the variance (with 10,000 images less, where
it would take more than a tenth of the images), and the rest moves all of them together. Continuous accuracies are
normal and have no predictions.

The same is asked of `select`: configurations that are right on each image with the same probability, where one of three
classes has few images. Half of the images are right or wrong by chance in every training.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from comparison import Record, arguments
from numpy.typing import NDArray

from raytrain.analysis.statistics.bootstrap import MetricSample, metric_samples
from raytrain.analysis.statistics.sample import Sample, compare
from raytrain.analysis.statistics.significance import ALPHA, pairwise, rank_intervals
from raytrain.metrics.predictions import Predictions, metrics_of
from raytrain.metrics.selection import Select

SEEDS = (2, 3, 5, 10)
CONFIGURATIONS = (3, 5, 10, 28)
NOISE = (0.001, 0.003, 0.005)
IMAGES = (None, 360, 10_000)
"""Numbers of test images; None for continuous accuracies."""
INTERVALS = 5
"""Number of intervals for each draw of a table: they take less time, and a miss of two points is to be seen."""
ACCURACY = 0.95
MOST_UNCERTAIN = 0.1
"""Largest share of the test images that are right or wrong by chance."""

SELECTS: tuple[Select, ...] = ("balanced_accuracy", "macro_f1")
SELECT_SEEDS = (1, 3)
SELECT_ROWS = (2, 5)
"""Numbers of equal rows of which a metric other than accuracy is tested."""
RAREST = (1, 3, 10, 60)
"""Numbers of test images of the rarest of three classes; the others have 60 each."""
FEW = 3
"""Most images of the rarest class with which several seeds are drawn too, which takes long."""
RIGHT = 0.9
"""Probability with which the networks of those rows are right on an image."""


def uncertain_share(noise: float, images: int) -> float:
    """Return the share of images right with probability 1/2 that gives half of the variance over seeds."""
    return min(4 * images * noise**2 / 2, MOST_UNCERTAIN)


def on_grid(count: int, seeds: int, noise: float, images: int, draw: np.random.Generator) -> tuple[list[Sample], float]:
    """Return equal configurations on one test set, and their true accuracy on all images and over all seeds."""
    share = uncertain_share(noise, images)
    uncertain = draw.binomial(images, share)
    sure = draw.binomial(images - uncertain, ACCURACY)
    together = np.sqrt(max(noise**2 - share / 4 / images, 0.0))
    samples: list[Sample] = []
    for _ in range(count):
        correct = np.zeros((seeds, images), dtype=bool)
        correct[:, uncertain : uncertain + sure] = True
        moved = 0.5 + draw.normal(0, together, (seeds, 1)) / max(share, 1 / images)
        correct[:, :uncertain] = draw.random((seeds, uncertain), dtype=np.float32) < moved
        samples.append(Sample(correct.mean(axis=1).tolist(), correct, ("simulated", 0.0)))
    return samples, (1 - share) * ACCURACY + share / 2


def continuous(count: int, seeds: int, noise: float, draw: np.random.Generator) -> tuple[list[Sample], float]:
    """Return equal configurations without predictions, and their true accuracy."""
    values = draw.normal(ACCURACY, noise, (count, seeds))
    return [Sample(one.tolist(), None, ("simulated", 0.0)) for one in values], ACCURACY


def errors(setting: tuple[int | None, float, int], *, draws: int) -> tuple[float, dict[int, float]]:
    """Return the coverage of the interval, and by number of configurations how often some pair is separated.

    28 configurations have 378 pairs, which take long: only with the middle noise, and with 10,000 images only for two
    and three seeds. Tests and intervals of continuous accuracies do not depend on the unit: one noise stands for all.
    """
    images, noise, seeds = setting
    many = noise == NOISE[1] and (images == IMAGES[1] or (images == IMAGES[2] and seeds <= 3))
    counts = CONFIGURATIONS if many else CONFIGURATIONS[:-1]
    draw = np.random.default_rng([images or 0, round(noise * 1e4), seeds])
    separated = dict.fromkeys(counts, 0)
    for _ in range(draws):
        most = max(counts)
        samples, _ = on_grid(most, seeds, noise, images, draw) if images else continuous(most, seeds, noise, draw)
        p_values: NDArray[np.float64] = np.ones((most, most))
        for one, other in combinations(range(most), 2):
            p_values[one, other] = compare(samples[one], samples[other])
        for count in counts:
            corrected = pairwise(count, lambda one, other: float(p_values[one, other]))  # noqa: B023 (called at once)
            apart = min(corrected.values()) < ALPHA
            # equal configurations all have every rank, unless a pair is separated
            assert apart or rank_intervals(corrected, count) == [(1, count)] * count
            separated[count] += apart
    covered = 0
    for _ in range(INTERVALS * draws):
        (sample,), truth = on_grid(1, seeds, noise, images, draw) if images else continuous(1, seeds, noise, draw)
        interval = sample.interval()
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    return covered / (INTERVALS * draws), {count: times / draws for count, times in separated.items()}


def on_classes(select: Select, rarest: int, seeds: int, draw: np.random.Generator) -> list[MetricSample]:
    """Return equal configurations on one test set whose classes have 60, 60 and few images."""
    labels = np.repeat([0, 1, 2], [60, 60, rarest])
    sure, right_where_sure = draw.random(len(labels)) < 0.5, draw.random(len(labels)) < RIGHT
    scores: list[dict[str, float]] = []
    seen: dict[str, Predictions] = {}
    for row in range(max(SELECT_ROWS)):
        names = [f"{row}-{seed}" for seed in range(seeds)]
        for name in names:
            right = np.where(sure, right_where_sure, draw.random(len(labels)) < RIGHT)
            predicted = np.where(right, labels, (labels + draw.integers(1, 3, len(labels))) % 3)
            seen[name] = Predictions(labels, predicted, np.ones(len(labels), dtype=np.float32))
        scores.append({name: getattr(metrics_of(seen[name]), select) for name in names})
    return metric_samples(scores, seen, select, ["simulated"] * len(scores))


def errors_of_select(setting: tuple[Select, int, int], *, draws: int) -> tuple[float, dict[int, float]]:
    """Return the same as `errors` for a metric other than accuracy; the truth is its mean over all that is drawn."""
    select, rarest, seeds = setting
    draw = np.random.default_rng([SELECTS.index(select), rarest, seeds])
    lows, highs, values = np.empty(draws), np.empty(draws), np.empty(draws)
    separated = dict.fromkeys(SELECT_ROWS, 0)
    for index in range(draws):
        samples = on_classes(select, rarest, seeds, draw)
        interval = samples[0].interval()
        assert interval is not None
        lows[index], highs[index] = interval.low, interval.high
        values[index] = np.mean([value for sample in samples for value in sample.values])
        for count in SELECT_ROWS:
            p_values = pairwise(count, lambda one, other: samples[one].p_value(samples[other]))  # noqa: B023 (called at once)
            separated[count] += min(p_values.values()) < ALPHA
    truth = values.mean()
    covered = float(((lows <= truth) & (truth <= highs)).mean())
    return covered, {count: times / draws for count, times in separated.items()}


Setting = tuple[int | None, float, int] | tuple[Select, int, int]


def errors_of(setting: Setting, *, draws: int) -> tuple[float, dict[int, float]]:
    """Return what `errors` or `errors_of_select` returns."""
    if setting[0] in SELECTS:
        return errors_of_select(setting, draws=draws)  # type: ignore[arg-type]
    return errors(setting, draws=draws)  # type: ignore[arg-type]


def words(setting: Setting) -> list[str]:
    images, noise, seeds = setting
    if images in SELECTS:
        return [str(images).replace("_", " "), f"{noise}", str(seeds)]
    return [f"{images:,}" if images else "continuous", f"{100 * noise:.1f}", str(seeds)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="rows that an interrupted command printed, which are not drawn again")
    parser.add_argument("--most", type=int, help="draw so many settings at most; the record names those that are left")
    options = parser.parse_args()
    record = Record("rank_errors")
    settings: list[Setting] = [
        (images, noise, seeds) for images in IMAGES for noise in (NOISE if images else NOISE[1:2]) for seeds in SEEDS
    ]
    settings += [
        (select, rarest, seeds)
        for select in SELECTS
        for rarest in RAREST
        for seeds in SELECT_SEEDS
        if seeds == 1 or rarest <= FEW
    ]
    rows = [line.split(" | ") for line in options.rows.read_text().splitlines()] if options.rows else []
    with ProcessPoolExecutor(options.processes) as pool:
        todo = [one for one in settings if words(one) not in [row[:3] for row in rows]][: options.most]
        for setting, (coverage, separated) in zip(
            todo, pool.map(partial(errors_of, draws=options.draws), todo), strict=True
        ):
            counts = SELECT_ROWS if setting[0] in SELECTS else CONFIGURATIONS
            shares = [f"{100 * separated[count]:.1f}" if count in separated else "" for count in counts]
            rows.append([*words(setting), f"{100 * coverage:.1f}", *shares])
            print(" | ".join(rows[-1]), flush=True)
    listed = [words(one) for one in settings]
    rows.sort(key=lambda row: listed.index(row[:3]))
    left = [" | ".join(words(one)) for one in settings if words(one) not in [row[:3] for row in rows]]
    selects = [select.replace("_", " ") for select in SELECTS]
    of_select = [row for row in rows if row[0] in selects]
    rows = [row for row in rows if row[0] not in selects]
    record.details["settings not drawn"] = left
    record.details["draws"] = options.draws
    record.details["tables"] = [
        {
            "columns": [
                "test images",
                "seed noise, points",
                "seeds",
                "interval holds the truth, %",
                *(f"{count} equal rows: some pair separated, %" for count in CONFIGURATIONS),
            ],
            "rows": rows,
        },
        {
            "columns": [
                "select",
                "test images of the rarest class",
                "seeds",
                "interval holds the truth, %",
                *(f"{count} equal rows: some pair separated, %" for count in SELECT_ROWS),
            ],
            "rows": of_select,
        },
    ]
    for what, some in (("", rows), (" by select", of_select)):
        if not some:
            continue
        coverages = [float(row[3]) / 100 for row in some]
        worst = max(float(cell) / 100 for row in some for cell in row[4:] if cell.strip())
        lowest, highest = min(coverages), max(coverages)
        record.target(f"lowest coverage of a 95 % interval{what}", lowest, "≥ 0.93", met=lowest >= 0.93)
        if not what:  # few images of a class make the interval of another metric wide
            record.target("highest coverage of a 95 % interval", highest, "≤ 0.97", met=highest <= 0.97)
        record.target(f"most often some pair of equal rows separated{what}", worst, "≤ 0.05", met=worst <= 0.05)
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
