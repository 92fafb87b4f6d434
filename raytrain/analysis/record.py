"""A run as everything that shows it sees it: built once, from the state of the run and the files of its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from raytrain.analysis.ranking import Ranking, Standing, rank
from raytrain.analysis.separation import Separation, separation, taken_up
from raytrain.analysis.tested_images import tested_images
from raytrain.data.data_key import DataKey
from raytrain.errors import ExperimentError, RunFolderError
from raytrain.metrics.predictions import Predictions
from raytrain.metrics.selection import select_of
from raytrain.provenance.manifest import read_manifest
from raytrain.runs.damage import warned_together
from raytrain.runs.folder import read_state
from raytrain.runs.results import TrialResult, ranked, run_of
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
    def ranking(self) -> Ranking:
        """The configurations, best first, and how sure that order is."""
        ranking = rank(self.state.results(), self.predictions)
        return replace(ranking, notes=[*ranking.notes, *self.separation.sentences()]) if self.separation else ranking

    @cached_property
    def separation(self) -> Separation | None:
        """What is known of each pair of configurations; None where the experiment does not ask for it."""
        experiment = self.state.experiment
        if experiment.separate is None:
            return None
        seeds = taken_up(self.state)
        return separation(self.state.results(), self.predictions, separate=experiment.separate, seeds=seeds)

    @property
    def best_by_validation(self) -> list[TrialResult]:
        """The finished trials that are best on validation, at most `TOGETHER` of them, best first."""
        judged = [one for one in self.state.results() if one.status == "finished" and one.val_accuracy is not None]
        return ranked(judged)[:TOGETHER]

    @cached_property
    def predictions(self) -> Mapping[str, Predictions]:
        """What each network says about the test images, by trial, of those that have finished.

        The probabilities of all classes, which take most of the memory, are there for the best by validation only.
        """
        finished = [result for result in self.state.results() if result.status == "finished"]
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


def rank_runs(folders: Mapping[str, Folder]) -> Ranking:
    """Return the ranking of runs by their names, all in one contest; the ids of several runs' trials begin with them.

    Raises:
        RunFolderError: One cannot be read.
        ExperimentError: They are not of one data set, or are ranked by different metrics.
    """
    records = {name: read_record(folder) for name, folder in folders.items()}
    if len(records) == 1:
        return next(iter(records.values())).ranking
    refuse_several_data_sets(records)
    return _ranked_together(records)


def rankings_by_data(folders: Mapping[str, Folder]) -> dict[str, Ranking]:
    """Return a ranking for each set of test images, by the names of its data and its runs; "" for a single one.

    A run of an earlier version may have several sets of test images, and then has a ranking for each.

    The ids of several runs' trials begin with the names of the runs.

    Raises:
        RunFolderError: One cannot be read.
        ExperimentError: The runs of a data set are ranked by different metrics.
    """
    groups: list[dict[str, RunRecord]] = []
    for name, record in ((name, read_record(folder)) for name, folder in folders.items()):
        found = next((group for group in groups if _on_the_same_data(group, name, record)), None)
        if found is None:
            groups.append({name: record})
        else:
            found[name] = record
    tables = [(group, images) for group in groups for images in _test_sets(group)]
    if len(tables) == 1:
        ((only, _),) = tables
        return {"": next(iter(only.values())).ranking if len(only) == 1 else _ranked_together(only)}
    together = len(folders) > 1
    return {_name_of(group, one): _ranked_together(group, only=one, prefixed=together) for group, one in tables}


def _test_sets(records: Mapping[str, RunRecord]) -> list[set[str]]:
    """Return the trials of some runs, by run and id, in sets of those that were tested on the same images."""
    results, data = _together(records)
    images = tested_images(results, data)
    labels = {
        f"{name}/{trial}": seen.labels.tobytes()
        for name, record in records.items()
        for trial, seen in record.predictions.items()
    }
    first: dict[object, bytes] = {}  # trials without predictions are on the first of the sets that are written alike
    for trial, seen in labels.items():
        first.setdefault(images[trial], seen)
    sets: dict[object, set[str]] = {}
    for trial, written in images.items():
        sets.setdefault((written, labels.get(trial, first.get(written))), set()).add(trial)
    return list(sets.values()) or [set()]


def _on_the_same_data(group: Mapping[str, RunRecord], name: str, record: RunRecord) -> bool:
    try:
        for other, known in group.items():
            refuse_several_data_sets({other: known, name: record})
    except ExperimentError:
        return False
    return True


def _name_of(group: Mapping[str, RunRecord], trials: set[str]) -> str:
    """Return the heading of a table: the data sets of some trials with their fingerprints, and the runs."""
    results, data = _together(group)
    labels = {(one.trial, DataKey.of(one.recipe).label) for one in results if one.trial in trials}
    known = {f"{label}, fingerprint {data[trial].get(label, 'unknown')}" for trial, label in labels}
    runs = dict.fromkeys(run_of(one) for one in results if one.trial in trials)
    return f"{'; '.join(sorted(known))}: {', '.join(runs or group)}"


def _together(records: Mapping[str, RunRecord]) -> tuple[list[TrialResult], dict[str, Mapping[str, Any]]]:
    """Return the results of runs, with the run before each id, and the data in the manifest of each trial's run."""
    results: list[TrialResult] = []
    data: dict[str, Mapping[str, Any]] = {}
    for name, record in records.items():
        own = [replace(result, trial=f"{name}/{result.trial}") for result in record.state.results()]
        results += own
        data |= {result.trial: record.manifest.get("data", {}) for result in own}
    return results, data


def _ranked_together(
    records: Mapping[str, RunRecord], *, only: set[str] | None = None, prefixed: bool = True
) -> Ranking:
    """Return the ranking of all trials of runs.

    Args:
        records: The runs by name.
        only: Trials to rank, by run and id; None for all.
        prefixed: Whether the ids of trials begin with the names of the runs.
    """
    _refuse_several_metrics(records)
    results, data = _together(records)
    results = [one for one in results if only is None or one.trial in only]
    images = tested_images(results, data)
    predictions = {
        f"{name}/{trial}": seen for name, record in records.items() for trial, seen in record.predictions.items()
    }
    if not prefixed:
        images, predictions = ({_bare(name): one for name, one in some.items()} for some in (images, predictions))
        results = [replace(one, trial=_bare(one.trial)) for one in results]
    return rank(results, predictions, images=images)


def _bare(trial: str) -> str:
    return trial.rpartition("/")[2]


def refuse_several_data_sets(records: Mapping[str, RunRecord]) -> None:
    """Raise ExperimentError where runs have no data set in common, or one whose images have changed between them."""
    refuse_other_data({name: record.manifest.get("data", {}) for name, record in records.items()})


def refuse_other_data(data: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ExperimentError where runs have no data set in common, or one whose images have changed between them.

    Args:
        data: The fingerprints of each run's data by `DataKey.label`, by the name of the run.
    """
    first, *others = data
    for other in others:
        one, two = ({**data[name]} for name in (first, other))
        for label in sorted(one.keys() & two.keys()):
            if one[label] != two[label]:
                raise ExperimentError(
                    f"{label} has changed between {first} and {other}: accuracies on different images cannot be "
                    "compared. Train one of them again on the images of the other, or show one run at a time."
                )
        if not one or not two or {*one.values()} & {*two.values()}:
            continue
        names = [{label.rpartition(" at ")[0] for label in labels} for labels in (one, two)]
        if not names[0] & names[1]:
            raise ExperimentError(
                f"{first} is on {', '.join(sorted(names[0]))} and {other} on {', '.join(sorted(names[1]))}: accuracies "
                "on different images cannot be compared. Show runs of one data set at a time."
            )


def _refuse_several_metrics(records: Mapping[str, RunRecord]) -> None:
    """Raise ExperimentError where the recipes of runs select by different metrics."""
    by_run = {name: {select_of(result.recipe) for result in one.state.results()} for name, one in records.items()}
    if len({select for selects in by_run.values() for select in selects}) > 1:
        listed = ", ".join(f"{name} by {' and '.join(sorted(selects))}" for name, selects in by_run.items() if selects)
        raise ExperimentError(
            f"the runs are ranked by different metrics ({listed}), which their recipes' `select` names. Show runs of "
            "one metric at a time."
        )
