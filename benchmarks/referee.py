"""How often `raytrain judge` is wrong when one looks after every seed, against "keep if better", and what it costs.

python benchmarks/referee.py                   # 2,000 draws and sessions of each, about five minutes on one core
python benchmarks/referee.py --draws 200

Everything is simulated: accuracies of a base and of candidates whose seeds differ by a standard deviation that is
given. On the grid they are rounded to shares of 360 images; "binomial" draws the number of correct images. A session
has 100 candidates against one base: its seeds are the same for all candidates, as they are in practice. Candidates
come one after the other, get a seed at a time, and are judged after each, until the answer is keep or drop or they have
20 seeds, or twice as many as a fixed design gives to each. The evidence, the levels and the decision are those of
`analysis.statistics` and `comparison.judge`. referee_bank.py does the same with networks that were trained.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from comparison import Record, arguments
from judged_sessions import CANDIDATES, Sessions, fixed_seeds, judged
from numpy.typing import NDArray
from scipy import stats
from seed_noise import BAD_NOISE, Accuracies, Kind, kinds, normal, with_bad_seeds

from raytrain.analysis.separation import decided
from raytrain.analysis.statistics.sequential import Differences, e_values, online_level
from raytrain.analysis.statistics.significance import ALPHA

SEEDS = 20
MARGIN = 0.002
GAIN = 0.005
BAD_SHARES = (0.02, 0.05, 0.1)
MIXED = [
    *((noise, margin, SEEDS) for noise in (0.1, 0.2, 0.3) for margin in (MARGIN, GAIN)),
    *((noise, GAIN, 0) for noise in (0.1, 0.2, 0.3, 0.5)),
]
"""Noise in points, margin, and most seeds, with 0 for twice those of the fixed design."""


def fooled_looks(values: Accuracies) -> float:
    """Return how often a t-test at 5 %, repeated after each seed from the second on, finds a gain."""
    count = np.arange(2, SEEDS + 1)
    total, squares = np.cumsum(values, axis=-1)[..., 1:], np.cumsum(values**2, axis=-1)[..., 1:]
    variance = np.maximum(squares - total**2 / count, 0) / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = total / np.sqrt(count * variance)
    return float((t >= stats.t.isf(ALPHA, count - 1)).any(axis=-1).mean())


def drawn_sessions(
    kind: Kind, gains: NDArray[np.float64], draw: np.random.Generator, *, margin: float, seeds: int = SEEDS
) -> Sessions:
    """Return the sessions in which candidates of these true gains, (sessions, candidates), were judged in order."""
    sessions = len(gains)
    base = kind.draw((sessions, seeds), 0.0, draw)

    def differences(candidate: int) -> Differences:
        values = np.empty((sessions, seeds))
        for gain in np.unique(gains[:, candidate]):
            these = gains[:, candidate] == gain
            values[these] = kind.draw((int(these.sum()), seeds), float(gain), draw)
        return kind.differences(values - base)

    return judged(differences, sessions=sessions, seeds=seeds, margin=margin)


def if_better(kind: Kind, sessions: int, draw: np.random.Generator) -> tuple[float, float]:
    """Return the share of null candidates that are kept if one seed is better, and if both are better than both."""
    base, candidate = (kind.draw((sessions, CANDIDATES, 2), 0.0, draw) for _ in range(2))
    one = candidate[..., 0] > base[..., 0]
    return float(one.mean()), float((candidate.min(axis=-1) > base.max(axis=-1)).mean())


def looks(kind: Kind, draws: int) -> list[str]:
    """Return the row of one candidate, judged after each of 20 seeds at a level of 5 %."""
    draw = np.random.default_rng([1, round(1e5 * kind.noise), kind.images or 0])
    draws *= 10
    null = kind.draw((draws, SEEDS), 0.0, draw) - kind.draw((draws, SEEDS), 0.0, draw)
    gain = kind.draw((draws, SEEDS), MARGIN, draw) - kind.draw((draws, SEEDS), 0.0, draw)
    keep = float((e_values(kind.differences(null)).max(axis=-1) >= 1 / ALPHA).mean())
    drop = float((e_values(kind.differences(-gain), null=-MARGIN).max(axis=-1) >= 1 / ALPHA).mean())
    return [kind.name, f"{100 * keep:.1f}", f"{100 * drop:.1f}", f"{100 * fooled_looks(null):.1f}"]


def bad_seeds(share: float, draws: int) -> list[str]:
    """Return the row of one candidate whose mean is that of the base, but some of whose seeds end far lower."""
    draw, kind = np.random.default_rng([5, round(1e4 * share)]), Kind("", with_bad_seeds(share), BAD_NOISE)
    draws *= 10
    null = kind.draw((draws, SEEDS), 0.0, draw) - normal(BAD_NOISE)((draws, SEEDS), 0.0, draw)
    most = e_values(kind.differences(null)).max(axis=-1)
    shown = [f"{100 * float((most >= 1 / level).mean()):.1f}" for level in (ALPHA, online_level(1, 0))]
    return [f"{100 * share:g}", *shown, f"{100 * fooled_looks(null):.1f}"]


def null_sessions(kind: Kind, draws: int) -> list[str]:
    """Return the row of sessions in which no candidate is better than the base."""
    draw = np.random.default_rng([2, round(1e5 * kind.noise), kind.images or 0])
    sessions = drawn_sessions(kind, np.zeros((draws, CANDIDATES)), draw, margin=MARGIN)
    wrong = float(sessions.kept.any(axis=1).mean())
    one, two = if_better(kind, draws, draw)
    kept = f"{CANDIDATES * sessions.kept.mean():.2f}"
    return [kind.name, f"{100 * wrong:.1f}", kept, f"{CANDIDATES * one:.0f}", f"{CANDIDATES * two:.0f}"]


def mixed_sessions(kind: Kind, draws: int, margin: float, most: int) -> list[str]:
    """Return the row of sessions in which one candidate in ten is better by `GAIN`.

    The fixed design gives every candidate as many seeds as find that gain with 80 % at a level of 5 % / 100. A
    candidate gets `most` seeds at most; 0 stands for twice as many as the fixed design gives.
    """
    draw = np.random.default_rng([3, round(1e5 * kind.noise), round(1e4 * margin), most])
    fixed = fixed_seeds(GAIN / kind.noise / np.sqrt(2), ALPHA / CANDIDATES)
    most = most or 2 * fixed
    better = draw.random((draws, CANDIDATES)) < 0.1
    sessions = drawn_sessions(kind, np.where(better, GAIN, 0.0), draw, margin=margin, seeds=most)
    false = ((sessions.kept & ~better).sum(axis=1) / np.maximum(sessions.kept.sum(axis=1), 1)).mean()
    power, seeds = float(sessions.kept[better].mean()), float(sessions.seeds.mean())
    cells = [f"{100 * margin:.1f}", f"{most}", f"{100 * power:.0f}", f"{100 * false:.2f}", f"{seeds:.1f}", f"{fixed}"]
    return [kind.name, *cells, f"{seeds / fixed:.2f}"]


def separations(kind: Kind, draws: int, step: float) -> list[str]:
    """Return the row of `raytrain compare --until-separated 0.3` with five configurations."""
    draw = np.random.default_rng([4, round(1e5 * kind.noise), round(1e4 * step)])
    pairs = list(combinations(range(5), 2))
    false, still, used = 0, 0, 0
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
    cells = [f"{100 * false / draws:.1f}", f"{100 * still / draws / len(pairs):.0f}", f"{used / draws:.1f}"]
    return [kind.name, "0.3 points apart" if step else "equal", *cells]


COLUMNS = {
    "looks": (
        "one candidate, 20 looks: seed noise",
        "kept although equal, %",
        "dropped although 0.2 points better, %",
        "a t-test at each look finds a gain, %",
    ),
    "bad_seeds": (
        "one candidate, 20 looks: share of its seeds that end 6 points lower, %",
        "kept although equal on average, %",
        "kept as the first candidate of a session, %",
        "a t-test at each look finds a gain, %",
    ),
    "null_sessions": (
        "100 candidates, none better: seed noise",
        "sessions with a false keep, %",
        "kept of 100, judge",
        "kept of 100, one seed better",
        "kept of 100, both seeds better than both",
    ),
    "mixed_sessions": (
        "100 candidates, one in ten better by 0.5 points: seed noise",
        "margin, points",
        "most seeds",
        "gains found, %",
        "false among the kept, %",
        "seeds per candidate",
        "seeds, fixed design",
        "ratio",
    ),
    "separations": (
        "--until-separated 0.3: seed noise",
        "five configurations",
        "runs with a wrong answer, %",
        "pairs open after 20 seeds, %",
        "seeds until the last answer",
    ),
}


def of_kind(name: str) -> Kind:
    return next(kind for kind in kinds() if kind.name == name)


def work() -> list[tuple[str, str, tuple[float, ...]]]:
    """Return what there is to draw: table, kind of noise and further arguments."""
    names = [kind.name for kind in kinds()]
    fewer = [name for name in names if "0.2" not in name or "binomial" in name]
    return [
        *(("looks", name, ()) for name in names),
        *(("bad_seeds", "", (share,)) for share in BAD_SHARES),
        *(("null_sessions", name, ()) for name in fewer),
        *(("mixed_sessions", f"normal, {noise} points", tuple(further)) for noise, *further in MIXED),
        *(("separations", f"normal, {noise} points", (step,)) for noise in (0.1, 0.3) for step in (0.0, 0.003)),
        *(("separations", "360 images, 0.3 points", (step,)) for step in (0.0, 0.003)),
    ]


def drawn(one: tuple[str, str, tuple[float, ...]], *, draws: int) -> list[str]:
    table, name, further = one
    if table == "bad_seeds":
        return bad_seeds(*further, draws)
    functions = {
        "looks": looks,
        "null_sessions": null_sessions,
        "mixed_sessions": mixed_sessions,
        "separations": separations,
    }
    return functions[table](of_kind(name), draws, *further)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="rows that an interrupted command printed, which are not drawn again")
    parser.add_argument("--most", type=int, help="draw so many rows at most; the record names those that are left")
    options = parser.parse_args()
    record = Record("referee")
    todo = work()
    printed = [line.split(" | ") for line in options.rows.read_text().splitlines()] if options.rows else []
    left = todo[len(printed) :][: options.most]
    with ProcessPoolExecutor(options.processes) as pool:
        for row in pool.map(partial(drawn, draws=options.draws), left):
            print(" | ".join(row), flush=True)
            printed.append(row)
    rows: dict[str, list[list[str]]] = {table: [] for table in COLUMNS}
    for (table, *_), row in zip(todo, printed, strict=False):
        rows[table].append(row)
    wrong = {
        "false decisions in 20 looks": [cell for row in rows["looks"] for cell in row[1:3]],
        "null sessions with a false keep": [row[1] for row in rows["null_sessions"]],
        "runs with a wrong answer to some pair": [row[2] for row in rows["separations"]],
    }
    for what, shares in wrong.items():
        worst = max((float(share) / 100 for share in shares), default=0.0)
        record.target(f"{what}, the most of all noises", worst, "≤ 0.05", met=worst <= ALPHA)
    for row in rows["bad_seeds"]:  # the test assumes about normal differences, which these are not
        share, what = float(row[1]) / 100, f"{row[0]} % of the seeds end 6 points lower: kept although equal"
        record.target(what, share, "≤ 0.05", met=share <= ALPHA)
    for row in rows["mixed_sessions"]:
        what = f"{row[0]}, margin {row[1]}, at most {row[2]} seeds"
        power, cost = float(row[3]) / 100, float(row[-1])
        record.target(f"{what}: gains of 0.5 points found", power, "≥ 0.8", met=power >= 0.8)
        record.target(f"{what}: trainings over those of a fixed design", cost, "≤ 0.6", met=cost <= 0.6)
    record.details["rows not drawn"] = [[table, name, *further] for table, name, further in todo[len(printed) :]]
    record.details["draws"] = options.draws
    record.details["tables"] = [
        {"columns": list(COLUMNS[table]), "rows": rows[table]} for table in COLUMNS if rows[table]
    ]
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
