"""Tests of what the callback of Tune does by itself; Ray is not started."""

import contextlib
import signal
from collections.abc import Callable

import pytest
from ray import cloudpickle

from raytrain.execution.interruption import Interruption, Terminated
from raytrain.experiment.duration.costs import Costs
from raytrain.ray_backend.recorder import Recorder
from raytrain.ray_backend.watchdog import Watchdog
from raytrain.runs.writing.journal import RunJournal


def test_an_interrupt_that_a_library_swallows_is_raised_when_tune_begins_its_next_step(
    open_run: Callable[..., RunJournal],
) -> None:
    recorder = Recorder(open_run(), None, Costs({}), Watchdog(timeout_s=60.0), workers=1)
    recorder.on_step_begin(0, [])

    def sweep() -> None:
        recorder.on_step_begin(1, [])
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        cloudpickle.dumps(recorder)  # as Tune does
        recorder.on_step_begin(2, [])

    with pytest.raises(Terminated), Interruption().handled():
        sweep()
    recorder.on_step_begin(3, [])  # nothing is left of it
