"""The seeds that two runs share, by which they are compared, or how they come to share some."""

from collections.abc import Mapping

from raytrain.errors import ExperimentError
from raytrain.runs.results import TrialResult

Seeds = Mapping[int, TrialResult]
"""The finished result of each seed of a configuration."""


def shared_seeds(names: tuple[str, str], base: Seeds, candidate: Seeds) -> list[int]:
    """Return the seeds that a base and a candidate share, in the order of their numbers.

    Args:
        names: Names of the runs.
        base: Results of the base.
        candidate: Results of the candidate.

    Raises:
        ExperimentError: There are none; the message says how to train some.
    """
    if shared := sorted(candidate.keys() & base.keys()):
        return shared
    raise ExperimentError(
        f"{names[0]} has {_listed(base)} and {names[1]} has {_listed(candidate)}, so no seed is in both; "
        f"{_advice(names, base, candidate)}"
    )


def _advice(names: tuple[str, str], base: Seeds, candidate: Seeds) -> str:
    """Return how a run gets the seeds of the other beside its own, without which it would be another experiment.

    A run that has confirmed its choice counts by its fresh seeds, and those of a search may not be among them.
    """
    both = ",".join(map(str, sorted(base.keys() | candidate.keys())))
    if not _is_confirmed(candidate):
        return f"train {names[1]} with --seeds {both}"
    if not _is_confirmed(base):
        return f"train {names[0]} with --seeds {both}"
    return f"give {names[1]} the `confirm.seeds` {both} in its experiment, and train it again"


def _is_confirmed(results: Seeds) -> bool:
    return any(one.phase == "confirm" for one in results.values())


def _listed(results: Seeds) -> str:
    return f"seed{'s' if len(results) > 1 else ''} {', '.join(map(str, sorted(results)))}"
