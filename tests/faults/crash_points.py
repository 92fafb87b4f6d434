"""Kill a run at every moment at which it writes, continue it, and print what differs from an undisturbed one.

python tests/faults/crash_points.py IMAGES OUT [--half] [--every N] [--without NAME] [--separate]

Runs are forked from this process, which has done one to its end, so that each takes a fraction of a second: the first
run of a process takes four times as long as the next. For that it must see no GPU, whose threads would not be forked.
A kill comes before a write, or with `--half` in the middle of it: half of the bytes are on the disk. `--without` takes
away one of the things that a continued run relies on, to see that its lack shows.
"""

import argparse
import itertools
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raytrain.analysis.record import read_record
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.report import page
from raytrain.runs.state import RunState
from raytrain.runs.writing import logs
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training import trial

NOT_NUMBERS = {"seconds", "attempts"}


def experiment_on(images: str, *, separate: bool) -> Experiment:
    recipe = {"dataset": images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 3}
    recipe["arch"] = "resnet9"  # half as many tensors to write as resnet18
    more: dict[str, Any] = {"asha": {"grace_period": 2}}
    if separate:  # a trial of one seed for each of the two, and two more seeds
        recipe["epochs"] = 1
        more = {"separate": {"points": 0.1, "max_seeds": 3}}
    return Experiment.model_validate({"name": "x", "recipe": recipe, "grid": {"lr": (0.05, 1e-9)}, **more})


def forked(work: Callable[[], object]) -> int:
    """Do something in a copy of this process; return its exit code, negative for a signal."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work()
        code = 0
    finally:
        os._exit(code)


def kill_at(point: int, *, half: bool) -> None:
    """Have this process killed when it writes for the `point`-th time, counted from 0."""
    count = 0
    write, append = Folder.write, Folder.append

    def killing(original: Callable[..., None], suffix: str) -> Callable[..., None]:
        def wrapped(self: Folder, name: str, content: bytes, **how: bool) -> None:
            nonlocal count
            if count == point:
                if half and self.local_path:
                    self.local_path.mkdir(parents=True, exist_ok=True)
                    with (self.local_path / f"{name}{suffix}").open("ab") as stream:
                        stream.write(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            original(self, name, content, **how)

        return wrapped

    Folder.write = killing(write, f".{os.getpid()}.part")
    Folder.append = killing(append, "")


def numbers(out: Path) -> dict[str, Any]:
    """Return what a run came to, without how long it took."""
    folder = Folder.at(out / "x")
    results = sorted(read_record(folder).results, key=lambda result: result.trial)
    epochs = {
        result.trial: [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in read_lines(folder / "trials" / result.trial, "metrics.jsonl")
        ]
        for result in results
    }
    table = re.sub(r"\| +[\d.]+ \|( \w[^|]*\|)$", r"|\1", folder.read("README.md").decode(), flags=re.MULTILINE)
    rungs = sorted(
        (event["trial"], event["rung"], event["accuracy"], event["cut"], event["stop"])
        for event in read_lines(folder, "events.jsonl")
        if event["event"] == "rung"
    )
    kept = [{name: value for name, value in vars(result).items() if name not in NOT_NUMBERS} for result in results]
    return {"results": kept, "epochs": epochs, "table": table.partition("\nCommand")[0], "rungs": rungs}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("out", type=Path)
    parser.add_argument("--half", action="store_true", help="kill in the middle of a write")
    parser.add_argument("--every", type=int, default=1, help="try every n-th moment only")
    parser.add_argument("--without", choices=["epochs_known", "mend_last_line"])
    parser.add_argument("--separate", action="store_true", help="add seeds until the two are told apart")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # reports are written like all the rest, but a hundred runs need not draw their charts
    page.render = lambda *_, **__: "<!doctype html>"
    page.pictures = lambda *_, **__: {"Loss_Test": b"a picture"}
    trial.CHECKPOINT_SHARE = float("inf")  # a checkpoint after every epoch, however short
    experiment = experiment_on(options.images, separate=options.separate)
    if options.without == "epochs_known":
        RunState.epochs_known = lambda self, trial_id, _rungs: self.progress[trial_id].epoch
    if options.without == "mend_last_line":
        logs.mend_last_line = lambda _folder, _name: None

    def whole(out: Path) -> None:
        run(experiment, RunOptions(out=str(out), local=True))

    def killed(out: Path, point: int) -> int:
        def work() -> None:
            kill_at(point, half=options.half)
            whole(out)

        return forked(work)

    whole(options.out / "undisturbed")
    assert threading.active_count() == 1, "threads are not forked"
    expected = numbers(options.out / "undisturbed")
    when = "in the middle of" if options.half else "before"
    differing: list[str] = []
    kills = 0
    for point in itertools.count(0, options.every):
        out = options.out / str(point)
        if killed(out, point) != -signal.SIGKILL:
            break  # the run has ended before it wrote so often
        kills += 1
        code = forked(partial(whole, out))
        try:
            found = numbers(out) if code == 0 else {"exit code": code}
        except Exception as error:  # noqa: BLE001 (damage is what is looked for)
            found = {"error": str(error)}
        differing += [f"killed {when} write {point}: {name}" for name in expected if found.get(name) != expected[name]]
    json.dump({"kills": kills, "differing": differing}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
