"""Under what circumstances trials were trained: their recipe, data, code, versions and machine, and how two differ."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.analysis.record import RunRecord
from raytrain.errors import RunFolderError
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

UNKNOWN = "not recorded"
NONE = "none"


@dataclass(frozen=True)
class Difference:
    """Something in which two runs or trials differ.

    Attributes:
        part: "recipe", "experiment", "data", "code", "versions" or "machine".
        name: What of it, such as "lr" or "torch".
        first: Its value in the first, as text.
        second: Its value in the second, as text.
    """

    part: str
    name: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.part}: {self.name} was {self.first}, is {self.second}"


Circumstances = Mapping[str, Mapping[str, Any]]
"""Values by part and name: texts, or settings, whose sections have values by name in their turn."""


def circumstances(record: RunRecord, trial: TrialResult | None = None) -> Circumstances:
    """Return the data, code, versions and machine of a run; of one of its trials, its own data and how it was computed.

    Several sessions of a run may differ: then a value names all of theirs.
    """
    manifest = record.manifest
    sessions: Sequence[Mapping[str, Any]] = manifest.get("sessions", ())
    codes: list[Mapping[str, Any]] = [session.get("code", {}) for session in sessions]
    machines: list[Mapping[str, Any]] = [session.get("machine", {}) for session in sessions]
    data = {str(label): str(fingerprint) for label, fingerprint in manifest.get("data", {}).items()}
    if trial:
        data = {(label := data_label(trial)): data.get(label, UNKNOWN)}
    return {
        "data": data,
        **of_code(codes),
        "machine": {
            "processor": _all([machine.get("processor") for machine in machines]),
            "GPUs": _all([", ".join(machine.get("gpus", ())) or NONE for machine in machines]),
            **(_computed(record, trial.trial) if trial else {}),
        },
    }


def of_code(codes: Sequence[Mapping[str, Any]]) -> Circumstances:
    """Return the code and the versions of sessions, each described as `describe_code` does."""
    return {
        "code": {
            "commit": _all([code.get("git_commit") or NONE for code in codes]),
            "uncommitted changes": _all(list(map(_changes, codes))),
        },
        "versions": {
            "raytrain": _all([code.get("raytrain") for code in codes]),
            "python": _all([code.get("python") for code in codes]),
            **_packages(codes),
        },
    }


def differences(first: Circumstances, second: Circumstances) -> list[Difference]:
    """Return every value in which two differ, in order; one that is missing is "not recorded".

    Data that one does not use are "none" where its own are on record. Where one has a section, such as early stopping,
    and the other none, each setting of the section is beside "none".
    """
    found: list[Difference] = []
    for part in dict.fromkeys([*first, *second]):
        here, there = first.get(part, {}), second.get(part, {})
        missing = [NONE if part == "data" and values else UNKNOWN for values in (here, there)]
        found += [
            Difference(part, ".".join(path), one, other)
            for path, one, other in _beside(here, there, missing=missing)
            if one != other
        ]
    return found


def _beside(
    here: Mapping[str, Any], there: Mapping[str, Any], *, missing: Sequence[str], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the path of each setting with its value in both, as text.

    A section is entered where the other side has it too, or nothing in its place; beside a value it is one value.
    """
    for name in dict.fromkeys([*here, *there]):
        one, other = here.get(name, missing[0]), there.get(name, missing[1])
        first, second = _section(one), _section(other)
        if first is None or second is None or not (first or second):
            yield (*path, name), _text(one), _text(other)
        else:
            yield from _beside(first, second, missing=(NONE, NONE), path=(*path, name))


def _section(value: object) -> Mapping[str, Any] | None:
    """Return the settings of a section, of which there are none where nothing is in its place; None for a value."""
    if isinstance(value, dict):
        return value
    return {} if _text(value) in {NONE, UNKNOWN} else None


def data_label(result: TrialResult) -> str:
    """Return the name of a trial's images in the manifest.

    Raises:
        RunFolderError: Its recipe is of another version.
    """
    try:
        return Recipe(**result.recipe).data_key.label
    except ValueError as error:
        raise RunFolderError(f"the recipe of {result.trial} is not one of this version: {error}") from error


def settings(part: str, values: Mapping[str, Any]) -> Circumstances:
    """Return nested settings, such as those of an experiment, as one part."""
    return {part: values}


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or NONE
    return NONE if value is None or value == "" else str(value)


def _all(values: Sequence[str | None]) -> str:
    return ", then ".join(dict.fromkeys(value or UNKNOWN for value in values)) or UNKNOWN


def _changes(code: Mapping[str, Any]) -> str:
    """Return the uncommitted changes of code as a digest, so that two can be compared."""
    diff = code.get("git_diff")
    if diff is None:
        return UNKNOWN if code.get("git_commit") else NONE
    shown = [f"SHA-256 {hashlib.sha256(diff.encode()).hexdigest()[:12]}"] if diff else []
    if left := code.get("git_diff_left_out") or ():
        shown.append(f"{len(left)} file{'s' if len(left) > 1 else ''} on record by name only")
    return " and ".join(shown) or NONE


def _packages(codes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    names = dict.fromkeys(name for code in codes for name in code.get("packages", {}))
    return {name: _all([code.get("packages", {}).get(name) or "not installed" for code in codes]) for name in names}


def _computed(record: RunRecord, trial: str) -> dict[str, str]:
    """Return on what a trial was trained: device, precision, threads and workers.

    A trial that was continued may have had other threads and workers before. Runs of earlier versions say neither at a
    start: of them the last end counts, and the workers of the experiment.
    """
    own = [one for one in record.events if one.get("trial") == trial]
    ended = [one for one in own if one["event"] == "finished"]
    started = [one for one in own if one["event"] == "started"]
    told = any("workers" in one for one in [*started, *ended])
    workers = [one for one in own if one["event"] == "resized"] + ended[-1:]
    return {
        **{name: _of_all(ended[-1:], name) for name in ("device", "precision")},
        "threads": _of_all([*(started if told else ()), *ended[-1:]], "threads"),
        "workers": _of_all([*started, *workers], "workers")
        if told
        else _text(record.state.experiment.resources.workers),
    }


def _of_all(events: Sequence[Mapping[str, Any]], name: str) -> str:
    return _all([str(one[name]) if name in one else None for one in events])
