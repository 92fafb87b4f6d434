"""Which configurations differ by a gap that matters, and which seeds would tell: every pair, tested after each seed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

from raytrain.analysis.statistics.sample import by_seed, paired_differences
from raytrain.analysis.statistics.sequential import Differences, seeds_until_larger
from raytrain.analysis.statistics.significance import ALPHA
from raytrain.data.data_key import DataKey
from raytrain.errors import counted
from raytrain.experiment.sections import Separate
from raytrain.metrics.predictions import Predictions
from raytrain.runs.results import TrialResult, varied_fields
from raytrain.runs.state import RunState
from raytrain.user_code.reference import without_digest

MOST_SHOWN = 15
"""Most pairs that get a sentence of their own."""

Answer = Literal["ahead", "behind", "same", "open"]


@dataclass
class Contender:
    """A configuration, with what became of its seeds.

    Attributes:
        name: What tells it from the others, in words.
        recipe: Fields of the recipe; those of its first seed.
        finished: Finished result by seed.
        lost: Seeds that failed or diverged; nothing is added to a configuration that has some.
    """

    name: str
    recipe: Mapping[str, Any]
    finished: dict[int, TrialResult] = field(default_factory=dict[int, TrialResult])
    lost: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Pair:
    """Two configurations and what the seeds that both have say of them.

    Attributes:
        one: The one, listed first.
        other: The other.
        answer: Whether the one is ahead of the other or behind, or both are the same within the gap; "open" if neither
            is shown.
        seeds: Number of paired seeds that it rests on.
        mean: Mean difference of test accuracy over those seeds, the one minus the other, a fraction; 0 without any.
    """

    one: Contender
    other: Contender
    answer: Answer
    seeds: int
    mean: float

    def sentence(self, separate: Separate, order: Sequence[int]) -> str:
        """Return what is known of the pair.

        Args:
            separate: Gap that matters.
            order: Seeds in the order in which they count.
        """
        seeds = counted(self.seeds, "seed")
        first, second = without_digest(self.one.name), without_digest(self.other.name)
        if self.answer in {"ahead", "behind"}:
            better, worse = (first, second) if self.answer == "ahead" else (second, first)
            return f"{better} is ahead of {worse} by {100 * abs(self.mean):.2f} points of test accuracy ({seeds})."
        if self.answer == "same":
            gap = counted(separate.points, "point")
            return f"{first} and {second} are the same within {gap} of test accuracy ({seeds})."
        for one in (self.one, self.other):
            if one.lost:
                whose = without_digest(one.name)
                return f"{first} and {second} are not decided: seed {one.lost[0]} of {whose} failed or diverged."
        if not self.seeds:
            left = [name for one, name in ((self.one, first), (self.other, second)) if order[0] not in one.finished]
            whose = "both" if len(left) > 1 else left[0]
            return f"{first} and {second} are not decided: seed {order[0]} of {whose} has not ended yet."
        return f"{first} and {second} are not decided after {seeds}: {100 * self.mean:+.2f} points of test accuracy."


def decided(differences: Differences, *, gap: float, level: float) -> tuple[Answer, int]:
    """Return what the differences of a pair show, and after how many seeds it was shown first.

    If the mean difference is 0, it is taken for something else with a probability of at most `level`; if it is the gap
    or more, it is taken for less, or for the other direction, with one of at most `level`, however often one looks.

    Args:
        differences: Test accuracies of the one minus those of the other, by seed.
        gap: Smallest difference that matters, a fraction.
        level: Level of the pair; half of it for each side.
    """
    sides = [differences, -differences]
    ahead, behind = (seeds_until_larger(side, null=0.0, level=level / 2) for side in sides)
    above, below = (seeds_until_larger(side, null=-gap, level=level / 2) for side in sides)
    shown: list[tuple[int, Answer]] = []
    if ahead is not None:
        shown.append((ahead, "ahead"))
    if behind is not None:
        shown.append((behind, "behind"))
    if above is not None and below is not None:
        shown.append((max(above, below), "same"))
    if not shown:
        return "open", len(differences)
    seeds, answer = min(shown)
    return answer, seeds


@dataclass(frozen=True)
class Separation:
    """What is known of all pairs.

    Attributes:
        separate: Gap that matters, and the largest number of seeds.
        pairs: Every two configurations with the same test images.
        order: Seeds in the order in which they were taken up, and then those that may be added.
        dropped: Number of configurations that the experiment does not list any more, or only with other epochs, and
            whose pairs share the level.
    """

    separate: Separate
    pairs: Sequence[Pair]
    order: Sequence[int]
    dropped: int = 0

    def next_trials(self) -> list[tuple[Contender, int]]:
        """Return the configurations and seeds that an open pair needs next; none when all is decided or used up."""
        needed: dict[tuple[str, int], tuple[Contender, int]] = {}
        for pair in self.pairs:
            if pair.answer != "open" or pair.one.lost or pair.other.lost or pair.seeds >= len(self.order):
                continue
            seed = self.order[pair.seeds]
            for one in (pair.one, pair.other):
                if seed not in one.finished:
                    needed[one.name, seed] = one, seed
        return list(needed.values())

    def among(self, results: Iterable[TrialResult]) -> "Separation":
        """Return what is known of the pairs of these trials; all pairs still share the level."""
        recipes = {_without_seed(one.recipe) for one in results}
        return replace(self, pairs=[pair for pair in self.pairs if _without_seed(pair.one.recipe) in recipes])

    def sentences(self) -> list[str]:
        """Return how many pairs are decided, and what is known of each."""
        answers = [pair.answer for pair in self.pairs]
        same, still = answers.count("same"), answers.count("open")
        total = counted(len(answers), "pair")
        gap = f"{counted(self.separate.points, 'point')} of test accuracy"
        apart = len(answers) - same - still
        lines = [
            f"Of {total}, {_are(apart)} separated, {_are(same)} the same within {gap}, and {_are(still)} not decided. "
            f"If the differences of seeds are about normal, at most {ALPHA:.0%} of such runs hold a wrong answer, "
            "although one looks after each seed. The intervals and ranks of the table do not allow for that."
        ]
        if self.dropped:
            configurations = counted(self.dropped, "configuration")
            lines.append(
                f"The pairs of {configurations} that this run trained, and does not list any more, or only with other "
                f"epochs, share the {ALPHA:.0%}: to leave some out after a look must not make the others easier to "
                "tell apart."
            )
        lines += [pair.sentence(self.separate, self.order) for pair in self.pairs[:MOST_SHOWN]]
        if (left := len(answers) - MOST_SHOWN) > 0:
            lines.append(f"The other {'pair is' if left == 1 else f'{left:,} pairs are'} not listed.")
        return lines


def taken_up(state: RunState) -> list[int]:
    """Return the seeds that a run lists or has added, in the order in which it took them up.

    A seed that is listed later comes behind those that were added before it: what was looked at already is never looked
    at in another order.
    """
    listed = state.experiment.seeds or (state.experiment.recipe.seed,)
    seed_of = {trial: one.trial.recipe.seed for trial, one in state.progress.items() if one.stage != "confirm"}
    finished = {seed for trial, seed in seed_of.items() if state.progress[trial].status == "finished"}
    added: list[int] = []
    commands = 0
    first_start: dict[int, tuple[int, int]] = {}
    """Number of seeds that had been added, and number of the command, at the first start of each listed seed."""
    for event in state.events:
        if event["event"] == "begun":
            commands += 1
        elif event.get("trial") not in seed_of:
            continue  # of a trial with fewer epochs, or one that is not listed any more
        elif event["event"] == "added" and event["stage"] == "separate":
            seed = event["recipe"]["seed"]
            if seed in finished and seed not in first_start and seed not in added:
                added.append(seed)
        elif event["event"] == "started" and (seed := seed_of[event["trial"]]) in listed:
            first_start.setdefault(seed, (len(added), commands))
    never = {True: (0, 0), False: (len(added), commands + 1)}
    # of one command, in the order in which they are listed
    taken_up_at: dict[int, tuple[float, int]] = {
        seed: first_start.get(seed, never[seed in finished]) for seed in listed
    }
    taken_up_at |= {seed: (index + 0.5, 0) for index, seed in enumerate(added)}
    return sorted(taken_up_at, key=lambda seed: taken_up_at[seed])


def separation(
    results: Iterable[TrialResult],
    predictions: Mapping[str, Predictions],
    *,
    separate: Separate,
    seeds: Sequence[int],
    dropped: Iterable[TrialResult] = (),
) -> Separation:
    """Return what is known of every pair of the configurations of a run.

    A pair has the level 5 % divided by the number of pairs, so that all answers together are right with 95 %. The pairs
    of configurations that are not listed any more count too, also those of another number of epochs: which ones are
    left may depend on a look at all.

    Args:
        results: Results of all trials, as the experiment lists them; those of the phase "confirm" are ignored.
        predictions: Test predictions by trial id; some may be missing.
        separate: Gap that matters, and the largest number of seeds.
        seeds: Seeds of the experiment, and those that were added, in the order in which they were taken up.
        dropped: Results of trials that the experiment listed once.
    """
    found = list(results)
    contenders = _contenders([result for result in found if result.phase == "search"])
    gone = _gone(dropped, contenders)
    # above those that confirmed a choice, too: their trials exist, and were not drawn for this
    highest = max([*seeds, *(result.recipe["seed"] for result in found if result.phase == "confirm")])
    fresh = range(highest + 1, highest + 1 + separate.max_seeds - len(seeds))
    order = [*seeds, *fresh]
    both = [pair for pair in combinations(contenders, 2) if _test_set(pair[0]) == _test_set(pair[1])]
    sharing = sum(_test_set(one) == _test_set(other) for one, other in combinations([*contenders, *gone], 2))
    seen = {one.name: by_seed(one.finished.values(), predictions) for one in contenders}
    pairs: list[Pair] = []
    for one, other in both:
        # up to the first that is missing: what was looked at before is never looked at in another order
        missing = (number for number, seed in enumerate(order) if not (seed in one.finished and seed in other.finished))
        shared = order[: next(missing, len(order))]
        if not shared:
            pairs.append(Pair(one, other, "open", 0, 0.0))
            continue
        differences = paired_differences(seen[one.name], seen[other.name], seeds=shared)
        answer, after = decided(differences, gap=separate.points / 100, level=ALPHA / sharing)
        pairs.append(Pair(one, other, answer, after, float(differences.values[:after].mean())))
    return Separation(separate, pairs, order, len(gone))


def _contenders(results: Sequence[TrialResult]) -> list[Contender]:
    varied = [name for name in varied_fields(result.recipe for result in results) if name != "seed"]
    with_arch = not varied or len({result.recipe["arch"] for result in results}) > 1
    contenders: dict[str, Contender] = {}
    for result in results:
        words = [result.recipe["arch"]] if with_arch else []
        name = " ".join([*words, *(f"{name}={_text(result.recipe[name])}" for name in varied)])
        one = contenders.setdefault(name, Contender(name, result.recipe))
        if result.status == "finished":
            one.finished[result.recipe["seed"]] = result
        elif result.status in {"failed", "diverged"}:
            one.lost.append(result.recipe["seed"])
    return list(contenders.values())


def _gone(dropped: Iterable[TrialResult], contenders: Sequence[Contender]) -> list[Contender]:
    """Return the configurations of which a finished trial is not listed any more, and no other seed is listed.

    One that is listed with another number of epochs counts, too. Nothing on record tells a run that was given more
    epochs from one whose `epochs` axis lost a value after a look.
    """
    listed = {_without_seed(one.recipe) for one in contenders}
    finished = [one for one in dropped if (one.phase, one.status) == ("search", "finished")]
    return _contenders([one for one in finished if _without_seed(one.recipe) not in listed])


def _without_seed(recipe: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in recipe.items() if name != "seed"}, sort_keys=True)


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _test_set(contender: Contender) -> tuple[Any, ...]:
    return DataKey.of_test_images(contender.recipe)
