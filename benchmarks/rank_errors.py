"""How often the table is wrong: intervals that miss the truth, and equal configurations that a test separates.

python benchmarks/rank_errors.py               # 2,000 draws of each, about 15 minutes on one core
python benchmarks/rank_errors.py --draws 100

It draws the accuracies and the predictions of configurations that are all equally good, and asks the code that makes
the table (`analysis.statistics`) for the interval of one and for the tests of all pairs. Seeds
differ by a standard deviation that is given. On the grid, the accuracy is a share of the test images: a part of the
images is right or wrong by chance in every training, which gives half of the variance (with 10,000 images less, where
it would take more than a tenth of the images), and the rest moves all of them together. Continuous accuracies are
normal and have no predictions.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from comparison import Record, arguments
from numpy.typing import NDArray

from raytrain.analysis.statistics.sample import Sample, compare
from raytrain.analysis.statistics.significance import ALPHA, pairwise, rank_intervals

SEEDS = (2, 3, 5, 10)
CONFIGURATIONS = (3, 5, 10, 28)
NOISE = (0.001, 0.003, 0.005)
IMAGES = (None, 360, 10_000)
"""Numbers of test images; None for continuous accuracies."""
ACCURACY = 0.95
MOST_UNCERTAIN = 0.1
"""Largest share of the test images that are right or wrong by chance."""


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
    covered, separated = 0, dict.fromkeys(counts, 0)
    for _ in range(draws):
        most = max(counts)
        samples, truth = on_grid(most, seeds, noise, images, draw) if images else continuous(most, seeds, noise, draw)
        interval = samples[0].interval()
        assert interval is not None
        covered += interval.low <= truth <= interval.high
        p_values: NDArray[np.float64] = np.ones((most, most))
        for one, other in combinations(range(most), 2):
            p_values[one, other] = compare(samples[one], samples[other])
        for count in counts:
            corrected = pairwise(count, lambda one, other: float(p_values[one, other]))  # noqa: B023 (called at once)
            apart = min(corrected.values()) < ALPHA
            # equal configurations all have every rank, unless a pair is separated
            assert apart or rank_intervals(corrected, count) == [(1, count)] * count
            separated[count] += apart
    return covered / draws, {count: times / draws for count, times in separated.items()}


def words(setting: tuple[int | None, float, int]) -> list[str]:
    images, noise, seeds = setting
    return [f"{images:,}" if images else "continuous", f"{100 * noise:.1f}", str(seeds)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="rows that an interrupted command printed, which are not drawn again")
    parser.add_argument("--most", type=int, help="draw so many settings at most; the record names those that are left")
    options = parser.parse_args()
    record = Record("rank_errors")
    settings = [
        (images, noise, seeds) for images in IMAGES for noise in (NOISE if images else NOISE[1:2]) for seeds in SEEDS
    ]
    rows = [line.split(" | ") for line in options.rows.read_text().splitlines()] if options.rows else []
    with ProcessPoolExecutor(options.processes) as pool:
        todo = [one for one in settings if words(one) not in [row[:3] for row in rows]][: options.most]
        for setting, (coverage, separated) in zip(
            todo, pool.map(partial(errors, draws=options.draws), todo), strict=True
        ):
            shares = [f"{100 * separated[count]:.1f}" if count in separated else "" for count in CONFIGURATIONS]
            rows.append([*words(setting), f"{100 * coverage:.1f}", *shares])
            print(" | ".join(rows[-1]), flush=True)
    listed = [words(one) for one in settings]
    rows.sort(key=lambda row: listed.index(row[:3]))
    left = [" | ".join(words(one)) for one in settings if words(one) not in [row[:3] for row in rows]]
    coverages = [float(row[3]) / 100 for row in rows]
    separations = [float(cell) / 100 for row in rows for cell in row[4:] if cell.strip()]
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
        }
    ]
    lowest, highest = min(coverages), max(coverages)
    record.target("lowest coverage of a 95 % interval", lowest, "≥ 0.93", met=lowest >= 0.93)
    record.target("highest coverage of a 95 % interval", highest, "≤ 0.97", met=highest <= 0.97)
    worst = max(separations)
    record.target("most often some pair of equal rows separated", worst, "≤ 0.05", met=worst <= 0.05)
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
