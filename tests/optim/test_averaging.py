"""Tests of raytrain.optim.averaging: against PyTorch's own average where that is defined."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raytrain.optim.averaging import MovingAverage, may_be_infinite

DECAYS = [0.1, 0.9]
"""PyTorch's lerp computes from the nearer end: there is one on each side of one half."""


def moved(network: nn.Module) -> None:
    """Train a step: the weights change, and BatchNorm's statistics."""
    images = torch.randn(8, 3, 5, 5)
    network.train()(images).square().mean().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * (parameter.grad if parameter.grad is not None else 0)
            parameter.grad = None


@pytest.mark.parametrize("decay", DECAYS)
def test_finite_numbers_are_averaged_bit_for_bit_as_by_pytorch(decay: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2))
    network.register_buffer("positions", torch.randn(5))
    network[3].bias.requires_grad_(False)
    ours = MovingAverage(network, decay=decay)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for _ in range(5):
        moved(network)
        network.get_buffer("positions").add_(torch.randn(5))
        network[3].bias.data.add_(torch.randn(2))
        for average in (ours, theirs):
            average.update_parameters(network)
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, tensor in ours.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor.view(torch.int32), expected[name].view(torch.int32)), name
    assert ours.n_averaged == 5


@pytest.mark.parametrize("decay", DECAYS)
def test_integers_are_copied_and_infinite_numbers_stay(decay: float) -> None:
    mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
    network = nn.Linear(2, 2)
    network.register_buffer("index", torch.arange(169))
    network.register_buffer("mask", mask.clone())
    network.register_parameter("fixed", nn.Parameter(mask.clone(), requires_grad=False))
    average = MovingAverage(network, decay=decay)
    for _ in range(4):
        average.update_parameters(network)
    for name, expected in {"index": torch.arange(169), "mask": mask, "fixed": mask}.items():
        assert torch.equal(getattr(average.module, name), expected), name
    network.get_buffer("index").add_(3)
    average.update_parameters(network)
    assert torch.equal(average.module.get_buffer("index"), torch.arange(169) + 3)


@pytest.mark.parametrize("decay", DECAYS)
def test_a_number_that_becomes_infinite_or_finite_is_the_networks(decay: float) -> None:
    network = nn.Linear(2, 2)
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    average = MovingAverage(network, decay=decay)
    average.update_parameters(network)
    network.get_buffer("mask").copy_(torch.tensor([-torch.inf, 0.5]))
    average.update_parameters(network)
    assert average.module.get_buffer("mask").tolist() == [-torch.inf, 0.5]


def test_weights_and_the_statistics_of_batchnorm_are_not_looked_at() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.register_buffer("mask", torch.zeros(2))
    network.register_buffer("index", torch.arange(2))
    assert may_be_infinite(network).count(True) == 1
    copied = copy.deepcopy(MovingAverage(network, decay=0.9))  # as every module can be
    copied.update_parameters(network)
