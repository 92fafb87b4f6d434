"""Thousands of trials through the real runner: what grows with their number?

python benchmarks/many_trials.py --trials 10000           # trials that sleep; 200 are tried in a minute
python benchmarks/many_trials.py --trials 1000 --trained  # trials that train a tiny network for one epoch

Each trial is a sample of its own, so the table has as many rows as there are trials. A trial sleeps instead of
training, and reports an invented learning curve and invented predictions; everything else is real: Ray Tune, ASHA's
rule, which stops most of them, the run folder, the live table. Time per trial and memory of the driver are taken as the
sweep goes on. At its end come the live table, `raytrain results` as a command of its own, the report, and how long
Chromium takes to open it. With `--trained` the trials are real too, without ASHA, and the record is another one:
bench-many_trials_trained.json.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Record, arguments, seconds_of
from page_load import open_page
from ray import tune
from rich.console import Console

from raytrain.analysis.record import RunRecord
from raytrain.execution.inputs import described_inputs, load_splits
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.metrics.predictions import Predictions
from raytrain.provenance.manifest import Manifest
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.ray_backend.trial import EpochMessage, run_trial
from raytrain.ray_backend.tuner import run_trials
from raytrain.report.files import write_tables
from raytrain.report.live import REST, live_table
from raytrain.report.page import write_report
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.trial_id import trial_digest

FLAT = 1.2
"""The last tenth of the trials may take so many times as long as the second."""
MEMORY_FLAT = 1.1
"""The driver may have so many times as much memory at the end as after a tenth of the trials."""
LIMITS = {1_000: (0.1, 2.0), 10_000: (0.2, 5.0)}
"""Most seconds to draw the live table, and for `raytrain results`, by the number of trials up to which they hold."""
TEST_IMAGES = 360
"""Images that a trial that sleeps says to have been tested on; the digits have as many."""
OPENING = 3.0
"""Most seconds until the report answers in the browser."""
GRID = {"lr": {"loguniform": [1e-4, 1]}, "momentum": {"uniform": [0.5, 0.99]}}
SIMULATED: dict[str, Any] = {
    "recipe": {"dataset": "digits", "epochs": 4},
    "grid": GRID,
    "asha": {"grace_period": 1, "reduction_factor": 3},
}
TRAINED: dict[str, Any] = {
    "recipe": {"arch": "resnet9", "width": 2, "dataset": "digits", "image_size": 8, "epochs": 1, "batch_size": 64},
    "grid": GRID,
}


def sleeping(config: dict[str, Any], *, splits: Any, placement: Placement) -> None:
    """Report a learning curve of the trial's own instead of training it."""
    del splits, placement
    job = config["job"]
    epochs = job["recipe"]["epochs"]
    generator = np.random.default_rng(int(trial_digest(job["trial_id"]), 16))
    best, rate = generator.uniform(0.5, 0.95), generator.uniform(0.5, 2.0)
    for epoch in range(1, epochs + 1):
        time.sleep(0.01)
        accuracy = float(np.clip(best * (1 - np.exp(-rate * epoch)) + generator.normal(0, 0.005), 0, 1))
        seen = Evaluation(1 - accuracy, accuracy)
        metrics = EpochMetrics(epoch, seen.loss, seen.accuracy, seen, None, 0.1, 0.01)
        final = finished(epoch, seen, generator) if epoch == epochs else None
        reported = Report(metrics, final).as_dict()
        message: EpochMessage = {"kind": "epoch", "report": reported, "hosts": [platform.node()], "workers": 1}
        judged = {} if final else {"quality": metrics.quality("accuracy")}  # as `ray_backend.trial` reports it
        tune.report({"message": message, "epoch": epoch, **judged})


def finished(epoch: int, seen: Evaluation, generator: np.random.Generator) -> FinalMetrics:
    """Return what a trial measures at its end, with predictions of that accuracy."""
    labels = np.arange(TEST_IMAGES, dtype=np.int64) % 10
    predicted = np.where(generator.random(TEST_IMAGES) < seen.accuracy, labels, (labels + 1) % 10)
    predictions = Predictions(labels, predicted, generator.uniform(0.4, 1, TEST_IMAGES).astype(np.float32))
    test = Evaluation(seen.loss, predictions.accuracy)
    return FinalMetrics(epoch, seen, seen, test, "fp32", "none", predictions.to_bytes())


def limits(trials: int) -> tuple[float, float]:
    """Return the most seconds to draw the live table of so many trials, and to show their results."""
    return next((limit for most, limit in LIMITS.items() if trials <= most), LIMITS[max(LIMITS)])


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--trained", action="store_true", help="train a tiny network for one epoch in each trial")
    options = parser.parse_args()
    what = TRAINED if options.trained else SIMULATED
    experiment = Experiment.model_validate({"name": "many", **what, "samples": options.trials})
    record = Record("many_trials_trained" if options.trained else "many_trials")
    trials = experiment.trials()
    tenth = len(trials) // 10
    with (
        tempfile.TemporaryDirectory(prefix="raytrain-bench-") as out,
        Path(os.devnull).open("w") as nowhere,  # a file in memory would grow with each drawing
        ray_session(None),
    ):
        run = RunJournal.open(Folder.at(out) / "many", experiment, trials)
        run.begin({trial.id: 1 for trial in trials})
        memory: list[tuple[int, float]] = []
        drawn: list[float] = []
        screen = Console(file=nowhere, force_terminal=True, width=120, height=40)
        stop = threading.Event()

        def draw() -> None:
            screen.print(live_table(run.state, varied=list(GRID), rows=34, width=120, seconds=0.0))

        def watch() -> None:
            while not stop.wait(max(1.0, REST * drawn[-1] if drawn else 0.0)):
                ended = sum(progress.result is not None for progress in run.state.progress.values())
                memory.append((ended, resident_megabytes()))
                drawn.append(seconds_of(draw))

        watcher = threading.Thread(target=watch)
        watcher.start()
        placement = Placement(workers=1, cpus=1, gpus=0.0, concurrent=options.concurrent)
        train = run_trial if options.trained else sleeping
        splits = load_splits(trials)
        took = seconds_of(lambda: run_trials(run, splits, placement=placement, train=train))
        stop.set()
        watcher.join()
        run.close()
        inputs = [described_inputs(key, images) for key, images in splits.items()]
        Manifest.open(run.folder, data={}, inputs=inputs, seeds=(), fresh=False).begin_session()
        written = seconds_of(lambda: write_tables(RunRecord(run.folder, run.state)))
        folder = run.folder
        events = list(read_lines(folder, "events.jsonl"))
        ended = [event["time"] for event in events if event["event"] in ("finished", "stopped")]
        stopped = sum(event["event"] == "stopped" for event in events)
        judged = sum(event["event"] == "rung" for event in events)
        assert len(ended) == len(trials), "every trial ended"
        assert options.trained or (judged >= len(trials) and 0 < stopped < len(trials)), "ASHA judged, and stopped some"
        command = [sys.executable, "-m", "raytrain", "results", "many", "--out", out]
        shown: list[str] = []
        read = seconds_of(lambda: shown.extend(subprocess.check_output(command, text=True).splitlines()))
        missing = {trial_digest(trial.id) for trial in trials} - {word for line in shown for word in line.split()}
        assert not missing, "the table has a row for each trial"
        again = seconds_of(lambda: RunJournal.open(folder, experiment, trials))
        made = seconds_of(lambda: write_report(RunRecord(folder, run.state)))
        report_bytes = len(folder.read("report.html"))
        opened = open_page(Path(out) / "many" / "report.html")
        size = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
    at = [np.datetime64(time.removesuffix("+00:00")).astype("datetime64[ms]").astype(float) / 1000 for time in ended]
    # the first trials wait for processes that import PyTorch
    first, last = (at[2 * tenth] - at[tenth]) / tenth, (at[-1] - at[-tenth - 1]) / tenth
    grown = [megabytes for done, megabytes in memory if done > tenth]
    of = f" of {len(trials):,} that train" if options.trained else f" of {len(trials):,}"
    record.target(
        f"time per trial, last tenth{of} over the second",
        last / first,
        f"≤ {FLAT}",
        met=last <= FLAT * first,
    )
    record.target(
        f"driver memory at the end{of} over that after a tenth",
        grown[-1] / grown[0],
        f"≤ {MEMORY_FLAT}",
        met=grown[-1] <= MEMORY_FLAT * grown[0],
    )
    slowest = statistics.median(drawn[-10:])
    drawing, reading = limits(len(trials))
    record.target(f"s to draw the live table at the end{of}", slowest, f"≤ {drawing:g}", met=slowest <= drawing)
    record.target(f"s for raytrain results{of}", read, f"≤ {reading:g}", met=read <= reading)
    record.target(f"MB of report.html{of}", report_bytes / 1e6, "≤ 10", met=report_bytes <= 10e6)
    if opened:
        met = opened.answers_s <= OPENING
        record.target(f"s until the report answers in Chromium{of}", opened.answers_s, f"≤ {OPENING:g}", met=met)
    else:
        print("there is no Chromium with its driver and selenium: the report was not opened")
    record.details = {
        "trials": len(trials),
        "stopped by ASHA": stopped,
        "decisions of ASHA": judged,
        "seconds": took,
        "seconds per trial, second tenth": first,
        "seconds per trial, last tenth": last,
        "driver memory, MB, by trials ended": memory[:: max(1, len(memory) // 50)],
        "seconds to draw the live table, first ten and last ten": [statistics.median(drawn[:10]), slowest],
        "seconds to write the tables": written,
        "seconds to open the run again": again,
        "seconds to make report.html and its pictures": made,
        "seconds until the report shows its table in Chromium": opened and opened.shown_s,
        "seconds of processor time that the report takes in Chromium": opened and opened.busy_s,
        "rows of the report's table": opened and opened.rows - 1,
        "bytes of the run folder per trial": size / len(trials),
    }
    for name, value in record.details.items():
        if "memory" not in name:
            print(f"{name}: {value}")
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
