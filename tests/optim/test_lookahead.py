"""Tests of raytrain.optim.lookahead: against loops over plain numbers."""

import pytest
import torch
from torch import Tensor, nn

from raytrain.optim.lookahead import LOOKAHEADS, Lookahead, constant, cubic

DRIFT = 0.125
"""What each step of these tests adds to every number of a network."""


class Numbers(nn.Module):
    """A network of two numbers, one a weight and one a statistic, and of a count."""

    statistic: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("statistic", torch.tensor([-3.0]))
        self.register_buffer("count", torch.tensor(0))


def drift(network: nn.Module) -> None:
    """Add to every number, as training would."""
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor += DRIFT if tensor.is_floating_point() else 1


def slowly(start: float, *, steps: int, every: int, share_at: list[float]) -> tuple[float, float]:
    """Return the fast and the slow number after some steps by the paper's algorithm 1: slow += alpha (fast - slow)."""
    slow = fast = start
    for step in range(1, steps + 1):
        fast += DRIFT
        if step % every == 0:
            slow = slow + share_at[step] * (fast - slow)
            fast = slow
    return fast, slow


@pytest.mark.parametrize("steps", [4, 5, 9, 20, 23])
def test_constant_equals_the_algorithm_of_the_paper(steps: int) -> None:
    network = Numbers()
    lookahead = constant(network, every=5, share=0.8)
    for step in range(1, steps + 1):
        drift(network)
        lookahead.follow(network, step=step, total_steps=100)
    shares = [0.8] * (steps + 1)
    fast, slow = slowly(1.0, steps=steps, every=5, share_at=shares)
    statistic, slow_statistic = slowly(-3.0, steps=steps, every=5, share_at=shares)
    assert [network.weight.item(), network.statistic.item()] == pytest.approx([fast, statistic])
    assert [tensor.item() for tensor in lookahead.slow] == pytest.approx([slow, slow_statistic])
    assert network.count == steps


@pytest.mark.parametrize("every", [1, 3, 5])
def test_cubic_keeps_a_share_that_grows_with_the_cube_of_the_progress(every: int) -> None:
    network, total = Numbers(), 12
    lookahead = cubic(network, every=every, decay=0.9)
    for step in range(1, total + 1):
        drift(network)
        lookahead.follow(network, step=step, total_steps=total)
    kept = [0.9**every * (step / total) * (step / total) * (step / total) for step in range(total + 1)]
    fast, slow = slowly(1.0, steps=total, every=every, share_at=[1 - share for share in kept])
    assert network.weight.item() == pytest.approx(fast)
    lookahead.finish(network, step=total)
    assert network.weight.item() == pytest.approx(slow)
    assert network.statistic.item() == pytest.approx(slow - 4)


def test_the_defaults_are_those_of_the_sources() -> None:
    drifted = {}
    for name, kept_at_half in [("constant", 0.5), ("cubic", 0.95**5 / 8)]:
        network = Numbers()
        lookahead = LOOKAHEADS[name](network)
        assert isinstance(lookahead, Lookahead)
        drift(network)
        lookahead.follow(network, step=4, total_steps=10)
        assert network.weight.item() == 1 + DRIFT  # not due yet
        lookahead.follow(network, step=5, total_steps=10)
        drifted[name] = network.weight.item()
        assert drifted[name] == pytest.approx(1 + DRIFT * (1 - kept_at_half))
    assert drifted["constant"] != drifted["cubic"]


@pytest.mark.parametrize("share", [0.1, 0.9])  # PyTorch's lerp computes from the nearer end
def test_infinite_numbers_stay_and_integers_are_the_networks(share: float) -> None:
    network = nn.Linear(2, 2)
    mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
    network.register_buffer("mask", mask.clone())
    network.register_buffer("index", torch.arange(169))
    network.register_parameter("fixed", nn.Parameter(mask.clone(), requires_grad=False))
    lookahead = constant(network, every=1, share=share)
    for step in range(1, 4):
        lookahead.follow(network, step=step, total_steps=3)
    lookahead.finish(network, step=3)
    for name in ("mask", "fixed"):
        assert torch.equal(getattr(network, name), mask)
    assert torch.equal(network.get_buffer("index"), torch.arange(169))


def test_none_has_no_slow_weights() -> None:
    assert LOOKAHEADS["none"](Numbers()) is None


def test_a_network_keeps_its_weights_where_the_slow_ones_have_never_moved() -> None:
    network = Numbers()
    lookahead = constant(network)
    for step in range(1, 5):
        drift(network)
        lookahead.follow(network, step=step, total_steps=4)
    lookahead.finish(network, step=4)
    assert network.weight.item() == 1 + 4 * DRIFT


def test_a_weight_that_two_layers_share_moves_once() -> None:
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    second.weight = first.weight
    network = nn.Sequential(first, second)
    lookahead = constant(network, every=1, share=0.25)
    before = first.weight.item()
    with torch.no_grad():
        first.weight += 1
    lookahead.follow(network, step=1, total_steps=10)
    assert second.weight.item() == pytest.approx(before + 0.25)


def test_weights_keep_their_memory_order_and_their_gradients() -> None:
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    lookahead = constant(network, every=1)
    network(torch.zeros(1, 3, 5, 5)).sum().backward()
    lookahead.follow(network, step=1, total_steps=10)
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.weight.requires_grad
    assert network.weight.grad is not None
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in lookahead.slow)
