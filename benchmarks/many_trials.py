"""Thousands of trials through the real runner: what grows with their number?

python benchmarks/many_trials.py --trials 10000           # trials that sleep
python benchmarks/many_trials.py --trials 1000 --trained  # trials that train a tiny network for one epoch

A trial sleeps instead of training, and reports an invented learning curve; everything else is real: Ray Tune, ASHA's
rule, the run folder, the live table. Time per trial and memory of the driver are taken as the sweep goes on; the cost
of drawing the live table, of reading the folder back and of making report.html at its end. With `--trained` the trials
are real too, without ASHA, and the record is another one: bench-many_trials_trained.json.
"""

import io
import platform
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Record, arguments, seconds_of
from ray import tune
from rich.console import Console

from raytrain.analysis.record import RunRecord
from raytrain.execution.inputs import described_inputs, load_splits
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.provenance.manifest import Manifest
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.ray_backend.trial import EpochMessage, run_trial
from raytrain.ray_backend.tuner import run_trials
from raytrain.report.files import write_tables
from raytrain.report.live import REST, live_table
from raytrain.report.page import write_report
from raytrain.runs.results import read_results
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

FLAT = 1.2
"""The last tenth of the trials may take so many times as long as the second."""
MEMORY_FLAT = 1.1
"""The driver may have so many times as much memory at the end as after a tenth of the trials."""
LIMITS = {1_000: (0.1, 2.0), 10_000: (0.2, 5.0)}
"""Most seconds to draw the live table, and to read the results back, by the number of trials up to which they hold."""
SIMULATED: dict[str, Any] = {
    "recipe": {"dataset": "digits", "epochs": 4},
    "asha": {"grace_period": 1, "reduction_factor": 3},
}
TRAINED: dict[str, Any] = {
    "recipe": {"arch": "resnet9", "width": 2, "dataset": "digits", "image_size": 8, "epochs": 1, "batch_size": 64}
}


def sleeping(config: dict[str, Any], *, splits: Any, placement: Placement) -> None:
    """Report a learning curve of the trial's own instead of training it."""
    del splits, placement
    job = config["job"]
    epochs = job["recipe"]["epochs"]
    generator = np.random.default_rng(job["recipe"]["seed"])
    best, rate = generator.uniform(0.5, 0.95), generator.uniform(0.5, 2.0)
    for epoch in range(1, epochs + 1):
        time.sleep(0.01)
        accuracy = best * (1 - np.exp(-rate * epoch)) + generator.normal(0, 0.005)
        seen = Evaluation(float(1 - accuracy), float(accuracy))
        metrics = EpochMetrics(epoch, seen.loss, seen.accuracy, seen, None, 0.1, 0.01)
        final = FinalMetrics(epoch, seen, seen, seen, "fp32", "none") if epoch == epochs else None
        reported = Report(metrics, final).as_dict()
        message: EpochMessage = {"kind": "epoch", "report": reported, "hosts": [platform.node()], "workers": 1}
        judged = {} if final else {"val_accuracy": seen.accuracy}
        tune.report({"message": message, "epoch": epoch, **judged})


def limits(trials: int) -> tuple[float, float]:
    """Return the most seconds to draw the live table of so many trials, and to read their results back."""
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
    experiment = Experiment.model_validate({"name": "many", **what, "seeds": list(range(options.trials))})
    record = Record("many_trials_trained" if options.trained else "many_trials")
    trials = experiment.trials()
    tenth = len(trials) // 10
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as out, ray_session(None):
        run = RunJournal.open(Folder.at(out) / "many", experiment, trials)
        run.begin({trial.id: 1 for trial in trials})
        memory: list[tuple[int, float]] = []
        drawn: list[float] = []
        screen = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
        stop = threading.Event()

        def draw() -> None:
            screen.print(live_table(run.state, varied=["seed"], rows=34, width=120, seconds=0.0))

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
        ended = [
            event["time"] for event in read_lines(folder, "events.jsonl") if event["event"] in ("finished", "stopped")
        ]
        assert len(ended) == len(trials), "every trial ended"
        read = seconds_of(lambda: read_results(folder))
        again = seconds_of(lambda: RunJournal.open(folder, experiment, trials))
        made = seconds_of(lambda: write_report(RunRecord(folder, run.state)))
        report_bytes = len(folder.read("report.html"))
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
    record.target(f"s to read the results back{of}", read, f"≤ {reading:g}", met=read <= reading)
    record.target(f"MB of report.html{of}", report_bytes / 1e6, "≤ 10", met=report_bytes <= 10e6)
    record.details = {
        "trials": len(trials),
        "seconds": took,
        "seconds per trial, second tenth": first,
        "seconds per trial, last tenth": last,
        "driver memory, MB, by trials ended": memory[:: max(1, len(memory) // 50)],
        "seconds to draw the live table, first ten and last ten": [statistics.median(drawn[:10]), slowest],
        "seconds to write the tables": written,
        "seconds to open the run again": again,
        "seconds to make report.html and its pictures": made,
        "bytes of the run folder per trial": size / len(trials),
    }
    for name, value in record.details.items():
        if "memory" not in name:
            print(f"{name}: {value}")
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
