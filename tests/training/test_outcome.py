"""Why a trial failed, in one line with what to do."""

import pytest
import torch

from raytrain.errors import DataError
from raytrain.training.outcome import OUT_OF_MEMORY, described, described_death


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError(
            "Training failed due to worker errors:\n[Rank 0]:\nTraceback\ntorch.OutOfMemoryError: CUDA out of memory"
        ),
    ],
)
def test_what_was_too_large_says_what_to_make_smaller(error: Exception) -> None:
    said = described(error)
    assert said.startswith(f"{OUT_OF_MEMORY}: try a smaller batch_size")
    assert "\n" not in said


def test_a_real_allocation_that_fails_is_recognised() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert described(failed.value).startswith(OUT_OF_MEMORY)


def test_any_other_error_is_named_with_its_first_two_lines() -> None:
    assert described(ValueError("wrong\n\nbecause of this\nand that")) == "ValueError: wrong because of this"
    assert described(DataError("no")) == "DataError: no"
    assert len(described(ValueError("x" * 5000))) == 300


def test_a_death_is_told_apart_by_what_ray_says() -> None:
    low = "1 worker(s) were killed due to the node running low on memory. Memory on the node was 4.71GB used"
    assert described_death(low).startswith(OUT_OF_MEMORY)
    # Ray's list of common causes names the OOM killer for any death
    killed = "Worker unexpectedly exits with a connection error code 2. (1) the process was killed by the OOM killer"
    assert described_death(killed).startswith("its process died")
    assert described_death("").startswith("its process died")
    assert described_death("Failure # 1\nsomething else\n") == "something else"
