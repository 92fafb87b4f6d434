"""What a report shows of a run, read once from its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.analysis.ranking import Ranking, rank
from raytrain.errors import RunFolderError
from raytrain.runs.manifest import read_manifest
from raytrain.runs.results import TrialResult, read_all_predictions, read_results
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.predictions import Predictions


@dataclass(frozen=True)
class RunRecord:
    """A run as it lies in its folder.

    Attributes:
        name: Of the run.
        experiment: experiment.yaml.
        manifest: manifest.json.
        ranking: Of the trials that have ended.
        predictions: By trial, of those that have finished.
        epochs: Rows of metrics.jsonl by trial, in order.
        events: Rows of events.jsonl, in order.
    """

    name: str
    experiment: str
    manifest: Mapping[str, Any]
    ranking: Ranking
    predictions: Mapping[str, Predictions]
    epochs: Mapping[str, Sequence[Mapping[str, Any]]]
    events: Sequence[Mapping[str, Any]]

    @property
    def results(self) -> list[TrialResult]:
        """Those of the ranking's configurations, in its order."""
        return [result for standing in self.ranking.standings for result in standing.results]

    @property
    def leader(self) -> TrialResult | None:
        """The first seed of the leading configuration, or None while nothing has finished."""
        first = self.ranking.standings[0] if self.ranking.standings else None
        return first.results[0] if first and first.status == "finished" else None


def read_record(folder: Folder) -> RunRecord:
    """Return the record of a run folder.

    Raises:
        RunFolderError: A file is missing or damaged.
    """
    results = read_results(folder)
    predictions = read_all_predictions(folder, results)
    trials = (folder / "trials").names()
    try:
        experiment = folder.read("experiment.yaml").decode()
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder}/experiment.yaml cannot be read: {error}") from error
    return RunRecord(
        name=folder.name,
        experiment=experiment,
        manifest=read_manifest(folder),
        ranking=rank(results, predictions),
        predictions=predictions,
        epochs={trial: list(read_lines(folder / "trials" / trial, "metrics.jsonl")) for trial in trials},
        events=list(read_lines(folder, "events.jsonl")),
    )
