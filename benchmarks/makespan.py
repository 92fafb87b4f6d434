"""How long the five architectures take together: longest first against listed order, and against the lower bound.

python benchmarks/makespan.py

Simulated: the student's hours on 2, 3 and 4 slots, in the order that `duration.order` gives. Real: five small
networks through the runner on one core each, in the two orders in turn; 3 and 4 slots are real too, with trials that
sleep in proportion to their operations (two cores cannot train four networks at a time without changing what is
measured).
The lower bound of a schedule is max(longest trial, sum of all trials / slots), of the trials as they were measured.
"""

import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

from comparison import Comparison, Record, arguments, interleaved

from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.duration.costs import Costs, kind_of
from raytrain.experiment.duration.order import ORDERS, LongestFirst
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.storage.json_lines import read_lines
from raytrain.training.choices import model_size
from raytrain.training.recipe import Recipe

ARCHS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
STUDENT_HOURS = {"resnet18": 3.1, "resnet34": 8.9, "resnet50": 18.7, "resnet101": 28.1, "resnet152": 38.9}
"""For 200 epochs each on a GTX 1080 Ti, as the student's table claims."""


class Listed:
    """Hands out trials in the order in which they come."""

    def __init__(self, trials: Iterable[tuple[Trial, int]], costs: Costs) -> None:
        del costs
        self._waiting = deque(trial for trial, _ in trials)

    def next(self) -> Trial | None:
        return self._waiting.popleft() if self._waiting else None


def bound(lengths: list[float], slots: int) -> float:
    return max(max(lengths), sum(lengths) / slots)


def simulated(order: list[str], slots: int) -> float:
    """Return when the last of the student's trainings ends, each on the slot that is free first."""
    free = [0.0] * slots
    for arch in order:
        free.sort()
        free[0] += STUDENT_HOURS[arch]
    return max(free)


def by_operations() -> list[str]:
    trials = [Trial.of(Recipe(arch=arch, dataset="cifar10")) for arch in ARCHS]
    costs = Costs({kind_of(trial.recipe): float(model_size(trial.recipe, 10).forward_flops) for trial in trials})
    queue = LongestFirst([(trial, 200) for trial in trials], costs)
    return [trial.recipe.arch for trial in iter(queue.next, None)]


def real(order: Callable[..., Any], *, width: int, epochs: int) -> tuple[float, float]:
    """Return the makespan of the five networks, from the first start to the last end, and its lower bound."""
    experiment = Experiment.model_validate(
        {
            "name": "makespan",
            "recipe": {"dataset": "digits", "width": width, "epochs": epochs, "augment": ["crop"]},
            "grid": {"arch": ARCHS},
            "resources": {"cpus_per_worker": 1, "max_concurrent": 2},
        }
    )
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as out, mock.patch.dict(ORDERS, longest=order):
        outcome = run(experiment, RunOptions(out=out))
        events = list(read_lines(outcome.folder, "events.jsonl"))
    assert {result.status for result in outcome.results} == {"finished"}, outcome.results
    times = {
        kind: {e["trial"]: seconds(e["time"]) for e in events if e["event"] == kind} for kind in ("started", "finished")
    }
    lengths = [times["finished"][trial] - begun for trial, begun in times["started"].items()]
    return max(times["finished"].values()) - min(times["started"].values()), bound(lengths, 2)


def seconds(time: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(time).timestamp()


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(pairs=3)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    record = Record("makespan")
    for slots in (2, 3, 4):
        ours, listed = simulated(by_operations(), slots), simulated(ARCHS, slots)
        least = bound(list(STUDENT_HOURS.values()), slots)
        record.add(
            Comparison(
                f"the student's five trainings on {slots} slots, longest first, all to the end, simulated",
                "listed order",
                "h",
                [ours],
                [listed],
            )
        )
        record.target(
            f"simulated on {slots} slots, over the lower bound", ours / least, "≤ 1.1", met=ours <= 1.1 * least
        )
    over_bound: list[float] = []

    def longest_first() -> float:
        took, least = real(LongestFirst, width=options.width, epochs=options.epochs)
        over_bound.append(took / least)
        return took

    def listed_order() -> float:
        return real(Listed, width=options.width, epochs=options.epochs)[0]

    measured = interleaved(longest_first, listed_order, pairs=options.pairs)
    record.add(Comparison("the five networks on 2 slots, trained", "listed order", "s", *measured))
    worst = max(over_bound)
    record.target("trained on 2 slots, over the lower bound, the worst", worst, "≤ 1.1", met=worst <= 1.1)
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
