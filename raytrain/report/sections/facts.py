"""What the page says of a run in words: who leads, what was run, and the code, data and machine it came from."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from raytrain.analysis.ranking import DASH, Ranking
from raytrain.analysis.record import RunRecord
from raytrain.errors import counted
from raytrain.report.figures import timeline
from raytrain.report.figures.legend import Entry
from raytrain.report.text.quantities import duration


def verdict(ranking: Ranking, entries: Sequence[Entry]) -> str:
    """Return in some sentences which configuration is chosen, and how it stands among the others.

    Of a run that looked after each seed, what its pairs have shown takes the place of the tests behind the ranks.
    """
    finished = [standing for standing in ranking.standings if standing.test_accuracy is not None]
    if not finished:
        return "No trial has finished."
    named = {id(standing): entry.label for standing, entry in zip(ranking.standings, entries, strict=True)}
    leads = finished[0]
    chosen = ranking.chosen or ranking.first_complete or leads
    accuracy = f"{ranking.score_text(chosen)} on the test set"
    if len(finished) == 1:
        return f"{named[id(chosen)]} reaches {accuracy}."
    found = f"{named[id(chosen)]}, chosen by validation, reaches" if ranking.chosen else f"{named[id(chosen)]} reaches"
    if sum(standing.rank != DASH for standing in finished) == 1:
        return f"{found} {accuracy}."  # compared with none
    if ranking.separated_text:
        return f"{found} {accuracy}. {ranking.separated_text}"
    candidates = sum(standing.may_lead for standing in finished)
    if not chosen.may_lead:
        return f"{found} {accuracy}. {named[id(leads)]} is first with {ranking.score_text(leads)}."
    if chosen.rank == "1":
        other_seed = "; another seed may not be" if chosen.of_network else ""
        return f"{found} {accuracy} and is ahead of {ranking.all_others}{other_seed}."
    if candidates > 1:
        others = "another one" if candidates == 2 else f"{candidates - 1} others"
        return f"{found} {accuracy}. {others.capitalize()} may be as good: the test does not separate them."
    return f"{found} {accuracy}. No other is better by the test, which does not separate all of them from it."


def facts(record: RunRecord, ran: timeline.Timeline, statuses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the facts at the top: the data, the trials, the time and the machine."""
    results = record.results
    if results:
        yield "Data set", ", ".join(sorted({str(result.recipe["dataset"]) for result in results}))
    counts = Counter(statuses.get(result.trial, result.status) for result in results)
    yield "Trials", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none has ended"
    if ran.spans:
        yield (
            "Has taken" if statuses else "Took",
            f"{duration(ran.seconds)} on {ran.slots} slot{'s' if ran.slots > 1 else ''}",
        )
    if sessions := record.manifest.get("sessions"):
        yield "Machine", _in_turn(_gpus_or_cores(one["machine"]) for one in sessions)
        yield "Started", day(sessions[0]["started"])


def provenance(record: RunRecord, *, going_on: bool) -> Iterator[tuple[str, str]]:
    """Yield what the manifest says of the code, the data and the machine; of several sessions, what each had."""
    if sessions := record.manifest.get("sessions"):
        yield "Versions", _in_turn(_versions(one["code"]) for one in sessions)
        if any(one["code"]["git_commit"] for one in sessions):
            yield "Commit", _in_turn(_commit(one["code"]) for one in sessions)
        yield "Machine", _in_turn(_machine(one["machine"]) for one in sessions)
        ends = [day(one.get("ended")) for one in sessions]
        if going_on:
            ends[-1] = "now, unless it was killed"
        yield "Sessions", "; ".join(f"{day(one['started'])} to {end}" for one, end in zip(sessions, ends, strict=True))
    for name, fingerprint in record.manifest.get("data", {}).items():
        yield "Data", f"{name}, fingerprint {fingerprint}"
    seeds = {result.recipe["seed"] for result in record.results} or {*record.manifest.get("seeds", ())}
    yield "Seeds", ", ".join(map(str, sorted(seeds)))


def day(moment: str | None) -> str:
    """Return the day and the time of a moment in ISO 8601, to the minute; "killed" for none, a session without end."""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M UTC}" if moment else "killed"


def command(record: RunRecord) -> str:
    """Return the command that began the run, quoted for a shell; "" where no session is on record."""
    sessions = record.manifest.get("sessions")
    return shlex.join(sessions[0]["command"]) if sessions else ""


def _in_turn(texts: Iterable[str]) -> str:
    """Return what sessions had, one after the other, each thing once."""
    return "; then ".join(dict.fromkeys(texts))


def _versions(code: Mapping[str, Any]) -> str:
    versions = {"raytrain": code["raytrain"], "Python": code["python"], **code["packages"]}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _commit(code: Mapping[str, Any]) -> str:
    if not code["git_commit"]:
        return "unknown"
    changed = code.get("git_diff") or code.get("git_diff_left_out")
    return code["git_commit"] + (", with uncommitted changes (in manifest.json)" if changed else "")


def _gpus_or_cores(machine: Mapping[str, Any]) -> str:
    return ", ".join(machine["gpus"]) or f"{counted(machine['cores'], 'core')} of {machine['processor']}, no GPU"


def _machine(machine: Mapping[str, Any]) -> str:
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
    return f"{machine['processor']}, {counted(machine['cores'], 'core')}, {memory}, {machine['system']}"
