"""A ranking as it is shown: configurations in their order, and what can be said of it."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from raytrain.analysis.separation import Separation
from raytrain.analysis.statistics.resolution import ImageResolution, SeedResolution
from raytrain.analysis.statistics.significance import Interval
from raytrain.baselines.baselines import BaselineRow
from raytrain.errors import counted
from raytrain.metrics.means import mean_over_seeds
from raytrain.metrics.predictions import ClassMetrics
from raytrain.metrics.selection import SELECTIONS, Select, Selection
from raytrain.runs.results import Status, TrialResult, run_of

DASH = "–"
METRICS = ("balanced_accuracy", "macro_f1", "top5_accuracy", "nll", "ece")
"""Metrics on the test images beside accuracy, as columns are named; `nll` is the `test_loss` of a trial's result."""


@dataclass(frozen=True)
class Standing:
    """A configuration among the others.

    Attributes:
        rank: Ranks that it may have, as text, such as "1" or "1–3"; a dash for a configuration that did not finish.
        results: Results of its seeds, all of one status.
        test_accuracy: Mean test accuracy over the seeds, a fraction in [0, 1]; None unless finished.
        val_accuracy: Mean validation accuracy over the seeds, a fraction; None without a validation split.
        interval: 95 % interval of `test_accuracy`.
        p_value: P-value of the test that it equals the leader, corrected for all comparisons; None for the leader.
        metrics: Further metrics on the test images by trial id; those without predictions are missing.
        score: Mean over the seeds of the test metric that ranks; None unless finished, or where a seed lacks it.
        score_interval: 95 % interval of `score`.
        of_network: Whether its rank is that of a trained network: it has one seed, and so has another row that is
            ranked. The test images alone separate these two, and another seed may reverse them.
    """

    rank: str
    results: Sequence[TrialResult]
    test_accuracy: float | None = None
    val_accuracy: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    metrics: Mapping[str, ClassMetrics] = field(default_factory=dict[str, ClassMetrics], compare=False, repr=False)
    score: float | None = None
    score_interval: Interval | None = None
    of_network: bool = False

    def mean(self, name: str) -> float | None:
        """Return the mean over the seeds of a measured number, such as `test_loss` or `balanced_accuracy`.

        Args:
            name: A field of `TrialResult` or one of `METRICS`.

        Returns:
            The mean over the seeds of which it is known; None without any. One of `METRICS` has no mean where a seed
            lacks it: its predictions are missing.
        """
        if self.seeds == 1:
            return None if (value := self.of_seed(0, name)) is None else float(value)
        known = [value for index in range(self.seeds) if (value := self.of_seed(index, name)) is not None]
        partial = name in METRICS and len(known) < self.seeds
        return mean_over_seeds(known) if known and not partial else None

    def of_seed(self, index: int, name: str) -> float | None:
        """Return a number, as `mean` does, of one of the seeds."""
        if name == "nll":
            name = "test_loss"
        if name not in METRICS:
            return getattr(self.results[index], name)
        metrics = self.metrics.get(self.results[index].trial)
        return getattr(metrics, name) if metrics else None

    @property
    def name(self) -> str:
        """The digest of its first trial; of several runs, the run stands before it."""
        first = self.results[0]
        return f"{run}/{first.digest}" if (run := run_of(first)) else first.digest

    @property
    def lacks_predictions(self) -> bool:
        """Whether the predictions of one of its seeds are missing."""
        return any(result.trial not in self.metrics for result in self.results)

    @property
    def may_lead(self) -> bool:
        """Whether no other configuration is better by the test."""
        return self.rank.partition(DASH)[0] == "1"

    @property
    def rank_of(self) -> Literal["configuration", "network"] | None:
        """What its rank is of: of a trained network, or of a configuration whatever its seed; None without a rank."""
        return None if self.rank == DASH else "network" if self.of_network else "configuration"

    @property
    def status(self) -> Status:
        """How its trials ended."""
        return self.results[0].status

    @property
    def seeds(self) -> int:
        """Number of seeds that it was trained with."""
        return len(self.results)


@dataclass(frozen=True)
class Ranking:
    """All configurations of a run, best first, and what can be said of their order.

    Attributes:
        standings: Finished configurations by the metric that ranks, then stopped ones, then the rest.
        chosen: Configuration that validation chooses; None if nothing finished or there is no validation split.
        incomplete: Configurations with better validation, not chosen because one of their seeds did not finish.
        confirmed: Whether the best of a search were trained again, and stand above it.
        searched: Number of configurations of such a search that were not trained again, and have no rank.
        survivors: Number of ranked configurations that have other seeds which were stopped early, failed or diverged.
        resolution: Difference that the seeds, or with one seed the test images, can show; None if unknown.
        beside: Rows of a baseline, shown below without a rank.
        notes: Further sentences about the rows.
        warnings: Sentences about what must not be compared, which also stand below a table that is not explained.
        select: Metric that ranks and chooses.
        uncompared: Number of finished configurations without a rank, because only the best are compared.
        test_sets: Number of different sets of test images; rows of different ones are not compared.
        of_runs: Whether the ids of its trials begin with the names of their runs.
        separations: What is known of the pairs of each run that looked at them after each seed, by the run's name.
    """

    standings: list[Standing]
    chosen: Standing | None = None
    incomplete: Sequence[Standing] = ()
    confirmed: bool = False
    searched: int = 0
    survivors: int = 0
    resolution: SeedResolution | ImageResolution | None = None
    beside: Sequence[BaselineRow] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    select: Select = "accuracy"
    uncompared: int = 0
    test_sets: int = 1
    of_runs: bool = False
    separations: Mapping[str, Separation] = field(default_factory=dict[str, Separation])

    @property
    def separated_text(self) -> str:
        """How many pairs are decided, where the one run looked at them after each seed; else "".

        The tests behind the ranks do not allow for such looks.
        """
        only = None if self.of_runs else next(iter(self.separations.values()), None)
        return only.sentences()[0] if only and only.pairs else ""

    @property
    def first_complete(self) -> Standing | None:
        """The row that stands for the run where there is no validation split to choose one; None if nothing finished.

        The first of which no seed stopped, failed or diverged: the mean without such seeds is biased. The first of all
        where every one lost a seed.
        """
        finished = [standing for standing in self.standings if standing.status == "finished"]
        broken = {one.results[0].configuration for one in self.standings if one.status != "finished"}
        complete = (one for one in finished if one.results[0].configuration not in broken)
        return next(complete, None) or next(iter(finished), None)

    @property
    def all_others(self) -> str:
        """Those that the first row is compared with, in words: without a rank, a row is compared with none."""
        finished = [standing for standing in self.standings if standing.test_accuracy is not None]
        ranked = all(standing.rank != DASH for standing in finished)
        return "all others" if ranked else "all others that have a rank"

    @property
    def selection(self) -> Selection:
        """The metric that ranks and chooses."""
        return SELECTIONS[self.select]

    @property
    def bias(self) -> str:
        """How the metric is that ranks, in words, where what was best was chosen."""
        return "too low" if self.selection.lower_is_better else "biased upwards"

    @property
    def survivors_text(self) -> str:
        """A sentence on the ranked configurations that lost seeds, and on how those that were stopped are trained."""
        which = "configuration" if self.survivors == 1 else "configurations"
        lost = f"In {self.survivors} ranked {which}, some seeds were stopped early, failed or diverged."
        biased = f"{lost} The mean {self.selection.words} over the others is {self.bias}"
        ranked = {one.results[0].configuration for one in self.standings if one.rank != DASH}
        if any(
            one.status in {"stopped", "paused"} and one.results[0].configuration in ranked for one in self.standings
        ):
            biased += "; asha: {rescue: N} in the experiment trains the N best stopped or paused trials to their end"
        return f"{biased}."

    @property
    def lost_text(self) -> str:
        """A sentence that names the first ranked configuration of which seeds were lost, and what was; "" for none."""
        lost: dict[Hashable, dict[Status, int]] = {}
        seeds = Counter[Hashable]()
        for one in self.standings:
            configuration = one.results[0].configuration
            seeds[configuration] += one.seeds
            if one.status not in {"finished", "unfinished"}:
                lost.setdefault(configuration, {})[one.status] = one.seeds
        rows = [one for one in self.standings if one.rank != DASH and one.results[0].configuration in lost]
        if not rows:
            return ""
        first, configuration = rows[0], rows[0].results[0].configuration
        counts = lost[configuration]
        how = ", ".join(f"{count} {status}" for status, count in counts.items())
        choice = ", and it is not chosen" if any(one is first for one in self.incomplete) else ""
        more = f" The same is true of {counted(len(rows) - 1, 'other row')}." if len(rows) > 1 else ""
        return (
            f"Of {first.name}, {sum(counts.values())} of {seeds[configuration]} seeds did not finish ({how}): its "
            f"{self.selection.words} is {self.bias}{choice}.{more}"
        )

    @property
    def unknown_text(self) -> str:
        """A sentence on the finished configurations of which the metric that ranks is not known; "" for none."""
        unknown = sum(one.score is None and one.test_accuracy is not None for one in self.standings)
        if self.select == "accuracy" or not unknown:
            return ""
        rows = "1 row" if unknown == 1 else f"{unknown} rows"
        return (
            f"The {self.selection.words} of {rows} is not known, because predictions are missing: no test compares "
            "such a row, and it stands below the others."
        )

    @property
    def uncompared_text(self) -> str:
        """Sentences on the rows that no test compares, or not with all others; "" where there are none."""
        ranked = sum(one.rank != DASH and one.test_accuracy is not None for one in self.standings)
        some = f"Only the first {ranked} rows are compared and ranked." if self.uncompared else ""
        sets = f"The rows have {self.test_sets} sets of test images, which no test compares."
        return " ".join(filter(None, [some, sets if self.test_sets > 1 else "", self.unknown_text]))

    def reached_text(self, standing: Standing) -> str:
        """Return `score_text` of a configuration, and what it is the mean of, where it is one."""
        known = standing.seeds > 1 and (standing.score is not None or self.select == "accuracy")
        mean = f", the mean of {standing.seeds} seeds" if known else ""
        return f"{self.score_text(standing)} on the test set{mean}"

    def score_text(self, standing: Standing) -> str:
        """Return the test metric of a configuration that ranks, as text, with its name unless it is accuracy."""
        if self.select == "accuracy":
            return f"{100 * (standing.test_accuracy or 0.0):.2f} %"
        words = self.selection.words
        if standing.score is None:
            return f"an unknown {words}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words} of {self.selection.text(standing.score)}"
