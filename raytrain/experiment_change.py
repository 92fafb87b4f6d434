"""Whether an experiment is the one that was run in a folder before."""

from typing import Any

from raytrain.errors import RunFolderError
from raytrain.experiment import Experiment
from raytrain.storage import Folder
from raytrain.yaml_source import parse_value


def refuse_other_experiment(folder: Folder, experiment: Experiment) -> None:
    """Refuse to go on with a run folder in which another experiment was run.

    What does not change the trials of the search may change: where they run, and what comes after them.

    Raises:
        RunFolderError: Another was run; the first differences are shown.
    """
    before = parse_value(folder.read("experiment.yaml").decode(), name=f"{folder}/experiment.yaml")
    now = experiment.model_dump(mode="json")
    differences = _differences(_what_counts(before), _what_counts(now))
    if differences:
        shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
        raise RunFolderError(
            f"{folder} holds another experiment ({shown}).\n"
            "Choose another --name, go back to what it was, or start anew with --fresh, which deletes that run."
        )


def _what_counts(experiment: dict[str, Any]) -> dict[str, Any]:
    asha: dict[str, Any] | None = experiment.get("asha")
    return {
        **{key: value for key, value in experiment.items() if key not in {"resources", "confirm"}},
        "asha": {key: value for key, value in asha.items() if key != "rescue"} if asha else None,
    }


def _differences(before: object, now: object, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys: list[str] = list(dict.fromkeys([*before, *now]))
        return [
            difference
            for key in keys
            for difference in _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if before == now else [f"{path}: {before} there, {now} now"]
