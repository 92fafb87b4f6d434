"""Whether a candidate is to be kept against a base: two runs compared seed by seed, however often one looks.

The candidates of a session share one budget of false keeps; the levels that they got are in `runs.verdicts`.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raytrain.analysis.contest import refuse_several_data_sets
from raytrain.analysis.record import RunRecord
from raytrain.analysis.statistics.sample import by_seed, paired_differences
from raytrain.analysis.statistics.sequential import (
    MOST_AHEAD,
    Differences,
    e_values,
    mean_sequence,
    online_level,
    seeds_ahead,
    seeds_until_larger,
)
from raytrain.analysis.statistics.significance import ALPHA, Interval
from raytrain.comparison.shared_images import labels_of, refuse_other_test_images
from raytrain.comparison.shared_seeds import shared_seeds
from raytrain.comparison.verdicts import Judgement
from raytrain.errors import ExperimentError, counted
from raytrain.runs.folder import is_same_folder, resolved
from raytrain.runs.results import TrialResult

Answer = Literal["keep", "drop", "more seeds"]


@dataclass(frozen=True)
class Decision:
    """What the differences of a candidate and its base say.

    Attributes:
        answer: Whether to keep the candidate, to drop it, or to train more seeds of both.
        seeds: Number of seeds after which that was decided; all of them where it is open.
        more: Number of seeds that would decide, if all went on as it is now; None where it is decided, or where
            `MOST_AHEAD` seeds would not decide.
    """

    answer: Answer
    seeds: int
    more: int | None = None


def decide(differences: Differences, *, margin: float, level: float) -> Decision:
    """Return what to do with a candidate.

    It is kept once its gain is shown to be above 0, and dropped once the gain is shown to be below the margin; what was
    shown first counts. A candidate that is not better is kept with a probability of at most `level`, and one whose gain
    is the margin or more is dropped with one of at most `ALPHA`, however often one looks.

    Args:
        differences: Test accuracies of the candidate minus those of the base, by seed.
        margin: Smallest gain that matters, a fraction.
        level: Level of the test for a gain above 0.
    """
    keep = seeds_until_larger(differences, null=0.0, level=level)
    drop = seeds_until_larger(-differences, null=-margin, level=ALPHA)
    if keep is not None and (drop is None or keep <= drop):
        return Decision("keep", keep)
    if drop is not None:
        return Decision("drop", drop)
    ahead = (seeds_ahead(differences, null=0.0, level=level), seeds_ahead(-differences, null=-margin, level=ALPHA))
    return Decision("more seeds", len(differences), min((one for one in ahead if one is not None), default=None))


@dataclass(frozen=True)
class Verdict:
    """A decision and what it rests on.

    Attributes:
        decision: Whether to keep the candidate, to drop it, or to train more seeds.
        judgement: Line for verdicts.jsonl.
        mean: Mean difference over the seeds, a fraction.
        interval: 95 % confidence sequence of the mean difference, fractions; None while there are too few seeds.
        better: Largest e-value that the gain is above 0.
        worse: Largest e-value that the gain is below the margin.
    """

    decision: Decision
    judgement: Judgement
    mean: float
    interval: Interval | None
    better: float
    worse: float

    def sentences(self) -> list[str]:
        """Return the answer and why, in three lines."""
        line, decision = self.judgement, self.decision
        seeds = f"{len(line.seeds)} paired seeds" if len(line.seeds) > 1 else "one pair of one seed"
        between = (
            f"95 % confidence sequence {100 * self.interval.low:+.2f} to {100 * self.interval.high:+.2f}"
            if self.interval
            else "too few seeds for a confidence sequence"
        )
        what = f"{line.candidate} against {line.base}: {100 * self.mean:+.2f} points of test accuracy, mean of {seeds}"
        return [self._answer(), f"{what}; {between}.", self._reason(decision)]

    def _answer(self) -> str:
        if self.decision.answer != "more seeds":
            return self.decision.answer
        more = self.decision.more
        if more is None:
            return f"more than {MOST_AHEAD} more seeds"
        return counted(more, "more seed")

    def _reason(self, decision: Decision) -> str:
        margin, needed = counted(100 * self.judgement.margin, "point"), f"{1 / self.judgement.level:.0f}"
        after = f" after {counted(decision.seeds, 'seed')}" if decision.seeds < len(self.judgement.seeds) else ""
        better = f"e-value {self.better:.3g}, needed {needed} as candidate {self.judgement.position} of the session"
        worse = f"e-value {self.worse:.3g}, needed {1 / ALPHA:.0f}"
        if decision.answer == "keep":
            return f"Shown{after}: the gain is above 0 ({better})."
        if decision.answer == "drop":
            return f"Shown{after}: the gain is below {margin} ({worse})."
        return f"Not shown yet: a gain above 0 ({better}), or one below {margin} ({worse})."

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON object; differences and intervals are fractions."""
        line = self.judgement
        return {
            "schema_version": 1,
            "verdict": self.decision.answer,
            "more_seeds": self.decision.more,
            "why": self.sentences()[1:],
            "base": line.base,
            "candidate": line.candidate,
            "position": line.position,
            "margin": line.margin,
            "mean_difference": self.mean,
            "confidence_sequence": [self.interval.low, self.interval.high] if self.interval else None,
            "seeds": list(line.seeds),
            "differences": list(line.differences),
            "e_value_above_0": self.better,
            "e_value_needed": 1 / line.level,
            "e_value_below_margin": self.worse,
        }


def judge(base: RunRecord, candidate: RunRecord, *, margin: float, before: Sequence[Judgement]) -> Verdict:
    """Return the verdict on the chosen configuration of a candidate's run against that of a base.

    Args:
        base: Record of the run to compare with.
        candidate: Record of the candidate's run.
        margin: Smallest gain that matters, a fraction.
        before: All judgements of the session. If one of them is of these very trials, its hypothesis goes on: it keeps
            its level, and new seeds come behind those that it had.

    Raises:
        ExperimentError: The two cannot be compared, and the message says why.
    """
    if is_same_folder(base.folder, candidate.folder):
        raise ExperimentError(f"{base.name} is both BASE and CANDIDATE; give two runs")
    folders = resolved(base.folder), resolved(candidate.folder)  # the same names however the paths are spelled
    names = (folders[0].name, folders[1].name)
    if names[0] == names[1]:
        names = (str(folders[0]), str(folders[1]))
    refuse_several_data_sets(dict(zip(names, (base, candidate), strict=True)))
    theirs, ours = complete_seeds(base), complete_seeds(candidate)
    first, second = (next(iter(results.values())).recipe for results in (theirs, ours))
    refuse_other_test_images(
        names,
        recipes=(first, second),
        data=(base.manifest.get("data", {}), candidate.manifest.get("data", {})),
        labels=(labels_of(base, theirs), labels_of(candidate, ours)),
    )
    shared = shared_seeds(names, theirs, ours)
    reached = by_seed(ours.values(), candidate.predictions), by_seed(theirs.values(), base.predictions)
    trials = {seed: [theirs[seed].trial, ours[seed].trial] for seed in shared}
    values = dict(zip(shared, paired_differences(*reached, seeds=shared).values.tolist(), strict=True))
    earlier = _same(before, names, trials, values)
    order = [*earlier.seeds, *(seed for seed in shared if seed not in earlier.seeds)] if earlier else shared
    if earlier:
        position, level = earlier.position, earlier.level
    else:
        latest = {one.position: one.verdict for one in before}
        position = len(latest) + 1
        level = online_level(position, sum(verdict == "keep" for verdict in latest.values()))
    differences = paired_differences(*reached, seeds=order)
    decision = decide(differences, margin=margin, level=level)
    line = Judgement(
        position,
        *names,
        level,
        margin,
        order,
        [trials[seed] for seed in order],
        [values[seed] for seed in order],
        decision.answer,
    )
    return Verdict(
        decision,
        line,
        differences.mean,
        mean_sequence(differences),
        better=float(e_values(differences).max()),
        worse=float(e_values(-differences, null=-margin).max()),
    )


def _same(
    before: Sequence[Judgement],
    names: tuple[str, str],
    trials: Mapping[int, list[str]],
    values: Mapping[int, float],
) -> Judgement | None:
    """Return the latest judgement of the same runs all of whose trials are still there with the same accuracies."""
    for one in reversed(before):
        there = [trials.get(seed) for seed in one.seeds] == [list(pair) for pair in one.trials]
        if (one.base, one.candidate) == names and there and [values[seed] for seed in one.seeds] == one.differences:
            return one
    return None


def complete_seeds(record: RunRecord) -> dict[int, TrialResult]:
    """Return the finished result of each seed of the configuration that validation chooses.

    Raises:
        ExperimentError: Nothing chooses one, or seeds of it are missing.
    """
    ranking = record.ranking
    chosen = ranking.chosen
    if chosen is None:
        finished = [standing for standing in ranking.standings if standing.status == "finished"]
        if not finished:
            raise ExperimentError(
                f"no trial of {record.name} has finished; continue it with: raytrain resume {shlex.quote(record.name)}"
            )
        if len(finished) > 1:
            raise ExperimentError(
                f"{record.name} has {len(finished)} configurations and no validation split that chooses one; judge a "
                "run of one configuration, or set val_size"
            )
        chosen = finished[0]
    configuration = chosen.results[0].configuration
    for other in record.results:
        if other.status != "finished" and other.configuration == configuration:
            what = {
                **dict.fromkeys(("stopped", "paused"), "was stopped early"),
                "failed": "has failed",
                "diverged": "has diverged",
            }.get(other.status, "has not ended")
            todo = {
                **dict.fromkeys(("stopped", "paused"), "train all seeds to the end under another name, with --no-asha"),
                "unfinished": f"continue it with: raytrain resume {shlex.quote(record.name)}",
                "failed": f"try it again with: raytrain resume {shlex.quote(record.name)} --failed-only",
            }
            raise ExperimentError(
                f"seed {other.recipe['seed']} of {record.name} {what} ({other.trial}): a mean without it is biased; "
                f"{todo.get(other.status, 'judge another configuration, or change its recipe')}"
            )
    return {result.recipe["seed"]: result for result in chosen.results}
