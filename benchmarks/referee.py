"""How often `raytrain judge` is wrong when one looks after every seed, against "keep if better", and what it costs.

python benchmarks/referee.py                   # 2,000 draws and sessions of each, about five minutes on one core
python benchmarks/referee.py --draws 200

Everything is simulated: accuracies of a base and of candidates whose seeds differ by a standard deviation that is
given. On the grid they are rounded to shares of 360 images; "binomial" draws the number of correct images. A session
has 100 candidates against one base: its seeds are the same for all candidates, as they are in practice. Candidates
come one after the other, get a seed at a time, and are judged after each, until the answer is keep or drop or they have
20 seeds. The evidence, the levels and the decision are those of `analysis.sequential` and `analysis.judge`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from comparison import Record, arguments
from numpy.typing import NDArray
from scipy import stats

from raytrain.analysis.judge import decide
from raytrain.analysis.separation import decided
from raytrain.analysis.sequential import Differences, e_values, online_level
from raytrain.analysis.statistics import ALPHA

SEEDS = 20
CANDIDATES = 100
MARGIN = 0.002
GAIN = 0.005
NEVER = SEEDS + 1

Accuracies = NDArray[np.float64]
Draw = Callable[[tuple[int, ...], float, np.random.Generator], Accuracies]
"""Draws accuracies of a shape, of a network whose mean accuracy is a gain above that of the base."""


def normal(noise: float, images: int | None = None) -> Draw:
    """Return what draws normal accuracies, on the grid of some images if they are given."""

    def draw(shape: tuple[int, ...], gain: float, generator: np.random.Generator) -> Accuracies:
        values = 0.95 + gain + generator.normal(0, noise, shape)
        return np.round(values * images) / images if images else values

    return draw


def binomial(images: int, accuracy: float) -> Draw:
    """Return what draws the number of correct images, each right or wrong by itself."""

    def draw(shape: tuple[int, ...], gain: float, generator: np.random.Generator) -> Accuracies:
        return generator.binomial(images, accuracy + gain, shape) / images

    return draw


@dataclass(frozen=True)
class Kind:
    """A kind of seed noise.

    Attributes:
        name: What the tables call it.
        draw: What draws accuracies.
        noise: Standard deviation over seeds, a fraction.
        images: Number of test images; None for continuous accuracies.
    """

    name: str
    draw: Draw
    noise: float
    images: int | None = None

    def differences(self, values: Accuracies) -> Differences:
        """Return differences with the least variance that is known without predictions: that of the rounding."""
        floor = 1 / (6 * self.images**2) if self.images else 0.0
        return Differences(values, np.full(values.shape, floor))


def kinds() -> list[Kind]:
    points = (0.001, 0.002, 0.003, 0.005)
    return [
        *(Kind(f"normal, {100 * noise:.1f} points", normal(noise), noise) for noise in points),
        *(Kind(f"360 images, {100 * noise:.1f} points", normal(noise, 360), noise, 360) for noise in points),
        Kind("binomial, 360 images, 0.9 points", binomial(360, 0.97), np.sqrt(0.97 * 0.03 / 360), 360),
        Kind("binomial, 10,000 images, 0.2 points", binomial(10_000, 0.95), np.sqrt(0.95 * 0.05 / 10_000), 10_000),
    ]


def first(shown: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Return after how many seeds something was shown first, along the last axis; `NEVER` where it was not."""
    return np.where(shown.any(axis=-1), shown.argmax(axis=-1) + 1, NEVER)


def fooled_looks(values: Accuracies) -> float:
    """Return how often a t-test at 5 %, repeated after each seed from the second on, finds a gain."""
    count = np.arange(2, SEEDS + 1)
    total, squares = np.cumsum(values, axis=-1)[..., 1:], np.cumsum(values**2, axis=-1)[..., 1:]
    variance = np.maximum(squares - total**2 / count, 0) / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = total / np.sqrt(count * variance)
    return float((t >= stats.t.isf(ALPHA, count - 1)).any(axis=-1).mean())


@dataclass(frozen=True)
class Sessions:
    """What came of sessions, each of `CANDIDATES` candidates.

    Attributes:
        kept: (sessions, candidates) bool, whether each was kept.
        seeds: (sessions, candidates) int, how many seeds each got.
    """

    kept: NDArray[np.bool_]
    seeds: NDArray[np.int_]


def judged(kind: Kind, gains: NDArray[np.float64], draw: np.random.Generator, *, margin: float) -> Sessions:
    """Return the sessions in which candidates of these true gains, (sessions, candidates), were judged in order."""
    sessions, candidates = gains.shape
    base = kind.draw((sessions, SEEDS), 0.0, draw)
    kept, seeds = np.zeros(gains.shape, bool), np.zeros(gains.shape, int)
    for candidate in range(candidates):
        values = np.empty((sessions, SEEDS))
        for gain in np.unique(gains[:, candidate]):
            these = gains[:, candidate] == gain
            values[these] = kind.draw((int(these.sum()), SEEDS), float(gain), draw)
        differences = kind.differences(values - base)
        levels = np.array([online_level(candidate + 1, int(before)) for before in kept.sum(axis=1)])
        keep = first(e_values(differences) >= 1 / levels[:, None])
        drop = first(e_values(-differences, null=-margin) >= 1 / ALPHA)
        kept[:, candidate] = (keep < NEVER) & (keep <= drop)
        seeds[:, candidate] = np.minimum(np.minimum(keep, drop), SEEDS)
        session = candidate % sessions  # the decision of the command itself, on one of them
        one = Differences(differences.values[session], differences.floors[session])
        answer = decide(one, margin=margin, level=levels[session])
        assert (answer.answer == "keep") == kept[session, candidate]
        assert answer.seeds == seeds[session, candidate]
    return Sessions(kept, seeds)


def if_better(kind: Kind, sessions: int, draw: np.random.Generator) -> tuple[float, float]:
    """Return the share of null candidates that are kept if one seed is better, and if both are better than both."""
    base, candidate = (kind.draw((sessions, CANDIDATES, 2), 0.0, draw) for _ in range(2))
    one = candidate[..., 0] > base[..., 0]
    return float(one.mean()), float((candidate.min(axis=-1) > base.max(axis=-1)).mean())


def fixed_seeds(effect: float, level: float, *, power: float = 0.8) -> int:
    """Return the seeds of a paired t-test that finds an effect, in standard deviations of a difference."""
    seeds = 2
    while stats.nct.sf(stats.t.isf(level, seeds - 1), seeds - 1, effect * np.sqrt(seeds)) < power:
        seeds += 1
    return seeds


def looks(record: Record, draws: int, draw: np.random.Generator) -> dict[str, object]:
    """Measure one candidate, judged after each of 20 seeds at a level of 5 %."""
    rows: list[list[str]] = []
    wrong: list[float] = []
    for kind in kinds():
        null = kind.draw((draws, SEEDS), 0.0, draw) - kind.draw((draws, SEEDS), 0.0, draw)
        gain = kind.draw((draws, SEEDS), MARGIN, draw) - kind.draw((draws, SEEDS), 0.0, draw)
        keep = float((e_values(kind.differences(null)).max(axis=-1) >= 1 / ALPHA).mean())
        drop = float((e_values(kind.differences(-gain), null=-MARGIN).max(axis=-1) >= 1 / ALPHA).mean())
        rows.append([kind.name, f"{100 * keep:.1f}", f"{100 * drop:.1f}", f"{100 * fooled_looks(null):.1f}"])
        print(" | ".join(rows[-1]), flush=True)
        wrong += [keep, drop]
    worst = max(wrong)
    record.target("false decisions in 20 looks, the most of all noises", worst, "≤ 0.05", met=worst <= ALPHA)
    names = ["one candidate, 20 looks: seed noise", "kept although equal, %", "dropped although 0.2 points better, %"]
    return {"columns": [*names, "a t-test at each look finds a gain, %"], "rows": rows}


def null_sessions(record: Record, draws: int, draw: np.random.Generator) -> dict[str, object]:
    """Measure sessions in which no candidate is better than the base."""
    rows: list[list[str]] = []
    wrong: list[float] = []
    for kind in kinds():
        sessions = judged(kind, np.zeros((draws, CANDIDATES)), draw, margin=MARGIN)
        wrong.append(float(sessions.kept.any(axis=1).mean()))
        one, two = if_better(kind, draws, draw)
        kept = f"{CANDIDATES * sessions.kept.mean():.2f}"
        rows.append([kind.name, f"{100 * wrong[-1]:.1f}", kept, f"{CANDIDATES * one:.0f}", f"{CANDIDATES * two:.0f}"])
        print(" | ".join(rows[-1]), flush=True)
    worst = max(wrong)
    record.target("null sessions with a false keep, the most of all noises", worst, "≤ 0.05", met=worst <= ALPHA)
    names = ["100 candidates, none better: seed noise", "sessions with a false keep, %", "kept of 100, judge"]
    return {
        "columns": [*names, "kept of 100, one seed better", "kept of 100, both seeds better than both"],
        "rows": rows,
    }


def mixed_sessions(record: Record, draws: int, draw: np.random.Generator) -> dict[str, object]:
    """Measure sessions in which one candidate in ten is better by `GAIN`, against a fixed design.

    The fixed design gives every candidate as many seeds as find that gain with 80 % at a level of 5 % / 100.
    """
    rows: list[list[str]] = []
    for kind in [one for one in kinds() if one.images is None or one.name.startswith("binomial, 10,000")]:
        fixed = fixed_seeds(GAIN / kind.noise / np.sqrt(2), ALPHA / CANDIDATES)
        for margin in (MARGIN, GAIN):
            better = draw.random((draws, CANDIDATES)) < 0.1
            sessions = judged(kind, np.where(better, GAIN, 0.0), draw, margin=margin)
            false = ((sessions.kept & ~better).sum(axis=1) / np.maximum(sessions.kept.sum(axis=1), 1)).mean()
            power = sessions.kept[better].mean()
            seeds = sessions.seeds.mean()
            record.target(
                f"{kind.name}, margin {100 * margin:.1f}: gains of 0.5 points found", power, "≥ 0.8", met=power >= 0.8
            )
            record.target(
                f"{kind.name}, margin {100 * margin:.1f}: trainings over those of a fixed design",
                seeds / fixed,
                "≤ 0.6",
                met=seeds <= 0.6 * fixed,
            )
            cells = [f"{100 * margin:.1f}", f"{100 * power:.0f}", f"{100 * false:.2f}", f"{seeds:.1f}", f"{fixed}"]
            rows.append([kind.name, *cells, f"{seeds / fixed:.2f}"])
            print(" | ".join(rows[-1]), flush=True)
    names = [
        "100 candidates, one in ten better by 0.5 points: seed noise",
        "margin, points",
        "gains found, %",
        "false among the kept, %",
    ]
    return {"columns": [*names, "seeds per candidate", "seeds, fixed design", "ratio"], "rows": rows}


def separations(record: Record, draws: int, draw: np.random.Generator) -> dict[str, object]:
    """Measure `raytrain compare --until-separated 0.3` with five configurations: wrong answers, pairs left open."""
    rows: list[list[str]] = []
    wrong: list[float] = []
    pairs = list(combinations(range(5), 2))
    for kind in [one for one in kinds() if one.noise in {0.001, 0.003}]:
        for step in (0.0, 0.003):
            false, still, used = 0, 0, 0.0
            for _ in range(draws):
                values = np.stack([kind.draw((SEEDS,), step * place, draw) for place in range(5)])
                answers = [
                    decided(kind.differences(values[one] - values[other]), gap=0.003, level=ALPHA / len(pairs))
                    for one, other in pairs
                ]
                right = {"behind", "open"} if step else {"same", "open"}
                false += not {answer for answer, _ in answers} <= right
                still += sum(answer == "open" for answer, _ in answers)
                used += max(seeds for _, seeds in answers)
            wrong.append(false / draws)
            cells = [f"{100 * wrong[-1]:.1f}", f"{100 * still / draws / len(pairs):.0f}", f"{used / draws:.1f}"]
            rows.append([kind.name, "0.3 points apart" if step else "equal", *cells])
            print(" | ".join(rows[-1]), flush=True)
    worst = max(wrong)
    record.target("runs with a wrong answer to some pair, the most of all", worst, "≤ 0.05", met=worst <= ALPHA)
    names = [
        "--until-separated 0.3: seed noise",
        "five configurations",
        "runs with a wrong answer, %",
        "pairs open after 20 seeds, %",
    ]
    return {"columns": [*names, "seeds until the last answer"], "rows": rows}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    options = parser.parse_args()
    record, draw = Record("referee"), np.random.default_rng(0)
    record.details["draws"] = options.draws
    record.details["tables"] = [
        looks(record, 10 * options.draws, draw),
        null_sessions(record, options.draws, draw),
        mixed_sessions(record, options.draws, draw),
        separations(record, options.draws, draw),
    ]
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
