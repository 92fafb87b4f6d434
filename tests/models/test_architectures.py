"""Tests of raytrain.models.architectures against closed forms."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from raytrain.models import resnet
from raytrain.models.architectures import (
    ARCHITECTURES,
    WITHOUT_RESIDUAL_BLOCKS,
    ResidualBlock,
    forward_flops,
    parameter_count,
    resnet18,
    zero_init_residual,
)
from raytrain.models.resnet import BasicBlock, Bottleneck
from raytrain.training.choices import model_size
from raytrain.training.recipe import Recipe

DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
MILLIONS = {
    "resnet18": 11.17,
    "resnet34": 21.28,
    "resnet50": 23.52,
    "resnet101": 42.51,
    "resnet152": 58.16,
    "resnet9": 6.57,
    "airbench": 1.97,
}
GFLOP = {
    "resnet18": 1.11,
    "resnet34": 2.32,
    "resnet50": 2.60,
    "resnet101": 5.02,
    "resnet152": 7.44,
    "resnet9": 0.76,
    "airbench": 0.24,
}


def basic_block_parameters(depths, *, width, num_classes):
    """Count the parameters of a network of basic blocks on paper."""
    total = 27 * width + 2 * width
    for stage, depth in enumerate(depths):
        c = width * 2**stage
        total += depth * (18 * c**2 + 4 * c)
        if stage > 0:  # the first block has half the input channels, and a projection
            total += c**2 // 2 + 2 * c - 9 * c**2 // 2
    return total + (8 * width + 1) * num_classes


def bottleneck_parameters(depths, *, width, num_classes):
    """Count the parameters of a network of bottlenecks on paper."""
    total = 27 * width + 2 * width
    for stage, depth in enumerate(depths):
        c = width * 2**stage
        first_in = c if stage == 0 else 2 * c
        total += first_in * c + (depth - 1) * 4 * c**2  # the first 1x1 of each block
        total += depth * (9 * c**2 + 4 * c**2 + 12 * c)  # the other two, and three BatchNorms
        total += first_in * 4 * c + 8 * c  # the projection
    return total + (32 * width + 1) * num_classes


def resnet9_parameters(*, width, num_classes):
    """Count the parameters of ResNet-9 on paper."""
    w = width
    convolutions = 3 * w + w * 2 * w + 2 * (2 * w) ** 2 + 2 * w * 4 * w + 4 * w * 8 * w + 2 * (8 * w) ** 2
    norms = w + 3 * 2 * w + 4 * w + 3 * 8 * w
    return 9 * convolutions + 2 * norms + (8 * w + 1) * num_classes


def airbench_parameters(*, width, num_classes):
    """Count the trained parameters of airbench on paper: its first filters and its BatchNorms' scales are fixed."""
    first, second, third = width, 4 * width, 4 * width
    convolutions = 24 * first + first**2 + first * second + second**2 + second * third + third**2
    return 24 + 9 * convolutions + 2 * (first + second + third) + third * num_classes


def on_meta(name, **options):
    with torch.device("meta"):
        return ARCHITECTURES[name](**options)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_named_after_its_function(name):
    assert ARCHITECTURES[name].__name__ == name


@pytest.mark.parametrize(("width", "num_classes"), [(8, 10), (64, 10), (64, 100)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_parameter_count_is_that_of_the_closed_form(name, width, num_classes):
    if name == "resnet9":
        expected = resnet9_parameters(width=width, num_classes=num_classes)
    elif name == "airbench":
        expected = airbench_parameters(width=width, num_classes=num_classes)
    else:
        count = basic_block_parameters if name in ("resnet18", "resnet34") else bottleneck_parameters
        expected = count(DEPTHS[name], width=width, num_classes=num_classes)
    assert parameter_count(on_meta(name, num_classes=num_classes, width=width)) == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_parameter_count_for_ten_classes_rounds_to_the_documented_figure(name):
    assert round(parameter_count(on_meta(name)) / 1e6, 2) == MILLIONS[name]
    assert f"{MILLIONS[name]} M" in ARCHITECTURES[name].__doc__


def test_the_parameter_count_leaves_out_what_is_not_trained():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(requires_grad=False)
    assert parameter_count(layer) == 6


@pytest.mark.parametrize("size", [8, 9, 32])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_output_is_one_logit_per_class_for_any_image_size(name, size):
    model = ARCHITECTURES[name](7, width=4).eval()
    with torch.inference_mode():
        assert model(torch.randn(2, 3, size, size)).shape == (2, 7)


def shapes_after_stem_and_stages(name):
    model = on_meta(name, width=8)
    features = model.stem(torch.empty(1, 3, 32, 32, device="meta"))
    shapes = [tuple(features.shape[1:])]
    for stage in model.stages:
        features = stage(features)
        shapes.append(tuple(features.shape[1:]))
    return shapes


def test_the_stages_halve_the_map_three_times_and_double_the_channels():
    shapes = shapes_after_stem_and_stages("resnet18")
    assert shapes == [(8, 32, 32), (8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 4, 4)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    model = ARCHITECTURES[name](width=4)
    loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.arange(4))
    loss.backward()
    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    without = [key for key, parameter in trained.items() if parameter.grad is None]
    zero = [key for key, parameter in trained.items() if not parameter.grad.abs().sum() > 0]
    assert without == []
    assert zero == []


def test_the_stages_of_resnet9_halve_the_map_three_times():
    shapes = shapes_after_stem_and_stages("resnet9")
    assert shapes == [(8, 32, 32), (16, 16, 16), (16, 16, 16), (32, 8, 8), (64, 4, 4), (64, 4, 4)]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.startswith("resnet")])
def test_with_zero_initialised_residuals_a_block_is_its_shortcut(name):
    torch.manual_seed(0)
    model = ARCHITECTURES[name](width=4)
    zero_init_residual(model)
    blocks = [module for module in model.modules() if isinstance(module, BasicBlock | Bottleneck)]
    assert blocks
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 8, 8)
        assert torch.equal(block(x), block.shortcut(x).relu())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_known_which_networks_have_no_residual_blocks(name):
    blocks = [module for module in ARCHITECTURES[name](width=2).modules() if isinstance(module, ResidualBlock)]
    assert (name in WITHOUT_RESIDUAL_BLOCKS) == (not blocks)


class Doubling(nn.Module):
    """A residual block that raytrain does not know: x + scale * x."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def zero_init_residual(self) -> None:
        nn.init.zeros_(self.scale)


def test_zero_init_reaches_blocks_of_any_class_that_have_the_method():
    model = nn.Sequential(nn.Linear(2, 2), Doubling())
    zero_init_residual(model)
    assert model[1].scale.item() == 0


def test_zero_init_leaves_a_model_without_residual_blocks_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    zero_init_residual(model)
    assert (model[1].weight == 1).all()


def test_convolutions_start_from_the_normal_distribution_by_fan_out():
    torch.manual_seed(0)
    weight = ARCHITECTURES["resnet18"](width=16).stages[2][0].conv1.weight  # 32 -> 64, so fan-in is another
    expected = math.sqrt(2 / (9 * 64))
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    assert weight.mean().item() == pytest.approx(0, abs=expected / 20)
    beyond = (weight.abs() > 2 * expected).float().mean().item()
    assert beyond == pytest.approx(0.0455, abs=0.01)  # none of a uniform distribution is


def test_batch_norm_starts_with_weight_one_and_bias_zero():
    model = ARCHITECTURES["resnet50"](width=4)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
    assert len(norms) == 1 + 16 * 3 + 4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_forward_pass_of_a_32x32_image_costs_the_documented_flops(name):
    assert round(forward_flops(on_meta(name), 32) / 1e9, 2) == GFLOP[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [8, 24])
def test_flops_are_those_that_pytorch_counts(name, size):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        on_meta(name, width=4).eval()(torch.empty(1, 3, size, size, device="meta"))
    assert forward_flops(on_meta(name, width=4), size) == counter.get_total_flops()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_size_is_that_of_the_model_itself(arch: str):
    model = ARCHITECTURES[arch](7, width=4)
    size = model_size(Recipe(arch=arch, width=4), 7)
    assert (size.parameters, size.forward_flops) == (parameter_count(model), forward_flops(model, 32))


@pytest.mark.slow
def test_the_size_of_a_model_is_known_without_pytorchs_compiler():
    code = (
        "import sys; from raytrain.training.choices import model_size; "
        "from raytrain.training.recipe import Recipe; "
        "model_size(Recipe(), 10); assert 'torch' in sys.modules; assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_flops_of_one_convolution_are_two_per_multiply_add():
    layer = nn.Conv2d(3, 5, kernel_size=3, padding=1)
    assert forward_flops(layer, 16) == 2 * (16 * 16) * (3 * 3 * 3) * 5


@pytest.mark.parametrize("size", [8, 32])
def test_flops_are_the_same_on_the_cpu_and_leave_the_model_as_it_was(size):
    model = ARCHITECTURES["resnet18"](width=8).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    assert forward_flops(model, size) == forward_flops(on_meta("resnet18", width=8), size)
    assert model.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("width", [2, 4, 5, 7, 16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_narrow_network_trains_in_either_memory_order(width: int, layout: torch.memory_format) -> None:
    """On a CPU without AVX-512, PyTorch's strided 1x1 convolution of few channels damages memory (oneDNN 6035)."""
    model = resnet18(4, width=width).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    images = torch.rand(16, 3, 8, 8).contiguous(memory_format=layout)
    for _ in range(5):
        model(images).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("channels", [3, 8, 16])
def test_a_projection_is_a_strided_convolution(channels: int) -> None:
    projection = resnet._Projection(channels, 2 * channels, stride=2)
    images = torch.rand(2, channels, 7, 9)
    assert torch.equal(projection(images), nn.functional.conv2d(images, projection.weight, stride=2))
