"""Processes that die, hang or take too much memory while trials run: Ray's own, and those that train."""

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(720)]

Start = Callable[..., Any]  # of a Command, as conftest.py has it
Undisturbed = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("name", ["raylet/raylet", "gcs_server"])
def test_without_ray_a_run_ends_in_seconds_with_its_tables_and_goes_on(
    start: Start, undisturbed: Undisturbed, name: str
) -> None:
    command = start(lr=(0.05,), epochs=60)
    command.wait_until(lambda: command.epochs() >= 3)
    (process,) = [one for one in command.rays(name) if "log-monitor" not in " ".join(one.cmdline())]
    process.kill()
    assert command.end(seconds=120) == 6, command.stderr
    assert f"Ray is gone: its {name.split('/')[0]} has died" in command.stderr
    assert "The same command continues the run" in command.stderr
    assert "Traceback" not in command.stderr
    assert (command.folder / "README.md").exists()
    again = command.continued()
    assert again.exit_code == 0, again.output
    assert command.numbers() == undisturbed(lr=(0.05,), epochs=60)
    assert command.contiguous()


def test_a_trial_of_two_workers_survives_the_death_of_a_worker_and_then_that_of_its_controller(start: Start) -> None:
    command = start("--workers", "2", lr=(0.05,), epochs=20)
    for whose in ("TrainWorker", "TrainController"):
        known = command.epochs()
        # alive again, and training: what is killed next is not what the first death has ended anyway
        command.wait_until(lambda known=known: command.epochs() >= known + 3)
        command.rays(whose)[-1].kill()
    assert command.end() == 0, command.stderr
    (result,) = command.results()
    assert (result.status, result.epochs) == ("finished", 20)
    assert command.contiguous()


def test_a_worker_that_hangs_is_ended_and_its_trial_goes_on_to_the_same_numbers(
    start: Start, undisturbed: Undisturbed
) -> None:
    command = start("--trial-timeout", "5", lr=(0.05,), epochs=60)
    command.wait_until(lambda: command.epochs() >= 3)
    (worker,) = command.rays("ray::ImplicitFunc")
    worker.send_signal(signal.SIGSTOP)
    assert command.end() == 0, command.stderr
    assert "has made no progress for 5 s" in command.stderr
    hung = command.events("hung")  # once, or more often where the machine is so busy that 5 s pass without a step
    (result,) = command.results()
    assert ({one["trial"] for one in hung}, result.attempts) == ({result.trial}, 1 + len(hung))
    assert command.contiguous()
    assert command.numbers() == undisturbed(lr=(0.05,), epochs=60)


def test_a_trial_that_is_too_large_says_what_to_change_and_the_others_finish(start: Start) -> None:
    memory = psutil.virtual_memory()
    # Ray ends processes from there on: far from what the small trial and the tests beside this one take
    limit = (memory.total - memory.available + 8 * 2**30) / memory.total
    if limit > 0.9:
        pytest.skip(f"needs 8 GiB of free memory and has {memory.available / 2**30:.1f} GiB")
    command = start(
        "--max-concurrent",
        "1",
        lr=(0.05,),
        dataset="digits",
        image_size=64,  # the first layer alone has 10 GiB of values in a step of the large one
        val_size=0.1,
        epochs=1,
        include=[{"width": 256, "batch_size": 1293}],
        environment={"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "50"},
    )
    assert command.end() == 4, command.stderr
    large, small = sorted(command.results(), key=lambda result: -result.recipe["width"])
    assert small.status == "finished"
    assert large.status == "failed"
    assert large.error.startswith("out of memory: ")
    assert "try a smaller batch_size" in large.error
    assert large.attempts == 3
    assert large.error in command.stderr


def test_a_process_that_is_killed_again_and_again_is_given_up_and_the_others_finish(start: Start) -> None:
    command = start("--max-concurrent", "1", lr=(0.05, 0.01), epochs=60)
    for attempt in (1, 2, 3):
        command.wait_until(lambda attempt=attempt: len(command.events("started")) >= attempt)
        (worker,) = command.wait_until(lambda: command.rays("ray::ImplicitFunc"))
        os.kill(worker.pid, signal.SIGKILL)
        command.wait_until(lambda worker=worker: not worker.is_running())
    assert command.end() == 4, command.stderr
    failed, finished = sorted(command.results(), key=lambda result: result.status)
    assert (failed.status, failed.attempts, finished.status) == ("failed", 3, "finished")
    assert "its process died" in failed.error
    assert "it was started 3 times" in failed.error
