"""Several runs in one contest: which may be ranked together, and their rankings."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from raytrain.analysis.ranking import Ranking, rank
from raytrain.analysis.record import RunRecord, read_record
from raytrain.analysis.separation import Separation
from raytrain.analysis.tested_images import TestImages, tested_images
from raytrain.data.data_key import DataKey
from raytrain.errors import ExperimentError
from raytrain.metrics.selection import select_of
from raytrain.runs.results import TrialResult, run_of
from raytrain.storage.folder import Folder


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
    images = _images(records)
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


def _images(records: Mapping[str, RunRecord]) -> dict[str, TestImages]:
    """Return what decides on the test images of each trial of some runs, by run and id."""
    recipes: dict[str, Mapping[str, Any]] = {}
    data: dict[str, Mapping[str, Any]] = {}
    for name, record in records.items():
        own = {f"{name}/{result.trial}": result.recipe for result in record.listed}
        recipes |= own
        written: Mapping[str, Any] = record.manifest.get("data", {})
        data |= dict.fromkeys(own, written)
    return tested_images(recipes, data)


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
        own = [replace(result, trial=f"{name}/{result.trial}") for result in record.listed]
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
    results, _ = _together(records)
    results = [one for one in results if only is None or one.trial in only]
    images = _images(records)
    predictions = {
        f"{name}/{trial}": seen for name, record in records.items() for trial, seen in record.predictions.items()
    }
    if not prefixed:
        images = {_bare(name): one for name, one in images.items()}
        predictions = {_bare(name): one for name, one in predictions.items()}
        results = [replace(one, trial=_bare(one.trial)) for one in results]
    ranking = rank(results, predictions, images=images)
    looked = dict(_separations(records, only=only))
    if prefixed:
        return replace(ranking, separations=looked, warnings=[*ranking.warnings, *_looked(looked)])
    said = [sentence for known in looked.values() if known.pairs for sentence in known.sentences()]
    return replace(ranking, separations=looked, notes=[*ranking.notes, *said])


def _separations(records: Mapping[str, RunRecord], *, only: set[str] | None) -> Iterator[tuple[str, Separation]]:
    """Yield each run that looked at its pairs after each seed, and what is known of those of a table's trials."""
    for name, record in records.items():
        listed = [one for one in record.listed if only is None or f"{name}/{one.trial}" in only]
        if record.separation and listed:
            yield name, record.separation.among(listed)


def _looked(names: Iterable[str]) -> Iterator[str]:
    """Yield for each run that looked at its pairs after each seed that the tests of a table do not allow for it."""
    for name in names:
        yield f"{name} looked at its pairs after each seed. The ranks do not allow for that."


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
