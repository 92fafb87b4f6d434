"""The network of airbench: its whitening layer, its groups, the whole of it, its sizes."""

import pytest
import torch
from torch.nn import functional as F

from raytrain.models.airbench import Airbench, Whitening
from raytrain.models.architectures import DataInitialised, airbench, forward_flops, resnet18


def images(count: int = 64, size: int = 16) -> torch.Tensor:
    """Draw images whose neighbouring pixels and channels are correlated, of mean 0, as photographs are."""
    noise = torch.randn(count, 3, size + 2, size + 2, generator=torch.Generator().manual_seed(0))
    smooth = F.avg_pool2d(noise, 3, stride=1)
    return smooth + 0.5 * smooth.mean(dim=1, keepdim=True)


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    layer, data = Whitening(), images()
    layer.init_from(data * 10)  # large beside the eps
    outputs = layer(data * 10).permute(1, 0, 2, 3).flatten(1)
    covariance = outputs[:12] @ outputs[:12].T / outputs.shape[1]
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.02, rtol=0)
    torch.testing.assert_close(outputs[12:], -outputs[:12])


def test_an_eps_holds_back_the_directions_that_have_little_variance():
    layer, data = Whitening(), images(4, size=8) * 0.02
    layer.init_from(data)
    corners = [(y, x) for y in range(7) for x in range(7)]
    patches = torch.stack([image[:, y : y + 2, x : x + 2].flatten() for image in data.double() for y, x in corners])
    variances = torch.linalg.svdvals(patches) ** 2 / len(patches)  # largest first
    assert variances[-1] < 5e-4 / 10
    assert variances[0] > 5e-4 / 2
    outputs = layer(data)[:, :12].double()
    torch.testing.assert_close(outputs.square().mean((0, 2, 3)), variances / (variances + 5e-4), rtol=1e-3, atol=0)


def test_the_filters_are_fixed_and_the_bias_learns():
    layer = Whitening()
    assert not layer.weight.requires_grad
    assert layer.bias is not None
    assert layer.bias.requires_grad
    assert layer.bias.abs().sum() == 0


def test_the_filters_depend_on_the_images_alone():
    one, other = Whitening(), Whitening()
    for layer in (one, other):
        layer.init_from(images())
    assert torch.equal(one.weight, other.weight)


def test_the_filters_of_many_images_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch):
    whole, parts = Whitening(), Whitening()
    whole.init_from(images())
    monkeypatch.setattr("raytrain.models.airbench.PIXELS_AT_ONCE", 7 * 16 * 16)
    parts.init_from(images())
    torch.testing.assert_close(parts.weight, whole.weight)


def test_the_network_is_initialised_from_data_and_a_resnet_is_not():
    assert isinstance(airbench(width=8), DataInitialised)
    assert not isinstance(resnet18(width=4), DataInitialised)


def test_convolutions_start_as_the_identity_of_their_inputs():
    network = airbench(width=8)
    assert isinstance(network, Airbench)
    for group in network.groups:
        for layer in (group.first, *group.others):
            inputs, outputs = layer.in_channels, layer.out_channels
            copied = min(inputs, outputs)
            x = torch.randn(1, inputs, 5, 5)
            torch.testing.assert_close(layer(x)[:, :copied], x[:, :copied])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_group_equals_its_definition(depth: int):
    torch.manual_seed(0)
    network = airbench(5, width=4, depth=depth).eval()
    group, x = network.groups[1], torch.randn(2, 4, 8, 8)
    first = F.gelu(group.first_norm(F.max_pool2d(F.conv2d(x, group.first.weight, padding=1), 2)))
    y = first
    for number, (layer, norm) in enumerate(zip(group.others, group.other_norms, strict=True)):
        y = norm(F.conv2d(y, layer.weight, padding=1))
        if depth >= 3 and number == depth - 2:
            y = y + first
        y = F.gelu(y)
    torch.testing.assert_close(group(x), y)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Return x times the probability that a standard normal number is below x."""
    return x * (1 + torch.erf(x / 2**0.5)) / 2


Statistics = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Mean and variance of each channel, by the name of the BatchNorm."""


def slow_forward(
    weights: dict[str, torch.Tensor], images: torch.Tensor, *, depth: int, running: Statistics | None = None
) -> tuple[torch.Tensor, Statistics]:
    """Return the logits of the published network, for images of 32 pixels, and what each BatchNorm has seen.

    BatchNorm normalises by `running`, or else by the batch. The variance of what it has seen is the unbiased one.
    """
    seen: Statistics = {}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        channels = x.transpose(0, 1).flatten(1)
        mean, variance = channels.mean(1), channels.var(1, correction=0)
        seen[name] = mean, channels.var(1, correction=1)
        if running:
            mean, variance = running[name]
        normalised = (channels - mean[:, None]) / (variance[:, None] + 1e-12).sqrt() + weights[f"{name}.bias"][:, None]
        return normalised.view(x.transpose(0, 1).shape).transpose(0, 1)

    x = gelu(F.conv2d(images, weights["whitening.weight"], weights["whitening.bias"]))
    for group in ("groups.0", "groups.1", "groups.2"):
        pooled = F.max_pool2d(F.conv2d(x, weights[f"{group}.first.weight"], padding=1), 2)
        x = shortcut = gelu(norm(pooled, f"{group}.first_norm"))
        for number in range(depth - 1):
            x = F.conv2d(x, weights[f"{group}.others.{number}.weight"], padding=1)
            x = norm(x, f"{group}.other_norms.{number}")
            x = gelu(x + shortcut if (depth, number) == (3, 1) else x)
    pooled = F.max_pool2d(x, 3)
    assert pooled.shape[2:] == (1, 1)
    return pooled.flatten(1) @ weights["head.weight"].T / 9, seen


@pytest.mark.parametrize("depth", [2, 3])
def test_the_whole_network_equals_a_slow_one_of_plain_operations(depth: int):
    torch.manual_seed(0)
    network, data = airbench(5, width=4, depth=depth).double(), images(8, size=32).double()
    assert isinstance(network, Airbench)
    network.init_from(data)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1 and parameter.requires_grad:
                parameter.uniform_(-0.5, 0.5)
        logits, seen = slow_forward(network.state_dict(), data, depth=depth)
        torch.testing.assert_close(network.train()(data), logits)
        running = {name: (0.4 * mean, 0.6 + 0.4 * variance) for name, (mean, variance) in seen.items()}
        logits, _ = slow_forward(network.state_dict(), data, depth=depth, running=running)
        torch.testing.assert_close(network.eval()(data), logits)


def test_batchnorm_learns_no_scale():
    network = airbench(width=4)
    scales = {
        name for name, parameter in network.named_parameters() if parameter.ndim == 1 and not parameter.requires_grad
    }
    assert scales
    assert all(name.endswith("norm.weight") or ".other_norms." in name for name in scales)


@pytest.mark.parametrize("size", [8, 15, 16, 24, 31, 32, 40])
def test_images_of_any_size_are_classified(size: int):
    assert airbench(7, width=4)(torch.randn(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "gflop"),
    [
        ({}, 0.236),
        ({"width": 128, "multiples": (1, 3, 3)}, 0.603),
        ({"width": 128, "multiples": (1, 3, 4), "depth": 3}, 0.904),
    ],
)
def test_its_arithmetic_is_that_of_the_published_networks(options: dict[str, object], gflop: float):
    with torch.device("meta"):
        network = airbench(10, **options)  # pyright: ignore[reportArgumentType]
    assert forward_flops(network, 32) / 1e9 == pytest.approx(gflop, abs=0.012)
