"""Tests of raytrain.models.sync_batchnorm: what is replaced computes what it computed, and the rest is refused."""

import pytest
import torch
from torch import nn

from raytrain.errors import ModelError
from raytrain.models.sync_batchnorm import not_synchronisable, synchronised


class Doubled(nn.BatchNorm2d):
    def forward(self, input):
        return 2 * super().forward(input)


class Renamed(nn.BatchNorm2d):
    """A subclass that computes as its parent does."""


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_small_100", "resnet18"])
def test_layers_of_timm_keep_their_activations_names_and_numbers(name):
    timm = pytest.importorskip("timm")
    network = timm.create_model(name, num_classes=4)
    before = {one: tensor.clone() for one, tensor in network.state_dict().items()}
    activations = sum(isinstance(one, nn.SiLU | nn.Hardswish | nn.ReLU) for one in network.modules())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    logits = network.eval()(images)
    replaced = synchronised(network)
    norms = [one for one in replaced.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(one, nn.SyncBatchNorm) for one in norms)
    assert sum(isinstance(one, nn.SiLU | nn.Hardswish | nn.ReLU) for one in replaced.modules()) == activations > 0
    after = replaced.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[one], after[one]) for one in before)
    assert torch.allclose(replaced.eval()(images), logits, atol=1e-5)  # in evaluation it computes on a CPU too
    assert synchronised(replaced) is replaced


def test_a_layer_with_a_computation_of_its_own_is_refused_by_name():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Doubled(4))
    with pytest.raises(ModelError, match=r"layer 1, a Doubled: its forward is its own, so set sync_batchnorm: false"):
        synchronised(network)
    assert type(network[1]) is Doubled


def test_a_subclass_that_computes_as_its_parent_does_is_replaced():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Renamed(4))
    assert not_synchronisable(network) is None
    assert type(synchronised(network)[1]) is nn.SyncBatchNorm
