"""What the trials of a run are expected to cost, by what is on record."""

from collections.abc import Mapping

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.duration.costs import Costs, kind_of
from raytrain.runs.state import RunState


def run_costs(state: RunState, splits: Mapping[DataKey, Splits]) -> Costs:
    """Return what the trials of a run are expected to cost: by their operations, and by what its earlier sessions took.

    Args:
        state: The run.
        splits: The split images of each data set, by `Recipe.data_key`; trials on others are left out.
    """
    here = [progress for progress in state.progress.values() if progress.trial.recipe.data_key in splits]
    costs = Costs.of((progress.trial.recipe for progress in here), splits)
    for progress in here:
        costs.took(kind_of(progress.trial.recipe), progress.seconds, epochs=progress.epoch)
    return costs
