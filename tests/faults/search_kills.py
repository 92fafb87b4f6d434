"""Interrupt searches in the middle, continue them with the same command, and print what is not as it should be.

python tests/faults/search_kills.py OUT [--ray] [SAMPLER-MODE ...]

The search is `raytrain tune --grid lr=log:1e-3:1 --samples 12 --set dataset=digits`, with each sampler and under each
mode of ASHA. It is killed with SIGKILL, continued, interrupted as by Ctrl-C, and continued to its end. Beside it the
same search runs undisturbed with --local. Commands with --local are forked from this process, which has imported
everything, so that each starts at once; those on Ray are commands of their own.
"""

import argparse
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import optuna
import torch

from raytrain import __main__ as command_line
from raytrain.analysis.record import RunRecord, read_record
from raytrain.report import page
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

RANGE = ("--grid", "lr=log:1e-3:1", "--samples", "12")
SAMPLERS: dict[str, Sequence[str]] = {
    "grid": ("--grid", "lr=0.001,0.002,0.004,0.007,0.013,0.024,0.044,0.08,0.15,0.28,0.5,1"),
    "random": RANGE,
    "sobol": (*RANGE, "--sampler", "sobol"),
    "tpe": (*RANGE, "--sampler", "tpe", "--round-size", "4"),
}
EARLY = {"grace_period": 1, "reduction_factor": 2}
MODES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "stop": {"mode": "stop", **EARLY},
    "promote": {"mode": "promote", **EARLY},
    # the record is the search without early stopping: the twelve curves that a confidence of one half takes
    "lose_at_most": {"lose_at_most": 5, "confidence": 0.5, "curves": "none"},
}
REFUSED = "tpe-lose_at_most"
"""The search that raytrain refuses."""
COMBINATIONS = tuple(name for s in SAMPLERS for m in MODES if (name := f"{s}-{m}") != REFUSED)
SMALL = {"arch": "resnet9", "width": 2, "image_size": 8, "batch_size": 256, "val_size": 0.8, "epochs": 4}
RECIPE = {"dataset": "digits", **SMALL}
IMPORTED_ONCE = ("pandas", "tensorboardX", "torch._dynamo", "raytrain.cli.app", "raytrain.execution.run")
"""What each of the forked commands would import for itself otherwise."""
NOT_NUMBERS = {"seconds", "attempts"}
LONGEST_S = 900.0


@dataclass
class Process:
    """A command that runs; `poll` returns its exit code, negative for a signal, or None while it runs."""

    pid: int
    poll: Callable[[], int | None]


def forked(words: Sequence[str], log: Path) -> Process:
    """Start a command in a copy of this process."""
    pid = os.fork()
    if not pid:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.argv = ["raytrain", *words]
        code = 1
        try:
            command_line.main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException as error:  # noqa: BLE001 (the log is to have it)
            os.write(2, repr(error).encode())
        finally:
            os._exit(code)
    ended: list[int] = []

    def poll() -> int | None:
        if not ended:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append(os.waitstatus_to_exitcode(status))
        return ended[0] if ended else None

    return Process(pid, poll)


def started(words: Sequence[str], log: Path) -> Process:
    """Start a command as a process of its own."""
    with log.open("a") as stream:
        process = subprocess.Popen([sys.executable, "-m", "raytrain", *words], stdout=stream, stderr=stream)
    return Process(process.pid, process.poll)


def epochs_on_record(run: Path) -> int:
    return sum(path.read_text().count("\n") for path in run.glob("trials/*/metrics.jsonl"))


def ended(process: Process, *, run: Path, after: int | None = None, by: signal.Signals | None = None) -> int | None:
    """Wait for the end of a command and return its exit code; send it a signal once so many epochs are on record."""
    deadline = time.monotonic() + LONGEST_S
    while (code := process.poll()) is None:
        if by is not None and after is not None and epochs_on_record(run) >= after:
            os.kill(process.pid, by)
            by = None
        if time.monotonic() > deadline:
            os.kill(process.pid, signal.SIGKILL)
            deadline += LONGEST_S
        time.sleep(0.02)
    return code


def words_of(combination: str, out: Path) -> list[str]:
    """Return the words of the command of a search, and write the file with its section `asha` if it has one."""
    sampler, mode = combination.split("-")
    words = ["tune", *SAMPLERS[sampler], "--out", str(out), "--name", "search"]
    for field, value in RECIPE.items():
        words += ["--set", f"{field}={value}"]
    if asha := MODES[mode]:
        if "curves" in asha:
            asha = asha | {"curves": [str(record_of(sampler, out))]}
        file = out.parent / f"{combination}.yaml"
        file.write_text(json.dumps({"asha": asha}))  # JSON is YAML
        words.insert(1, str(file))
    return words


def record_of(sampler: str, out: Path) -> Path:
    """Return the run without early stopping whose curves `lose_at_most` goes by."""
    return out.parent / f"{sampler}-none" / "search"


def events_of(run: Path, *kinds: str) -> list[dict[str, Any]]:
    return [event for event in read_lines(Folder.at(run), "events.jsonl") if event["event"] in kinds]


def curves_of(record: RunRecord) -> dict[str, list[dict[str, Any]]]:
    """Return the epochs of each trial without how long they took."""
    folder = record.folder / "trials"
    return {
        name: [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in read_lines(folder / name, "metrics.jsonl")
        ]
        for name in sorted(record.state.progress)
        if (folder / name).exists("metrics.jsonl")
    }


def summary(run: Path) -> dict[str, Any]:
    """Return what a run came to, without how long it took."""
    record = read_record(Folder.at(run))
    rungs = [
        (event["trial"], event["rung"], event["epoch"], event["accuracy"], event["cut"], event["stop"])
        for event in events_of(run, "rung")
    ]
    chosen = record.chosen_trial
    table = re.sub(r"\| +[\d.]+ \|( \w[^|]*\|)$", r"|\1", record.folder.read("README.md").decode(), flags=re.MULTILINE)
    return {
        "trials": list(record.state.progress),
        "proposals": [event["values"] for event in events_of(run, "proposed")],
        "setting": [{k: e[k] for k in ("mode", "grace_period", "why")} for e in events_of(run, "asha chosen")],
        "results": [
            {name: value for name, value in vars(one).items() if name not in NOT_NUMBERS} for one in record.results
        ],
        "epochs": curves_of(record),
        "rungs": sorted(rungs),
        "chosen": chosen.trial if chosen else None,
        "table": table.partition("\nCommand")[0],
    }


def faults_within(run: Path) -> Iterator[str]:
    """Yield what is wrong with a run that was continued, whatever it came to."""
    for event in ("finished", "stopped"):
        for trial, times in Counter(one["trial"] for one in events_of(run, event)).items():
            if times > 1:
                yield f"{trial} has {event} {times} times"
    over: set[str] = set()
    for event in events_of(run, "started", "finished", "stopped"):
        if event["event"] != "started":
            over.add(event["trial"])
        elif event["trial"] in over:
            yield f"{event['trial']} was started after its end"
    for (trial, rung), times in Counter((one["trial"], one["rung"]) for one in events_of(run, "rung")).items():
        if times > 1:
            yield f"{trial} was judged {times} times at the rung of epoch {rung}"
    for trial, rows in curves_of(read_record(Folder.at(run))).items():
        if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
            yield f"{trial} has the epochs {[row['epoch'] for row in rows]}"


def kept(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what a continued run has lost of what was there before."""
    for name in ("proposals", "setting"):
        if after[name][: len(before[name])] != before[name]:
            yield f"{name} have changed: {before[name]}, then {after[name]}"
    if missing := set(before["rungs"]) - set(after["rungs"]):
        yield f"decisions are gone: {sorted(missing)}"
    for trial, rows in before["epochs"].items():
        if after["epochs"].get(trial, [])[: len(rows)] != rows:
            yield f"epochs of {trial} have changed"


def same_on_ray(known: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Yield where a run on Ray differs from one with --local in what does not depend on who came first."""
    # what tpe proposes depends on which trials had ended; its first round does not
    sure = known["trials"][:4] if known["proposals"] else known["trials"]
    if found["trials"][: len(sure)] != sure:
        yield f"other trials than with --local: {found['trials']}"
    for trial, rows in found["epochs"].items():
        both = min(len(rows), len(known["epochs"].get(trial, [])))
        if rows[:both] != known["epochs"].get(trial, [])[:both]:
            yield f"epochs of {trial} differ from those with --local"


def tried(combination: str, out: Path, *, ray: bool) -> list[str]:
    """Interrupt one search twice; return what is not as it should be."""
    sampler, mode = combination.split("-")
    out.mkdir(parents=True, exist_ok=True)
    plain, hurt = out / combination, out / f"{combination}-{'ray' if ray else 'hurt'}"
    if mode == "lose_at_most" and not record_of(sampler, plain).exists():
        ended(forked([*words_of(f"{sampler}-none", out / f"{sampler}-none"), "--local"], out / "log"), run=plain)
    if not (plain / "search").exists():
        code = ended(forked([*words_of(combination, plain), "--local"], out / "log"), run=plain)
        if code != 0:
            return [f"{combination}: undisturbed, it ends with {code}"]
    known = summary(plain / "search")
    total = sum(map(len, known["epochs"].values()))
    words, start = words_of(combination, hurt), started if ray else forked
    words += ["--max-concurrent", "2"] if ray else ["--local"]
    run, log = hurt / "search", out / f"{combination}.log"
    faults: list[str] = []
    for by, share, expected in ((signal.SIGKILL, 1 / 3, -9), (signal.SIGINT, 2 / 3, 130)):
        code = ended(start(words, log), run=run, after=round(share * total), by=by)
        if code != expected:
            faults.append(f"{by.name}: it ends with {code}, not with {expected}")
        before = summary(run) if by == signal.SIGINT else None
    code = ended(start(words, log), run=run)
    found = summary(run)
    if code != 0:
        faults.append(f"continued, it ends with {code}")
    if before:
        faults += kept(before, found)
    faults += faults_within(run)
    if ray:
        faults += same_on_ray(known, found)
    else:
        faults += [f"{name} differ from those of the undisturbed run" for name in known if found[name] != known[name]]
    lines = len(events_of(run, "started"))
    if ended(start(words, log), run=run) != 0 or len(events_of(run, "started")) != lines or summary(run) != found:
        faults.append("the same command once more, after the end, changes the run")
    return [f"{combination}{' on Ray' if ray else ''}: {fault}" for fault in faults]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("combinations", nargs="*", metavar="SAMPLER-MODE")
    parser.add_argument("--ray", action="store_true", help="interrupt runs on Ray")
    options = parser.parse_intermixed_args()
    if unknown := {*options.combinations} - {*COMBINATIONS}:
        parser.error(f"{sorted(unknown)}; choose of {COMBINATIONS}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    # reports are written like all the rest, but need no charts here
    page.render = lambda *_, **__: "<!doctype html>"
    page.pictures = lambda *_, **__: {"Loss_Test": b"a picture"}
    found: dict[str, list[str]] = {}
    for combination in options.combinations or COMBINATIONS:
        found[combination] = tried(combination, options.out, ray=options.ray)
        sys.stderr.write(f"{combination}: {found[combination] or 'as it should be'}\n")
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
