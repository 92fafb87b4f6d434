"""A run as everything that shows it sees it: built once, from the state of the run and the files of its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from raytrain.analysis.ranking import Ranking, Standing, rank
from raytrain.analysis.separation import Separation, separation, taken_up
from raytrain.errors import RunFolderError
from raytrain.metrics.predictions import Predictions
from raytrain.provenance.manifest import read_manifest
from raytrain.runs.damage import warned_together
from raytrain.runs.folder import read_state
from raytrain.runs.results import TrialResult, ranked, read_results
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import read_all_epochs, read_epochs, read_predictions
from raytrain.storage.folder import Folder

TOGETHER = 5
"""Number of the best trials whose probabilities are averaged."""


@dataclass(frozen=True)
class RunRecord:
    """What came of a run. Each file is read once, when it is first asked for.

    The table in the terminal, README.md, the Parquet files, report.html, `results`, `--assert`, `export` and the
    Python API show this and nothing else.

    Attributes:
        folder: The run folder.
        state: State of the run.
    """

    folder: Folder
    state: RunState

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name

    @property
    def results(self) -> list[TrialResult]:
        """A result for every trial, in the ranking's order; a trial that has not ended is unfinished."""
        return [result for standing in self.ranking.standings for result in standing.results]

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """The lines of events.jsonl, in order."""
        return self.state.events

    @property
    def chosen(self) -> Standing | None:
        """The configuration that validation chooses, or None where it cannot choose."""
        return self.ranking.chosen

    @property
    def chosen_trial(self) -> TrialResult | None:
        """The trial that validation chooses: of the chosen configuration, the seed that is best on validation.

        Where there is no validation split, it is the first seed of the first row of which all seeds have finished;
        where every row lost a seed, of the first row. None while nothing has finished.
        """
        return chosen_trial_of(self.ranking)

    @cached_property
    def listed(self) -> list[TrialResult]:
        """The same results in the order in which the experiment lists the trials."""
        return self.state.results()

    @cached_property
    def ranking(self) -> Ranking:
        """The configurations, best first, and how sure that order is."""
        ranking = rank(self.listed, self.predictions)
        if self.separation is None:
            return ranking
        notes = [*ranking.notes, *self.separation.sentences()]
        return replace(ranking, notes=notes, separations={self.name: self.separation})

    @cached_property
    def separation(self) -> Separation | None:
        """What is known of each pair of configurations; None where the experiment does not ask for it."""
        experiment = self.state.experiment
        if experiment.separate is None:
            return None
        ended = read_results(self.folder) if self.state.unlisted else []
        return separation(
            self.listed,
            self.predictions,
            separate=experiment.separate,
            seeds=taken_up(self.state),
            dropped=[one for one in ended if one.trial not in self.state.progress],
        )

    @property
    def best_by_validation(self) -> list[TrialResult]:
        """The finished trials that are best on validation, at most `TOGETHER` of them, best first."""
        judged = [one for one in self.listed if one.status == "finished" and one.val_accuracy is not None]
        return ranked(judged)[:TOGETHER]

    @cached_property
    def predictions(self) -> Mapping[str, Predictions]:
        """What each network says about the test images, by trial, of those that have finished.

        The probabilities of all classes, which take most of the memory, are there for the best by validation only.
        """
        finished = [result for result in self.listed if result.status == "finished"]
        digests = self.state.digests()
        together = {one.trial for one in self.best_by_validation}
        with warned_together():
            found = {
                result.trial: read_predictions(
                    self.folder, result, digest=digests.get(result.trial), softmax=result.trial in together
                )
                for result in finished
            }
        return {trial: seen for trial, seen in found.items() if seen is not None}

    @cached_property
    def epochs(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Rows of metrics.jsonl by trial, in order, of the trials that have any."""
        started = [progress for progress in self.state.progress.values() if progress.attempts or progress.result]
        with warned_together():
            read = {
                one.trial.id: read_all_epochs(self.folder, one.result)
                if one.result
                else read_epochs(self.folder, one.trial.id)
                for one in started
            }
        return {trial: rows for trial, rows in read.items() if rows}

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """manifest.json."""
        return read_manifest(self.folder)

    @cached_property
    def experiment(self) -> str:
        """The text of experiment.yaml."""
        try:
            return self.folder.read("experiment.yaml").decode()
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.folder}/experiment.yaml cannot be read: {error}") from error


def chosen_trial_of(ranking: Ranking) -> TrialResult | None:
    """Return the trial of a run's ranking that `RunRecord.chosen_trial` describes."""
    if ranking.chosen:
        return max(ranking.chosen.results, key=lambda one: one.val_quality)
    first = ranking.first_complete
    return first.results[0] if first else None


def read_record(folder: Folder) -> RunRecord:
    """Return the record of a run folder.

    Raises:
        RunFolderError: A file is missing or damaged.
    """
    return RunRecord(folder, read_state(folder))
