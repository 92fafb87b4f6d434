"""Why a trial failed, in one line with what to do."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raytrain.errors import DataError
from raytrain.training.outcome import (
    OUT_OF_MEMORY,
    UNUSED,
    RankFailedError,
    described,
    described_death,
    outcome_of_ranks,
)
from raytrain.user_code.modules import imported
from raytrain.user_code.reference import Reference
from raytrain.user_code.source import read


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


FAILING = "class TooDark(Exception):\n    pass\n\n\ndef loss(logits, targets):\n    raise TooDark(f'of {logits}')\n"


def failed(rank: int, call: Callable[..., object]) -> RankFailedError:
    """Return what reaches another process of the error that a call raises."""
    try:
        call(rank, None)
    except Exception as error:  # noqa: BLE001 (as of a trial)
        return pickle.loads(pickle.dumps(RankFailedError.of(error)))
    raise AssertionError


def lost(rank: int, _: None) -> None:
    raise RuntimeError(f"Connection closed by peer of {rank}")


def test_where_ranks_fail_the_trial_failed_where_code_of_the_users_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FAILING)
    loss = imported(read(Reference("mine.py", "loss", None), folder=tmp_path))
    of_train = RuntimeError("Training failed due to worker errors:\n[Rank 0]")
    found = outcome_of_ranks(of_train, {0: failed(0, lost), 1: failed(1, loss)})
    assert found["error"] == "mine.py:6: TooDark: of 1"
    assert "raise TooDark" in found["details"]
    assert outcome_of_ranks(of_train, {1: failed(1, lost), 0: failed(0, lost)})["error"].endswith("peer of 0")


def test_where_a_rank_died_the_trial_failed_by_its_death() -> None:
    died = RuntimeError("Training failed due to worker errors:\n[Rank 1 Error Snippet]: it died")
    found = outcome_of_ranks(died, {0: failed(0, lost), 1: RuntimeError("it died")})
    assert found["error"].endswith("it died")
    assert outcome_of_ranks(ValueError("no controller"), {})["error"] == "ValueError: no controller"


class SometimesBoth(nn.Module):
    """A network with a layer that it leaves out where an image is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.bright = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.always(images)
        return self.bright(logits) if images.mean() > 0 else logits


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """Train a network a step on each batch under DistributedDataParallel, as one rank."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)

    def train(*_: object) -> None:
        model = DistributedDataParallel(SometimesBoth())
        for brightness in (1.0, -1.0, 1.0):
            model(torch.full((4, 3), brightness)).sum().backward()

    yield train
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_a_parameter_that_a_batch_does_not_use_is_said_in_a_sentence_of_ours(unused: Callable[..., object]) -> None:
    with pytest.raises(RuntimeError, match="unused parameter") as error:
        unused()
    assert described(error.value) == UNUSED
    assert "\n" not in UNUSED
    assert len(UNUSED) < 300


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_where_ranks_lose_the_one_that_waits_for_a_parameter_the_trial_failed_by_that(
    unused: Callable[..., object],
) -> None:
    of_train = RuntimeError("Training failed due to worker errors:\n[Rank 0]")
    assert outcome_of_ranks(of_train, {0: failed(0, lost), 1: failed(1, unused)})["error"] == UNUSED
