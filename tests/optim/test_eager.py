"""Optimizers without the compiler: the same numbers, and no import of it."""

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from raytrain.optim.eager import eager

KINDS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    (torch.optim.AdamW, {"lr": 0.01}),
]


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, *seeds: int) -> None:
    for seed in seeds:
        optimizer.zero_grad()
        images = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
        model(images).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_eager_optimizer_computes_what_pytorchs_does(kind: type[torch.optim.Optimizer], options: dict[str, Any]):
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    twin = copy.deepcopy(model)
    ours, theirs = eager(kind)(model.parameters(), **options), kind(twin.parameters(), **options)
    assert isinstance(ours, kind)
    for optimizer, net in ((ours, model), (theirs, twin)):
        steps(net, optimizer, 1, 2)
    again = eager(kind)(model.parameters(), **options)
    again.load_state_dict(copy.deepcopy(ours.state_dict()))
    steps(model, again, 3)
    steps(twin, theirs, 3)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), twin.parameters(), strict=True))
    assert again.state_dict().keys() == theirs.state_dict().keys()


OPTIMIZERS = ("sgd", "adam", "adamw", "muon")
TRAINED = f"""
import json, sys, torch
from raytrain.data.batches import DeviceImages
from raytrain.training.evaluation import TrainingData
from raytrain.training.loop import TrainState, train
from raytrain.training.recipe import Recipe
pixels = torch.arange(8 * 8 * 8 * 3).view(8, 8, 8, 3).mul(37).to(torch.uint8)
images = DeviceImages(pixels, torch.arange(8) % 2)
data = TrainingData(images, images, images, (0.5,) * 3, (0.25,) * 3, 2)
imported = {{}}
for optimizer in {OPTIMIZERS}:
    recipe = Recipe(width=2, image_size=8, batch_size=4, epochs=1, optimizer=optimizer, lr=0.01, ema_decay=0.9)
    state = TrainState.create(recipe, num_classes=2, device=torch.device("cpu"), data=data)
    next(train(recipe, state, data))
    state.load_state_dict(state.state_dict())
    before = sum(imported.values(), [])
    compiler = sys.modules.keys() & {{"torch._dynamo", "torch._inductor"}}
    imported[optimizer] = sorted(compiler - set(before))
print(json.dumps(imported))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """Return what each optimizer imported of the compiler: all train in one process, whose start takes the longest."""
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_trained_network_has_not_imported_the_compiler(optimizer: str, imported: dict[str, list[str]]):
    """Its import takes as long as all others of a process that trains."""
    assert imported[optimizer] == []
