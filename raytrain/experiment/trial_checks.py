"""What no experiment may ask of its trials together: refused once they are listed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raytrain.data.data_key import OF_TEST_IMAGES
from raytrain.errors import ExperimentError
from raytrain.experiment.search.grid import Grid, Sampler, fields, values_of
from raytrain.experiment.search.repeated import Repeated, repeated_argument, repeated_axis
from raytrain.experiment.search.untaken import refuse_untaken
from raytrain.experiment.search.written_grid import as_written
from raytrain.experiment.sections import Asha, Separate
from raytrain.experiment.trial import Trial
from raytrain.metrics.selection import SELECTIONS
from raytrain.training.field_rules import bound_to_the_end

if TYPE_CHECKING:
    from raytrain.experiment.experiment import Experiment


def refuse_what_cannot_run(
    trials: Sequence[Trial], *, asha: Asha | None, separate: Separate | None, workers: int, sampler: Sampler
) -> None:
    """Refuse trials that cannot be trained on so many workers, or not be compared as the experiment asks for.

    Args:
        trials: The trials of an experiment, at least one.
        asha: How trials are stopped early; None if they are not.
        separate: Until when seeds are added; None if none are.
        workers: Largest number of workers of one trial.
        sampler: How the trials were drawn.

    Raises:
        ExperimentError: They cannot run; the message says why, and what to change.
    """
    smallest = min(trial.recipe.batch_size for trial in trials)
    if smallest < workers:
        raise ExperimentError(
            f"batch_size {smallest} is less than one image for each of {workers} workers; "
            f"give at least {workers}, or fewer workers"
        )
    if asha and any(trial.recipe.val_size == 0 for trial in trials):
        raise ExperimentError(
            "asha stops trials by validation accuracy, and val_size is 0 in some trials; "
            "set val_size, or run without asha (--no-asha)"
        )
    if len(selects := sorted({trial.recipe.select for trial in trials})) > 1:
        raise ExperimentError(
            f"select is {' in some trials and '.join(selects)} in others: one metric ranks all trials of an "
            "experiment; give one under recipe, and compare by the others with --columns"
        )
    if separate and len({trial.recipe.digest_without_seed for trial in trials}) < 2:
        raise ExperimentError("separate needs at least two configurations, and the experiment has one; add a grid")
    if asha and asha.lose_at_most is not None:
        _refuse_unlike_curves(trials, sampler)
    longest = max(trial.recipe.epochs for trial in trials)
    if asha and asha.first_rung(longest) > longest:
        raise ExperimentError(
            f"asha.grace_period is {asha.grace_period:g} epochs and no trial has more than "
            f"{longest}; lower it, or give a share below 1"
        )


def _refuse_unlike_curves(trials: Sequence[Trial], sampler: Sampler) -> None:
    """Refuse `asha.lose_at_most` where curves on record say nothing about the trials."""
    if sampler == "tpe":
        raise ExperimentError(
            "asha.lose_at_most goes by curves of trials that were drawn alike, and tpe proposes better ones as it "
            "learns; give sampler: random or sobol, or a grace_period instead"
        )
    if len(lengths := sorted({trial.recipe.epochs for trial in trials})) > 1:
        raise ExperimentError(
            f"asha.lose_at_most goes by curves of one length, and the trials have {lengths[0]} to {lengths[-1]} "
            "epochs; give all of them the same, or a grace_period instead"
        )
    if len(data := sorted({trial.recipe.dataset for trial in trials})) > 1:
        raise ExperimentError(
            f"asha.lose_at_most goes by curves of one data set, and the trials have {', '.join(data)}; give all of "
            "them the same, or a grace_period instead"
        )
    select = trials[0].recipe.select  # one metric for all
    if SELECTIONS[select].lower_is_better:
        raise ExperimentError(
            f"asha.lose_at_most is in points of accuracy, and select is {select}; select accuracy, or give a "
            "grace_period instead"
        )


class RepeatedError(ExperimentError):
    """A combination, or an entry of `include`, would have two values of an axis or of an argument."""

    def __init__(self, section: tuple[str | int, ...], repeated: Repeated) -> None:
        self.path = (*section, *repeated.path)
        super().__init__(repeated.message)


def refuse_what_earlier_versions_took(
    experiment: "Experiment",
    *,
    options: Collection[str] | None = None,
    written: Mapping[str, Any] | None = None,
    overrides: Collection[str] = (),
) -> None:
    """Refuse an experiment whose trials could run, and would not be what was meant, or not be comparable.

    For every experiment that is read or made in Python. Not in `Experiment` itself: a run of an earlier version may
    have such a one, and is still shown.

    Args:
        experiment: The experiment.
        options: Keys that the command line gives; None for an experiment that is there already.
        written: Top-level keys as a file and the command line say them; None where that is not known any more.
        overrides: Recipe fields and arguments that the command line sets.

    Raises:
        RepeatedError: A trial would have two values of an axis or of an argument.
        ExperimentError: It is such an experiment for another reason, or one of its trials is invalid.
    """
    if options is None:  # a sampler that is said may have come from an option, beside the round_size of a file
        options = experiment.model_fields_set & {"sampler"}
    _refuse_without_effect(experiment, options=options)
    trials = experiment.trials()
    drawn = experiment.samples is not None
    _refuse_several_test_sets(trials, experiment.grid, drawn=drawn)
    _refuse_unlike_courses(trials, asha=experiment.asha)
    refuse_untaken(trials, drawn=drawn)
    if written is None:
        written, overrides = {"grid": experiment.grid, "include": experiment.include}, _single(experiment.grid)
    for error in _repeated(written, experiment.grid, apart_from=overrides):
        raise error


def _single(grid: Grid) -> list[str]:
    """Return the axes of one value. `read_experiment(set=...)` leaves such, which replace what components name."""
    values = {axis: values_of(grid, axis) for axis in fields(grid)}
    return [axis for axis, found in values.items() if all(value == found[0] for value in found)]


def _repeated(written: Mapping[str, Any], grid: Grid, *, apart_from: Collection[str]) -> Iterator[RepeatedError]:
    if found := repeated_axis(grid):
        yield RepeatedError(("grid",), found)
    if found := repeated_argument(as_written(written.get("grid") or {}), apart_from=apart_from):
        yield RepeatedError(("grid",), found)
    entries: Sequence[Mapping[str, Any]] = written.get("include") or ()
    for index, entry in enumerate(entries):
        if found := repeated_argument({str(field): (value,) for field, value in entry.items()}):
            yield RepeatedError(("include", index), found)


def _refuse_without_effect(experiment: "Experiment", *, options: Collection[str]) -> None:
    """Refuse what is said of how trials are drawn, and would change nothing.

    A copy of the experiment of a run has every key, with the default where nothing was said.

    Args:
        experiment: The experiment.
        options: Keys that the command line gives.

    Raises:
        ExperimentError: There is such a key; the message says what to give.
    """
    sampler, given = experiment.sampler, experiment.model_fields_set
    said = sampler == "sobol" or (sampler == "random" and "sampler" in given and "samples" not in given)
    if said and experiment.samples is None:
        raise ExperimentError(
            f"sampler: {sampler} draws samples, and samples is missing, so that every combination would be a trial; "
            "say how many samples to draw, such as samples: 20 (--samples 20), or give sampler: grid"
        )
    size = experiment.round_size
    changed = size != type(experiment).model_fields["round_size"].default
    if sampler != "tpe" and ("round_size" in options or (changed and "sampler" not in options)):
        raise ExperimentError(
            f"round_size: {size} is of rounds of tpe, and the sampler is {sampler}; give sampler: tpe (--sampler tpe), "
            "or leave it out"
        )


def _refuse_unlike_courses(trials: Sequence[Trial], *, asha: Asha | None) -> None:
    """Refuse ASHA for trials of several lengths that are not alike at the same epoch.

    Args:
        trials: The trials of an experiment.
        asha: How trials are stopped early; None if they are not.

    Raises:
        ExperimentError: A longer trial would be compared with a shorter one that is nearer to its end.
    """
    lengths = sorted({trial.recipe.epochs for trial in trials})
    reason = next(filter(None, (bound_to_the_end(trial.recipe) for trial in trials)), None)
    if asha and len(lengths) > 1 and reason:
        raise ExperimentError(
            f"asha compares trials at the same epoch, and these have {lengths[0]} to {lengths[-1]} epochs: with "
            f"{reason}, a shorter one is nearer to its end there, and the longer ones would lose. "
            "Give all of them the same epochs, make an experiment for each length, or run without asha (--no-asha)"
        )


def _refuse_several_test_sets(trials: Sequence[Trial], grid: Grid, *, drawn: bool) -> None:
    """Refuse trials that would be tested on different images.

    Args:
        trials: The trials of an experiment.
        grid: Its grid.
        drawn: Whether trials are drawn from the grid, so that others may follow.

    Raises:
        ExperimentError: They are; the message says by which field.
    """
    for field in OF_TEST_IMAGES:
        found = [getattr(trial.recipe, field) for trial in trials]
        values = list(dict.fromkeys([*found, *(values_of(grid, field) if drawn else [])]))
        if len(values) > 1:
            listed = " and ".join(map(str, values[:2])) + (" and others" if len(values) > 2 else "")
            raise ExperimentError(
                f"{field} varies ({listed}), and with it the test images: no test compares accuracies on different "
                f"images. Make one experiment for each {field}, and show them together: raytrain results RUN1 RUN2"
            )
