"""Two signals, the first in good order."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytrain.background import InThread, raise_swallowed
from raytrain.errors import ExperimentError, RayLostError
from raytrain.execution.backend import Work, open_backend
from raytrain.execution.interruption import Interruption, OutOfTime, Terminated, Woken, exit_code, wake_main_thread
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run as run_experiment
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import Report
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

SCRIPT = """
import os, signal, sys
from raytrain.execution import signals
from raytrain.execution.interruption import Interruption
signals.process.watching = {watching}
interruption = Interruption()
interruption.before_exit = lambda: print("at once", flush=True)
with interruption.handled():
    try:
        os.kill(os.getpid(), signal.{first})
    except KeyboardInterrupt as interrupt:
        print(type(interrupt).__name__, flush=True)
    if {second!r}:
        os.kill(os.getpid(), getattr(signal, {second!r}))
        print("not reached")
"""


def run(first: str, second: str | None, *, watching: bool = True) -> tuple[int, list[str]]:
    code = SCRIPT.format(first=first, second=second, watching=watching)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split("\n")[:-1]


def test_the_first_signal_is_an_exception_and_the_second_the_end() -> None:
    assert run("SIGINT", None) == (0, ["KeyboardInterrupt"])
    assert run("SIGTERM", None) == (0, ["Terminated"])
    assert run("SIGINT", "SIGINT") == (130, ["KeyboardInterrupt", "at once"])
    assert run("SIGINT", "SIGTERM") == (143, ["KeyboardInterrupt", "at once"])


def test_in_a_script_or_a_notebook_the_second_signal_is_an_exception_too() -> None:
    code, lines = run("SIGINT", "SIGINT", watching=False)
    assert (code, lines) == (-signal.SIGINT, ["KeyboardInterrupt", "at once"])


class Finalized:
    """What is interrupted in its finalizer, whose exceptions Python drops."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)


def drop(number: int) -> None:
    """Send a signal that Python drops, and wait for what comes."""
    Finalized(number)
    time.sleep(20)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_an_interrupt_that_python_drops_in_a_finalizer_is_raised_again(
    number: int, raised: type[KeyboardInterrupt]
) -> None:
    hook = sys.unraisablehook
    with pytest.raises(raised) as caught, Interruption().handled():
        drop(number)
    assert type(caught.value) is raised
    assert sys.unraisablehook is hook


def test_a_time_limit_that_python_drops_in_a_finalizer_still_ends_the_run() -> None:
    interruption = Interruption(limit_s=60)
    with pytest.raises(OutOfTime), interruption.handled(), interruption.limited():
        drop(signal.SIGALRM)


def test_a_time_limit_without_end_is_none() -> None:
    with Interruption(limit_s=math.inf).limited():
        pass


def test_an_interrupt_that_a_library_swallows_in_an_epoch_ends_the_run_after_the_epoch(
    tmp_path: Path, tiny_images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = RunJournal.reported

    def swallowing(journal: RunJournal, trial: str, report: Report) -> None:
        reported(journal, trial, report)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RunJournal, "reported", swallowing)
    recipe = Recipe(dataset=tiny_images, val_size=8, image_size=8, width=2, batch_size=16, epochs=3)
    outcome = run_experiment(Experiment(name="x", recipe=recipe), RunOptions(str(tmp_path), local=True))
    (result,) = outcome.record.results
    assert (outcome.exit_code, result.status, result.epochs) == (143, "unfinished", 1)
    raise_swallowed()  # nothing is left of it


def test_a_time_limit_that_a_library_swallows_is_raised_again_and_leaves_a_signal_its_effect() -> None:
    limited = Interruption(limit_s=0.05)
    with pytest.raises(OutOfTime), limited.handled(), limited.limited():
        swallow_the_limit(then=raise_swallowed)
    ended = Interruption(limit_s=0.05)
    with pytest.raises(Terminated), ended.handled(), ended.limited():
        swallow_the_limit(then=lambda: signal.raise_signal(signal.SIGTERM))


def swallow_the_limit(*, then: Callable[[], None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(20)
    then()


def test_a_signal_while_the_time_limit_ends_the_training_changes_nothing() -> None:
    """The twin of the one above: what is on its way, and not swallowed, is not disturbed."""
    interruption = Interruption(limit_s=0.05)

    def train() -> None:
        try:
            time.sleep(20)
        finally:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(OutOfTime), interruption.handled(), interruption.limited():
        train()


def test_a_signal_in_a_generator_that_the_time_limit_closes_does_not_interrupt_the_saving() -> None:
    interruption = Interruption(limit_s=0.05)

    def batches() -> Generator[int]:
        try:
            yield 0
        finally:
            signal.raise_signal(signal.SIGTERM)

    def train() -> None:
        for _ in batches():
            time.sleep(20)

    with interruption.handled():
        with pytest.raises(OutOfTime) as caught, interruption.limited():
            train()
        assert interruption.cause_of(caught.value) is caught.value
        time.sleep(0.3)  # the saving


def test_what_else_a_finalizer_raises_is_reported_as_before() -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    seen: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda args: seen.append(args.exc_value)
    try:
        with Interruption().handled():
            Broken()
    finally:
        sys.unraisablehook = before
    assert [str(one) for one in seen] == ["broken"]


def test_exit_codes_are_those_of_a_shell() -> None:
    assert (exit_code(KeyboardInterrupt()), exit_code(Terminated())) == (130, 143)
    assert exit_code(OutOfTime()) == 8


LIMITED = """
import signal, time
from raytrain.execution.interruption import Interruption
interruption = Interruption(limit_s={limit})
with interruption.handled():
    try:
        with interruption.limited():
            time.sleep(0.3)
            print("done", flush=True)
    except KeyboardInterrupt as interrupt:
        print(type(interrupt).__name__, flush=True)
    time.sleep(0.5)  # what comes after it is not interrupted
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    ("limit", "code", "said"),
    [
        (0.1, 0, ["OutOfTime"]),  # it is ending: a first Ctrl-C changes nothing
        (0.5, 0, ["done", "interrupted"]),
        (None, 0, ["done", "interrupted"]),
    ],
)
def test_a_time_limit_interrupts_once_and_only_what_it_is_for(limit: float | None, code: int, said: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (code, said)


def test_the_main_thread_is_woken_unless_it_is_being_interrupted() -> None:
    with Interruption().handled():
        with pytest.raises(Woken):
            wake_and_wait()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        wake_and_wait()  # on its way out already
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as plain:  # nobody handles it: as Ctrl-C
            wake_and_wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not isinstance(plain.value, Woken)


def wake_and_wait() -> None:
    thread = threading.Thread(target=wake_main_thread)
    thread.start()
    thread.join()
    time.sleep(0.1)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGUSR2, Woken)])
def test_what_arrived_is_known_although_a_library_raises_a_plain_one_in_its_stead(
    number: signal.Signals, kind: type[KeyboardInterrupt]
) -> None:
    interruption = Interruption()

    def wait_in_ray() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray's check_status does

    with pytest.raises(kind), interruption.handled():
        wait_in_ray()
    assert isinstance(interruption.cause_of(KeyboardInterrupt()), kind)


def test_handlers_are_put_back_and_other_threads_have_none() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            with Interruption().handled():
                pass
        except ValueError as error:  # what `signal.signal` raises there
            errors.append(error)

    with Interruption().handled():
        assert signal.getsignal(signal.SIGINT) != before[0]
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert errors == []


def test_somebody_else_may_take_a_signal_in_between() -> None:
    interruption = Interruption()
    with interruption.handled():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interruption.install()
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)


def test_a_ray_that_is_lost_while_no_trial_runs_is_said_and_is_no_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost:
        gpus = 0.0

        def why_lost(self) -> str:
            return "its raylet has died"

    @contextmanager
    def lost_backend(*_: object, **__: object) -> Generator[Lost]:
        yield Lost()

    monkeypatch.setitem(sys.modules, "raytrain.ray_backend.backend", SimpleNamespace(ray_backend=lost_backend))
    work = Work(Folder.at("runs/x"), trials=1, left=1)
    lost = pytest.raises(RayLostError, match="Ray is gone: its raylet has died")
    with lost as caught, open_backend(Experiment(name="x"), work, address=None, local=False):
        raise Woken
    assert caught.value.exit_code == 6


def test_a_time_limit_in_another_thread_than_the_main_one_is_refused() -> None:
    call = InThread(lambda: Interruption(limit_s=60))
    with pytest.raises(ExperimentError, match="a time limit of 60 s was given in another thread"):
        call.result()
    InThread(Interruption).result()
