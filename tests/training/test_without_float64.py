"""Training and evaluation where a device has no float64, as Apple's GPUs: a CPU stands in that refuses it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raytrain.data import balance, batches
from raytrain.data.augmentation.resized_crop import random_resized_crop
from raytrain.training import evaluation, loop
from raytrain.training.evaluation import evaluate_views, predict
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

CPU = torch.device("cpu")
RECIPE = Recipe(
    width=2,
    image_size=8,
    batch_size=16,
    lr=0.05,
    precision="fp32",
    epochs=1,
    augment=("crop", "flip", "jitter"),
    class_weights="balanced",
    ema_decay=0.9,
)


class NoFloat64(TorchDispatchMode):
    """Refuses every operation that gives a number in float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(found)):
            raise TypeError(f"{func} gives float64")
        return found


def trained(recipe, data):
    state = TrainState.create(recipe, num_classes=data.num_classes, device=CPU, data=data)
    found = next(train(recipe, state, data))
    several = evaluate_views(state.model, data.test, data=data, precision="fp32", tta="shifts", below=0.4)
    return found, several, predict(state.model, data.test, data=data, precision="fp32")


@pytest.mark.parametrize("changes", [{}, {"mix": "cutmix"}, {"arch": "airbench", "class_weights": "none"}])
def test_an_epoch_and_its_evaluations_need_no_float64(changes, make_data, monkeypatch):
    recipe, data = RECIPE.replace(**changes), make_data(train=48, val=16, test=16)
    expected = trained(recipe, data)
    for module in (batches, balance, evaluation, loop):
        monkeypatch.setattr(module, "exact_dtype", lambda _: torch.float32)
    state = TrainState.create(recipe, num_classes=data.num_classes, device=CPU, data=data)  # airbench starts on the CPU
    with NoFloat64():
        found = next(train(recipe, state, data))
        several, _ = evaluate_views(state.model, data.test, data=data, precision="fp32", tta="shifts", below=0.4)
        _, predictions = predict(state.model, data.test, data=data, precision="fp32")
    assert (found.train_loss, found.val.loss) == pytest.approx((expected[0].train_loss, expected[0].val.loss), rel=1e-5)
    assert several.loss == pytest.approx(expected[1][0].loss, rel=1e-5)
    assert predictions.labels.tolist() == expected[2][1].labels.tolist()


def test_random_boxes_need_no_float64(monkeypatch):
    monkeypatch.setattr(batches, "exact_dtype", lambda _: torch.float32)
    images = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    with NoFloat64():
        assert random_resized_crop(images, generator=torch.Generator().manual_seed(0)).shape == images.shape


def test_a_cpu_in_its_place_sees_float64(make_data):
    data = make_data(train=48, val=16)
    state = TrainState.create(RECIPE, num_classes=data.num_classes, device=CPU, data=data)
    with NoFloat64(), pytest.raises(TypeError, match="gives float64"):
        next(train(RECIPE, state, data))
