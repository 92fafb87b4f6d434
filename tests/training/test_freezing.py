"""Tests of `freeze_epochs`, `backbone_lr_factor` and `layer_decay`, against loops written by hand."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

import raytrain
from raytrain.errors import ExperimentError
from raytrain.execution.initial import initial_contents
from raytrain.models.architectures import ARCHITECTURES
from raytrain.models.head import backbone_and_head, head_of
from raytrain.models.layers import layers_of
from raytrain.storage.folder import Folder
from raytrain.training import trial
from raytrain.training.inputs import training_inputs
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState
from raytrain.training.trial import TrialRun

CPU = torch.device("cpu")
RECIPE = Recipe(
    arch="resnet9", width=2, image_size=8, batch_size=16, lr=0.05, precision="fp32", epochs=3, schedule="constant"
)
FROZEN = RECIPE.replace(freeze_epochs=2)
HEAD = {"head.weight", "head.bias"}


def created(recipe: Recipe, data: Any) -> TrainState:
    return TrainState.create(recipe, num_classes=data.num_classes, device=CPU, data=data)


def copied(state: TrainState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_the_head_alone_changes_while_the_backbone_is_frozen_and_everything_afterwards(
    optimizer: str, make_data: Any
) -> None:
    data = make_data()
    state = created(FROZEN.replace(optimizer=optimizer), data)
    before = copied(state)
    seen = [changed(before, copied(state)) for _ in train(FROZEN.replace(optimizer=optimizer), state, data)]
    assert seen == [HEAD, HEAD, set(before)]  # running statistics of BatchNorm among them


def test_frozen_epochs_equal_a_loop_that_trains_the_head_on_fixed_features(make_data: Any) -> None:
    data = make_data()
    state = created(FROZEN, data)
    by_hand = created(RECIPE, data).model.eval()  # BatchNorm by its running statistics
    head = by_hand.get_submodule("head")
    assert isinstance(head, nn.Linear)
    velocity = {name: torch.zeros_like(one) for name, one in head.named_parameters()}
    for epoch in range(FROZEN.freeze_epochs):
        for images, labels in training_inputs(RECIPE, data, epoch=epoch):
            loss = F.cross_entropy(by_hand(images), labels)
            gradients = torch.autograd.grad(loss, list(head.parameters()))
            with torch.no_grad():
                for (name, one), gradient in zip(head.named_parameters(), gradients, strict=True):
                    decayed = gradient + (RECIPE.weight_decay * one if name == "weight" else 0)
                    velocity[name] = RECIPE.momentum * velocity[name] + decayed
                    one -= RECIPE.lr * velocity[name]
    list(itertools.islice(train(FROZEN, state, data), FROZEN.freeze_epochs))
    for name, one in head.named_parameters():
        torch.testing.assert_close(state.model.get_parameter(f"head.{name}"), one)


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_killed_trial_goes_on_bit_for_bit(
    killed_after: int, make_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", float("inf"))
    data, recipe = make_data(), FROZEN.replace(optimizer="adam", backbone_lr_factor=0.1, ema_decay=0.5)

    def run(name: str) -> TrialRun:
        return TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(tmp_path / name))

    straight = run("straight")
    *_, last = straight.reports()
    for _ in itertools.islice(run("killed").reports(), killed_after):
        pass
    resumed = run("killed")
    *_, again = resumed.reports(after=killed_after)
    for part in ("model", "ema"):
        assert changed(straight.state.state_dict()[part], resumed.state.state_dict()[part]) == set()
    assert dataclasses.replace(again.metrics, seconds=0) == dataclasses.replace(last.metrics, seconds=0)


def test_a_state_that_is_trained_on_in_the_middle_of_freezing_is_taken_in_again(make_data: Any) -> None:
    data = make_data()
    one, other = created(FROZEN, data), created(FROZEN, data)
    list(train(FROZEN, one, data))
    next(train(FROZEN, other, data))
    list(train(FROZEN, other, data))
    assert changed(copied(one), copied(other)) == set()


def test_what_a_network_never_trains_stays_fixed_after_freezing(make_data: Any) -> None:
    data, recipe = make_data(), FROZEN.replace(arch="airbench")
    state = created(recipe, data)
    fixed = {name for name, one in state.model.named_parameters() if not one.requires_grad}
    before = copied(state)
    list(train(recipe, state, data))
    assert fixed
    assert not fixed & changed(before, copied(state))


def test_the_backbone_takes_steps_of_its_own_size(make_data: Any) -> None:
    data = make_data()
    plain = RECIPE.replace(momentum=0.0, batch_size=48, epochs=1, bias_lr_factor=3.0)  # one step
    slow = plain.replace(backbone_lr_factor=0.25)
    start, steps = copied(created(plain, data)), []
    for recipe in (plain, slow):
        state = created(recipe, data)
        (metrics,) = train(recipe, state, data)
        assert metrics.lr == pytest.approx(plain.lr)
        steps.append({name: one.detach() - start[name] for name, one in state.model.named_parameters()})
    for name, step in steps[0].items():
        factor = 1.0 if name in HEAD else 0.25
        torch.testing.assert_close(steps[1][name], factor * step, rtol=1e-3, atol=1e-7)


RESNET9 = ["head", "stages.4", "stages.3", "stages.2", "stages.1", "stages.0", "stem"]
"""Layers of resnet9, from the head."""


def test_each_layer_takes_steps_smaller_than_those_of_the_layer_after_it(make_data: Any) -> None:
    data = make_data()
    plain = RECIPE.replace(momentum=0.0, batch_size=48, epochs=1, bias_lr_factor=3.0)  # one step
    start, steps = copied(created(plain, data)), []
    for recipe in (plain, plain.replace(layer_decay=0.5)):
        state = created(recipe, data)
        (metrics,) = train(recipe, state, data)
        assert metrics.lr == pytest.approx(plain.lr)
        steps.append({name: one.detach() - start[name] for name, one in state.model.named_parameters()})
    for name, step in steps[0].items():
        (number,) = [place for place, layer in enumerate(RESNET9) if name.startswith(f"{layer}.")]
        torch.testing.assert_close(steps[1][name], 0.5**number * step, rtol=1e-3, atol=1e-7)


class Transformer(nn.Module):
    """A network with the parts of a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 4))
        self.patches = nn.Conv2d(3, 4, 8)
        self.norm = nn.LayerNorm(4)
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(4, 2, 8) for _ in range(3)])
        self.head = nn.Linear(4, 5)


class Wrapper(nn.Module):
    """A network in a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Block(nn.Module):
    """A residual block; what it adds to may pass a convolution of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)])
        self.norm = nn.BatchNorm2d(4)
        self.downsample = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


class Separable(nn.Module):
    """A convolution of each channel, and one of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.of_channels = nn.Conv2d(4, 4, 3, groups=4)
        self.of_pixels = nn.Conv2d(4, 4, 1)


class Stage(nn.Module):
    """A stage, with a parameter and a convolution of its own, and its blocks in a container."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 4))
        self.downsample = nn.Conv2d(4, 4, 2)
        self.blocks = nn.Sequential(*blocks)


class NumberedStage(nn.Module):
    """A stage whose blocks are its attributes, as in a RegNet of timm."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        for number, block in enumerate(blocks):
            self.add_module(f"b{number}", block)


def staged(stage: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"stem": nn.Conv2d(3, 4, 1), "stage": stage, "head": nn.Linear(4, 5)})


WHOLE = [["stem"], ["stage"]]
"""Layers where the stage is a single one."""


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (
            staged(Stage(Block(), Block())),
            [["stem", "stage.positions"], ["stage.downsample"], ["stage.blocks.0"], ["stage.blocks.1"]],
        ),
        (staged(NumberedStage(Block(), Block())), [["stem"], ["stage.b0"], ["stage.b1"]]),
        (staged(Stage(Separable(), Separable())), WHOLE),
        (staged(Stage(Block(), nn.TransformerEncoderLayer(4, 2, 8))), WHOLE),
        (staged(Block()), WHOLE),
        (Transformer(), [["positions", "patches", "norm"], ["blocks.0"], ["blocks.1"], ["blocks.2"]]),
        (Wrapper(Transformer()), [["positions", "patches", "norm"], ["blocks.0"], ["blocks.1"], ["blocks.2"]]),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)), [["1", "2"]]),
    ],
    ids=["stage", "numbered", "separable", "mixed", "block", "transformer", "wrapped", "perceptron"],
)
def test_the_layers_are_the_parts_of_containers(network: nn.Module, layers: list[list[str]]) -> None:
    _, head = backbone_and_head(network, 5)
    names = {id(one): name.removeprefix("network.") for name, one in network.named_parameters()}
    found = [[names[id(one)] for one in layer] for layer in layers_of(network, head=head)]
    assert [set(layer) for layer in found] == [
        {name for name in names.values() if any(f"{name}.".startswith(f"{part}.") for part in parts)}
        for parts in layers
    ]


def layer_names(network: nn.Module) -> list[list[str]]:
    _, head = backbone_and_head(network, 5)
    names = {id(one): name for name, one in network.named_parameters()}
    return [[names[id(one)] for one in layer] for layer in layers_of(network, head=head)]


def test_each_block_in_the_encoder_of_a_vision_transformer_is_a_layer() -> None:
    network = VisionTransformer(16, 8, num_layers=3, num_heads=1, hidden_dim=4, mlp_dim=4, num_classes=5)
    first, *blocks = layer_names(network)
    assert set(first) == {"class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding"}
    found = [{one.split(".")[2] for one in block if not one.startswith("encoder.ln")} for block in blocks]
    assert found == [{f"encoder_layer_{number}"} for number in range(3)]


def test_each_block_in_a_stage_of_timm_is_a_layer() -> None:
    convnext = pytest.importorskip("timm.models.convnext")
    depths = (2, 3, 2, 2)
    network = convnext.ConvNeXt(num_classes=5, depths=depths, dims=(4, 4, 4, 4))
    found = [{one[:17] for one in layer if ".blocks." in one} for layer in layer_names(network)]
    expected: list[set[str]] = []
    for stage, depth in enumerate(depths):  # each begins with a convolution, which for the first is the stem
        expected += [set(), *({f"stages.{stage}.blocks.{one}"} for one in range(depth))]
    assert found == expected


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"backbone_lr_factor": 0.1}, "layer_decay: 0.5 and backbone_lr_factor: 0.1 both say how fast"),
        ({"optimizer": "muon"}, "layer_decay: 0.5 is for sgd, adam, adamw and .*given optimizer: muon"),
        ({"layer_decay": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_layer_decay_that_does_not_fit_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RECIPE.replace(**{"layer_decay": 0.5, **change})


@pytest.mark.parametrize(
    ("arch", "head"),
    [
        ("resnet18", HEAD),
        ("airbench", {"head.weight"}),
        ("torchvision:squeezenet1_1", {"classifier.1.weight", "classifier.1.bias"}),
        ("timm:test_resnet", {"fc.weight", "fc.bias"}),
        ("timm:test_vit", {"head.weight", "head.bias"}),
    ],
)
def test_the_head_is_the_layer_with_an_output_for_each_class(arch: str, head: set[str]) -> None:
    if arch.startswith("timm"):
        pytest.importorskip("timm")
    size = 160 if arch == "timm:test_vit" else 32
    network = Recipe(arch=arch, width=4, image_size=size).build_network(10)
    assert set(head_of(network, 10)) == head
    backbone, own = backbone_and_head(network, 10)
    assert len(own) == len(head)
    assert len(backbone) + len(own) == sum(one.requires_grad for one in network.parameters())


@pytest.mark.parametrize("change", [{"head_lr_factor": 10.0}, {"optimizer": "muon"}], ids=["factor", "muon"])
@pytest.mark.parametrize(
    ("arch", "weight"), [("torchvision:squeezenet1_1", "classifier.1.weight"), ("resnet9", "head.weight")]
)
def test_the_weights_of_the_head_are_a_group_of_their_own(arch: str, weight: str, change: dict[str, Any]) -> None:
    state = TrainState.create(RECIPE.replace(arch=arch, image_size=32, **change), num_classes=10, device=CPU)
    names = {id(one): name for name, one in state.model.named_parameters()}
    *_, head = state.optimizer.param_groups
    assert [names[id(one)] for one in head["params"]] == [weight]
    assert head["lr"] == pytest.approx(RECIPE.lr * change.get("head_lr_factor", 1.0))
    assert not head.get("hidden")  # Muon makes the steps of hidden layers orthogonal


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_head_of_a_network_of_raytrain_is_its_last_linear_layer(arch: str) -> None:
    network = Recipe(arch=arch, width=4, image_size=32).build_network(10)
    *_, (name, _) = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.Linear)]
    assert {one.rpartition(".")[0] for one in head_of(network, 10)} == {name}


def test_muon_takes_the_last_linear_layer_of_a_network_without_a_head_for_it(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(HEADLESS)
    arch = raytrain.code("net.py:Net", folder=tmp_path)
    state = TrainState.create(RECIPE.replace(arch=arch, optimizer="muon"), num_classes=4, device=CPU)
    *_, last = state.optimizer.param_groups
    assert [one.shape for one in last["params"]] == [(8, 3)]


def test_a_head_that_stands_first_in_the_file_is_found_too() -> None:
    network = nn.ModuleDict({"out": nn.Linear(8, 10), "body": nn.Linear(27, 8)})
    assert head_of(network, 10) == ["out.weight", "out.bias"]


HEADLESS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(3, 2 * num_classes)

    def forward(self, images):
        return self.layer(images.mean((2, 3))).unflatten(1, (-1, 2)).mean(2)
"""


@pytest.mark.parametrize(
    "change",
    [{"freeze_epochs": 1}, {"head_lr_factor": 3.0}, {"backbone_lr_factor": 0.1}, {"layer_decay": 0.5}],
    ids=["freeze", "head", "factor", "decay"],
)
def test_a_network_without_a_head_is_refused_before_anything_starts(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(HEADLESS)
    recipe = RECIPE.replace(arch=raytrain.code("net.py:Net", folder=tmp_path))
    assert initial_contents([(recipe, 4)], None) == {}
    with pytest.raises(ExperimentError, match=r"net.py:Net: .* need a head: .* with 4 outputs"):
        initial_contents([(recipe.replace(**change), 4)], None)


def test_more_frozen_epochs_than_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match="freeze_epochs: 4 is more than epochs: 3"):
        RECIPE.replace(freeze_epochs=4)
