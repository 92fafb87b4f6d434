"""What raytrain does on a GPU, in one script of 14 minutes: two trainings, epochs, compilers, peak memory.

python benchmarks/gpu.py --data data/cifar10           # one NVIDIA GPU; the same command goes on where it stopped
python benchmarks/gpu.py --tiny --output tiny.json     # does the script itself work? Tiny networks, also on a CPU

NOT RUN ON A GPU YET: none was at hand. The steps, in their order:

1. `raytrain train experiments/fast.yaml --local`: does it run, to which accuracy, in how many seconds?
2. The same of experiments/accurate.yaml.
3. An epoch of ResNet-18 and of ResNet-34, with batches of 128 and of 512, against the student's loop (epoch.py) on the
   same GPU. Ours computes in `precision: auto`, which is bf16 on GPUs that have it; his computes in PyTorch's fp32, and
   reads its images in two processes.
4. `compile: true`, and the same with CUDA graphs, against the loop as it is: ResNet-18 and fast.yaml.
5. Peak memory: of all epochs of 3 and 4, and of accurate.yaml.

Each step runs in a process of its own, and the record is written after each. A step that is in the record is not made
again, and one that failed comes last. A training that was cut off goes on from its checkpoint if its run folder is
still there. Ray is not needed. Where raytrain is not installed, set PYTHONPATH=. and start from the checkout.

Exit codes: 0 if all is measured, 2 if the data cannot be read or the record is of other settings, 3 without a GPU,
4 if steps failed, 8 if the time is over and steps are left.
"""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from comparison import Record, arguments
from gpu_steps import STEPS, Measured, Setting
from gpu_tables import comparisons_of, tables_of

from raytrain.data import load
from raytrain.errors import ExitCode, RaytrainError, counted
from raytrain.provenance.versions import describe_code
from raytrain.training.devices import choose_precision, device_name, local_device


def measured(name: str, setting: Setting) -> Measured | None:
    """Return what a step measures in a process of its own, or its "error"; None where its time was over."""
    words = ["--in-process", "--steps", name, "--data", setting.data, "--runs", str(setting.runs)]
    words += ["--pairs", str(setting.pairs), "--minutes", str(setting.seconds / 60), *(["--tiny"] * setting.tiny)]
    started = time.perf_counter()
    try:
        done = _run([sys.executable, __file__, *words], seconds=setting.seconds)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == ExitCode.OUT_OF_TIME:
        return None
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": describe_code()["git_commit"],
        "seconds of the step": time.perf_counter() - started,
    }
    if done.returncode:
        sys.stderr.write(done.stderr)
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return {"error": f"exit code {done.returncode}: {last[0]}", **about}
    return json.loads(done.stdout.splitlines()[-1]) | about


def _run(words: list[str], *, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command; whatever ends this early also ends all processes that the command has started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, said = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, said)


def options_of() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.set_defaults(pairs=2)
    parser.add_argument("--data", help="CIFAR-10's name or path; the digits with --tiny")
    parser.add_argument("--minutes", type=float, default=14.0, help="when to end; the same command goes on")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), help="only these")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the two trainings")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and data, to try the script; needs --output")
    parser.add_argument("--in-process", action="store_true", help="measure a step in this process and print it")
    options = parser.parse_args()
    if options.tiny and not options.in_process and not options.output:
        parser.error("--tiny needs --output: what it measures is no record")
    options.data = options.data or ("digits" if options.tiny else "cifar10")
    return options


def main() -> int:
    options = options_of()
    ends = time.monotonic() + 60 * options.minutes
    try:
        device = local_device()
        if device.type != "cuda" and not options.tiny:
            print(
                "There is no NVIDIA GPU here that PyTorch can use, so nothing was measured.\n"
                "Try the script itself with: python benchmarks/gpu.py --tiny --output tiny.json",
                file=sys.stderr,
            )
            return ExitCode.REFUSED
        if options.in_process:
            for name in options.steps:
                print(json.dumps(STEPS[name](_setting(options, ends))))
            return ExitCode.DONE
        load(options.data, image_size=32)  # once, for all: decoded images are kept
    except RaytrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    record = Record("gpu")
    path = options.output or record.usual_path
    about = {
        "device": device_name(device),
        "precision": choose_precision("auto", device),
        "data": Path(options.data).name,
        "pairs": options.pairs,
        "tiny": options.tiny,
    }
    before: dict[str, Any] = json.loads(path.read_text())["details"] if path.exists() else {"about": about, "steps": {}}
    if before["about"] != about:
        print(
            f"{path} is of {before['about']}, and this is {about}.\nMove it away, or name another file with --output.",
            file=sys.stderr,
        )
        return ExitCode.INVALID
    steps: dict[str, Measured] = before["steps"]
    asked = [name for name in options.steps if "error" in steps.get(name, {"error": "not tried"})]
    for name in sorted(asked, key=lambda name: name in steps):  # those that failed come last
        setting = _setting(options, ends)
        found = measured(name, setting) if setting.seconds > 0 else None
        if found is None:
            break
        print(f"{name}: {found}", flush=True)
        steps[name] = found
        done = {name: steps[name] for name in STEPS if name in steps}  # in their order
        record.rows = comparisons_of(done)
        record.details = {"about": about, "steps": done, "tables": tables_of(done)}
        record.write(path)
    left = [name for name in asked if name not in steps]
    failed = [name for name in options.steps if "error" in steps.get(name, {})]
    if failed:
        print(f"{counted(len(failed), 'step')} failed: {', '.join(failed)}", file=sys.stderr)
    if left:
        print(f"Time is over. The same command goes on with: {', '.join(left)}", file=sys.stderr)
    return ExitCode.OUT_OF_TIME if left else ExitCode.SOME_FAILED if failed else ExitCode.DONE


def _setting(options: argparse.Namespace, ends: float) -> Setting:
    return Setting(options.data, options.tiny, options.pairs, options.runs, ends - time.monotonic())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.TERMINATED))  # so that the step ends, too
    sys.exit(main())
