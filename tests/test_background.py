"""What is called in the background is called while the context lasts, and no longer."""

import os
import signal
import threading
import time

import pytest

from raytrain.background import InThread, repeating, undisturbed


def test_it_is_called_again_and_again_and_no_more_afterwards() -> None:
    calls: list[float] = []
    with repeating(lambda: calls.append(time.monotonic()), every=0.01):
        deadline = time.monotonic() + 5
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    count = len(calls)
    time.sleep(0.05)
    assert count == len(calls) >= 3


def test_an_error_in_the_context_ends_the_thread_too() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="mine"), repeating(lambda: None, every=0.01):
        raise ValueError("mine")
    assert threading.active_count() == before


def test_an_error_in_what_is_called_does_not_end_the_calls(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the store is away")

    with repeating(fail_once, every=0.01):
        deadline = time.monotonic() + 5
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert len(calls) >= 3
    assert "the store is away" in caplog.text


def test_an_error_in_another_thread_is_raised_where_its_end_is_waited_for() -> None:
    def fail() -> None:
        raise OSError("the store is away")

    call = InThread(fail)
    with pytest.raises(OSError, match="the store is away"):
        call.result()
    assert InThread(lambda: 7).result() == 7


def test_what_is_not_to_be_disturbed_is_done_whole_before_an_interrupt_is_raised() -> None:
    done: list[str] = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        done.append("all")

    with pytest.raises(KeyboardInterrupt):
        undisturbed(work)
    assert done == ["all"]


def test_what_was_interrupted_before_it_began_is_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[threading.Thread] = []
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        late.append(thread)
        raise KeyboardInterrupt

    done: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        undisturbed(lambda: done.append("all"))
    real(late[0])
    late[0].join()
    assert done == []


def test_the_error_or_the_value_of_what_is_not_to_be_disturbed_comes_back() -> None:
    def fail() -> None:
        raise OSError("the store is away")

    with pytest.raises(OSError, match="the store is away"):
        undisturbed(fail)
    assert undisturbed(lambda: 7) == 7
