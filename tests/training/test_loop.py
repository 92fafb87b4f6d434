"""Tests of raytrain.training.loop: resuming is exact, and an epoch is what a slow loop computes."""

import copy
import dataclasses
import itertools
import math
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from raytrain.data.augmentation import augment, mixing
from raytrain.data.batches import normalize, permutation
from raytrain.errors import DivergenceError
from raytrain.models.architectures import ARCHITECTURES
from raytrain.models.resnet import BasicBlock, ResNet
from raytrain.optim.lookahead import Lookahead, constant
from raytrain.optim.optimizers import OPTIMIZERS, OptimizerEntry
from raytrain.optim.schedules import SCHEDULES
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training import loop as loop_module
from raytrain.training import state as state_module
from raytrain.training.checkpoint import Checkpoint
from raytrain.training.evaluation import evaluate
from raytrain.training.inputs import training_inputs
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState, evaluated_weights

CPU = torch.device("cpu")
SMALL = {"width": 2, "image_size": 8, "batch_size": 16, "lr": 0.05, "precision": "fp32", "epochs": 5}

SHALLOW = {"arch": "resnet9"}
"""Half as many layers as resnet18, for what is the same of every network."""
RESUMED = {
    **{optimizer: {**SHALLOW, "optimizer": optimizer, "lr": 0.01} for optimizer in OPTIMIZERS},
    **{schedule: {**SHALLOW, "schedule": schedule} for schedule in SCHEDULES},
    "nesterov": {"nesterov": True},
    "bf16": {"precision": "bf16"},
    "fp16 with a loss scale": {"precision": "fp16"},
    "planes": {"channels_last": False},
    "augmented": {"augment": ["crop", "flip", "jitter"]},
    "mixed, not at the end": {"mix": "cutmix_or_mixup", "mix_off_epochs": 1, "mix_prob": 0.7},
    "moving average": {"ema_decay": 0.9},
    "slow weights": {"lookahead": "cubic"},
    "slow weights that move the same way": {"lookahead": {"constant": {"every": 4, "share": 0.8}}},
    "slow weights and all that changes a step": {
        "lookahead": {"cubic": {"every": 4}},
        "ema_decay": 0.9,
        "accumulate": 2,
        "precision": "fp16",
        "freeze_epochs": 1,
    },
    "warm-up across the interruption": {"warmup_epochs": 3.5},
    "bottlenecks": {"arch": "resnet50"},
    "initialised from images": {"arch": "airbench", "lr": 0.01},
    "sides of images by turns": {"augment": ["alternating_flip", {"cutout": 3}]},
    "larger images later": {"resolution": {0: 8, 0.5: 12}},
    "parts of a batch, clipped": {"accumulate": 3, "grad_clip": 0.1},
    "rates of their own": {"bias_lr_factor": 2.0, "head_lr_factor": 0.5, "decoupled_weight_decay": True},
    "all at once": {
        "augment": ["crop", "flip", "jitter"],
        "mix": "cutmix_or_mixup",
        "mix_off_epochs": 1,
        "ema_decay": 0.9,
        "warmup_epochs": 1.5,
        "label_smoothing": 0.1,
        "optimizer": "adamw",
        "lr": 0.01,
        "precision": "bf16",
        "track_test": True,
    },
}


def recipe_of(**changes):
    return Recipe(**{**SMALL, **changes})


def new_state(recipe, data):
    return TrainState.create(recipe, num_classes=data.num_classes, device=CPU, data=data)


def without_seconds(metrics):
    return dataclasses.replace(metrics, seconds=0.0)


def leaves(value, path=""):
    """Flatten nested dicts and lists to {path: leaf}."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {path: value}
    return {name: leaf for key, inner in items for name, leaf in leaves(inner, f"{path}/{key}").items()}


def differing(one, other):
    """Return the paths at which two nested states are not equal bit for bit."""
    left, right = leaves(one), leaves(other)
    assert left.keys() == right.keys()

    def equal(a, b):
        return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b

    return [path for path in left if not equal(left[path], right[path])]


def straight_and_resumed(recipe, data, folder, *, resumed_recipe=None):
    """Train to the end; and train 3 epochs, save to files, load into a new state and train the rest."""
    straight = new_state(recipe, data)
    expected = [without_seconds(metrics) for metrics in train(recipe, straight, data)]
    first = new_state(recipe, data)
    history = [without_seconds(metrics) for metrics in itertools.islice(train(recipe, first, data), 3)]
    checkpoint.save(folder, Checkpoint(first.epoch, first.state_dict(), None, []))
    saved = checkpoint.load(folder)
    recipe = resumed_recipe or recipe
    resumed = new_state(recipe, data)
    resumed.load_state_dict(saved.state)
    assert resumed.epoch == 3
    history += [without_seconds(metrics) for metrics in train(recipe, resumed, data)]
    return straight, expected, resumed, history


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_three_epochs_saved_loaded_and_two_more_equal_five_bit_for_bit(changes, make_data, tmp_path):
    recipe, data = recipe_of(**changes), make_data()
    straight, expected, resumed, history = straight_and_resumed(recipe, data, Folder.at(tmp_path))
    assert differing(straight.state_dict(), resumed.state_dict()) == []
    assert history == expected
    assert [metrics.epoch for metrics in history] == [1, 2, 3, 4, 5]


def test_a_schedule_that_returns_floats_of_numpy_leaves_a_checkpoint_that_can_be_loaded(
    make_data, tmp_path, monkeypatch
):
    monkeypatch.setitem(SCHEDULES, "numpy", lambda progress: 0.5 * (1 + np.cos(np.pi * progress)))
    data = make_data()
    straight, expected, resumed, history = straight_and_resumed(recipe_of(schedule="numpy"), data, Folder.at(tmp_path))
    assert differing(straight.state_dict(), resumed.state_dict()) == []
    assert history == expected


class Dropping(torch.nn.Dropout):
    """Dropout that keeps the masks it has drawn in training."""

    def __init__(self):
        super().__init__(0.5)
        self.masks = []

    def forward(self, features):
        if self.training:
            self.masks.append(F.dropout(torch.ones(4, 16), 0.5))
        return super().forward(features)


def with_dropout(recipe, data):
    """Return a new state whose network drops features before its head, and the layer that does so."""
    state, dropout = new_state(recipe, data), Dropping()
    state.model.head = torch.nn.Sequential(dropout, state.model.head)
    return state, dropout


def masks_of(recipe, data):
    state, dropout = with_dropout(recipe, data)
    list(train(recipe, state, data))
    return torch.stack(dropout.masks)


def test_a_network_with_dropout_resumes_bit_for_bit_whatever_else_has_drawn(make_data):
    recipe, data = recipe_of(epochs=2), make_data()
    straight, _ = with_dropout(recipe, data)
    expected = [without_seconds(metrics) for metrics in train(recipe, straight, data)]
    first, _ = with_dropout(recipe, data)
    history = [without_seconds(next(train(recipe, first, data)))]
    saved = copy.deepcopy(first.state_dict())
    torch.rand(7)
    resumed, _ = with_dropout(recipe, data)
    resumed.load_state_dict(saved)
    history += [without_seconds(metrics) for metrics in train(recipe, resumed, data)]
    assert history == expected
    assert differing(straight.state_dict(), resumed.state_dict()) == []


def test_masks_of_dropout_are_others_in_each_epoch_with_each_seed_and_on_each_rank(make_data, monkeypatch):
    recipe, data = recipe_of(epochs=2), make_data()
    first, second = masks_of(recipe, data).chunk(2)  # those of two epochs
    assert not torch.equal(first, second)
    assert torch.equal(masks_of(recipe, data), torch.cat([first, second]))
    assert not torch.equal(masks_of(recipe.replace(seed=1), data)[: len(first)], first)
    monkeypatch.setattr(loop_module, "rank_and_world_size", lambda: (1, 1))
    assert not torch.equal(masks_of(recipe, data)[: len(first)], first)


def test_comparison_of_states_sees_another_seed_after_resuming(make_data, tmp_path):
    recipe, data = recipe_of(), make_data()
    straight, expected, resumed, history = straight_and_resumed(
        recipe, data, Folder.at(tmp_path), resumed_recipe=recipe.replace(seed=1)
    )
    assert differing(straight.state_dict(), resumed.state_dict())
    assert history[:3] == expected[:3]
    assert history[3:] != expected[3:]


def test_comparison_of_states_covers_weights_buffers_optimizer_and_average(make_data):
    data = make_data()
    state = new_state(recipe_of(ema_decay=0.9), data)
    before = copy.deepcopy(state.state_dict())
    next(train(recipe_of(ema_decay=0.9), state, data))
    after = state.state_dict()
    assert {"/model/stem.0.weight", "/model/stem.1.running_var", "/step", "/epoch"} <= set(leaves(after))
    after["optimizer"] = before["optimizer"]  # its state is empty before the first step
    changed = set(differing(before, after))
    assert {"/model/stem.0.weight", "/model/stem.1.running_var", "/ema/module.stem.0.weight"} <= changed


def test_the_moving_average_keeps_integers_and_infinite_numbers():
    network = torch.nn.Linear(2, 2)
    network.register_buffer("index", torch.arange(169))
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = TrainState(network, optimizer, ema_decay=0.9, precision="fp32")
    for _ in range(4):
        state.ema.update_parameters(network)
    assert torch.equal(state.evaluated_model.get_buffer("index"), torch.arange(169))
    assert state.evaluated_model.get_buffer("mask").tolist() == [0, -torch.inf]


def slow_training(recipe, state, data, after_step=None):
    """Train by hand: a plain loop over torch.optim.SGD in float32; returns loss and accuracy of each epoch."""
    model = copy.deepcopy(state.model).to(memory_format=torch.contiguous_format)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others}],
        lr=1.0,
        momentum=recipe.momentum,
    )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
    images = (data.train.images.permute(0, 3, 1, 2).contiguous().float() / 255 - mean) / std
    steps = len(images) // recipe.batch_size
    epochs = []
    for epoch in range(recipe.epochs):
        order = permutation(len(images), seed=recipe.seed, epoch=epoch)
        losses, correct = [], 0
        for step in range(steps):
            progress = (epoch * steps + step) / (recipe.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))
            rows = order[step * recipe.batch_size :][: recipe.batch_size]
            logits = model.train()(images[rows])
            loss = F.cross_entropy(logits, data.train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if after_step:
                after_step(model, epoch * steps + step + 1)
            losses.append(loss.item())
            correct += sum(int(a == b) for a, b in zip(logits.argmax(1), data.train.labels[rows], strict=True))
        epochs.append((np.mean(losses), correct / (steps * recipe.batch_size)))
    return model, epochs


@pytest.mark.parametrize("channels_last", [True, False])
def test_an_epoch_equals_a_slow_plain_loop(channels_last, make_data):
    # at lr 0.05 a change of the mean by 1e-7 already grows to 1e-3 in the loss of the third epoch
    recipe = recipe_of(epochs=3, channels_last=channels_last, lr=0.01)
    data = make_data(train=50)  # 2 images are left over
    state = new_state(recipe, data)
    model, expected = slow_training(recipe, state, data)
    history = list(train(recipe, state, data))
    assert [metrics.train_loss for metrics in history] == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    assert [metrics.train_accuracy for metrics in history] == [accuracy for _, accuracy in expected]
    for name, tensor in state.model.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"weight_decay": 0.1}, {"momentum": 0.5}, {"label_smoothing": 0.1}])
def test_the_slow_loop_tells_another_recipe_apart(changes, make_data):
    recipe, data = recipe_of(epochs=2, lr=0.01), make_data()
    _, expected = slow_training(recipe, new_state(recipe, data), data)
    changed = recipe.replace(**changes)
    history = list(train(changed, new_state(changed, data), data))
    assert history[-1].train_loss != pytest.approx(expected[-1][0], rel=1e-5)


def test_lookahead_equals_a_slow_plain_loop(make_data):
    recipe, data = recipe_of(epochs=4, lr=0.01, lookahead={"cubic": {"every": 5, "decay": 0.9}}), make_data()
    state = new_state(recipe, data)
    slow = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}

    def after_step(model, step):
        if step % 5 == 0:
            share = 1 - 0.9**5 * (step / 12) ** 3
            slow.update({name: slow[name] + share * (one - slow[name]) for name, one in floats(model).items()})
            model.load_state_dict(slow, strict=True)

    def floats(model):
        return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}

    model, expected = slow_training(recipe, state, data, after_step)
    history = list(train(recipe, state, data))
    assert [metrics.train_loss for metrics in history] == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    found = floats(state.model)
    assert all(one.data_ptr() not in {tensor.data_ptr() for tensor in state.lookahead.slow} for one in found.values())
    for name, tensor in found.items():  # after 12 steps: the weights of step 10, which the network takes at the end
        torch.testing.assert_close(tensor, slow[name], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(model.head.weight, slow["head.weight"], rtol=1e-3, atol=1e-4)  # of step 12
    assert history[-1].val == evaluate(state.model, data.val, data=data, precision="fp32")


def test_the_network_is_evaluated_as_it_is_until_it_takes_the_slow_weights(make_data):
    recipe, data = recipe_of(epochs=3, lookahead="constant"), make_data()
    plain, ahead = new_state(recipe.replace(lookahead="none"), data), new_state(recipe, data)
    without = list(train(recipe.replace(lookahead="none"), plain, data))
    with_slow = list(train(recipe, ahead, data))
    assert without_seconds(with_slow[0]) == without_seconds(without[0])  # three steps: none is the fifth
    assert without_seconds(with_slow[1]) != without_seconds(without[1])


def test_labels_of_mixed_batches_are_not_smoothed_once_more(make_data):
    data = make_data()
    losses = []
    for smoothing in (0.0, 0.2):
        recipe = recipe_of(epochs=1, mix="mixup", mix_prob=1.0, label_smoothing=smoothing)
        losses.append(next(train(recipe, new_state(recipe, data), data)).train_loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_labels_of_mixed_batches_are_smoothed_if_the_recipe_says_so(loss, make_data):
    data = make_data(train=16)
    recipe = recipe_of(epochs=1, batch_size=16, mix="mixup", label_smoothing=0.2, mix_smoothing=True, loss=loss)
    state = new_state(recipe, data)
    ((images, shares),) = training_inputs(recipe, data, epoch=0)
    logits = copy.deepcopy(state.model).train()(images)
    smoothed = 0.8 * shares + 0.2 / shares.shape[1]
    if loss == "bce":
        expected = F.binary_cross_entropy_with_logits(logits, smoothed)
    else:
        expected = -(smoothed * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert next(train(recipe, state, data)).train_loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_recipe_can_start_its_residual_blocks_at_zero(make_data):
    for recipe in (recipe_of(zero_init_residual=False), recipe_of(zero_init_residual=True)):
        model = new_state(recipe, make_data()).model
        weights = [block.bn2.weight for block in model.modules() if isinstance(block, BasicBlock)]
        assert weights
        assert all((weight == (0 if recipe.zero_init_residual else 1)).all() for weight in weights)


@pytest.mark.parametrize(("given", "weight"), [(0.0, 0.1), (0.3, 0.3), (1.0, 1.0)])
def test_running_statistics_take_the_share_of_a_batch_that_the_recipe_gives(given: float, weight: float, make_data):
    model = new_state(recipe_of(arch="resnet18", bn_momentum=given), make_data()).model.train()
    convolution, norm = next((m[0], m[1]) for m in model.modules() if isinstance(m, torch.nn.Sequential) and len(m) > 1)
    images = torch.randn(8, 3, 16, 16)
    seen = convolution(images).detach()
    model(images)
    assert torch.allclose(norm.running_mean, weight * seen.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, 1 - weight + weight * seen.var((0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_close_to_fp32(precision, make_data):
    data = make_data()
    losses = []
    for name in ("fp32", precision):
        recipe = recipe_of(epochs=1, precision=name, lr=0.01)
        losses.append(next(train(recipe, new_state(recipe, data), data)).train_loss)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_losses_are_computed_in_fp32_from_the_logits(precision, make_data):
    # bf16 has 8 significant bits: a loss in bf16 is off by up to 0.2 %
    recipe, data = recipe_of(epochs=1, batch_size=48, precision=precision), make_data()
    state = new_state(recipe, data)
    logits = []
    state.model.register_forward_hook(lambda _module, _inputs, output: logits.append(output.detach()))
    metrics = next(train(recipe, state, data))
    assert [output.dtype for output in logits] == [torch.bfloat16 if precision == "bf16" else torch.float32] * 2
    trained_on = data.train.labels[permutation(48, seed=recipe.seed, epoch=0)]
    for loss, output, labels in zip(
        (metrics.train_loss, metrics.val.loss), logits, (trained_on, data.val.labels), strict=True
    ):
        assert loss == pytest.approx(F.cross_entropy(output.double(), labels).item(), rel=1e-5)


def test_fp16_scales_the_loss_and_the_others_do_not(make_data):
    data = make_data()
    assert new_state(recipe_of(precision="fp16"), data).scaler.is_enabled()
    assert not new_state(recipe_of(precision="bf16"), data).scaler.is_enabled()


class Overflowing(torch.nn.Module):
    """A linear layer whose gradients are infinite in the batches with the given numbers."""

    def __init__(self, *batches):
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.batches, self.seen = batches, 0

    def forward(self, images):
        logits = self.layer(images.mean(dim=(2, 3)))
        if self.training:
            if self.seen in self.batches:
                logits.register_hook(lambda gradient: gradient * float("inf"))
            self.seen += 1
        return logits


def test_a_batch_that_fp16_cannot_hold_changes_nothing_and_ends_nothing(make_data):
    data, recipe = make_data(), recipe_of(precision="fp16", ema_decay=0.9, batch_size=12, epochs=1)
    states = []
    for batches in [(), (1,)]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Overflowing(*batches)
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": recipe.lr}], lr=recipe.lr)
        states.append(TrainState(model, optimizer, ema_decay=recipe.ema_decay, precision="fp16"))
    plain, skipping = (next(train(recipe, state, data)) for state in states)
    assert (states[0].step, states[1].step) == (4, 3)
    assert states[1].ema.n_averaged == 3
    assert math.isfinite(skipping.train_loss)
    assert skipping.train_loss == pytest.approx(plain.train_loss, rel=0.2)  # of all batches
    assert states[1].scaler.get_scale() == states[0].scaler.get_scale() / 2
    assert plain.train_loss != skipping.train_loss


def test_slow_weights_do_not_count_a_batch_that_fp16_cannot_hold(make_data, monkeypatch):
    data, recipe = make_data(), recipe_of(precision="fp16", batch_size=12, epochs=1)
    followed = []
    follow = Lookahead.follow
    monkeypatch.setattr(Lookahead, "follow", lambda self, *args, **of: (followed.append(of), follow(self, *args, **of)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Overflowing(1)
    before = model.layer.weight.detach().clone()
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": recipe.lr}], lr=recipe.lr)
    state = TrainState(model, optimizer, ema_decay=0.0, precision="fp16", lookahead=constant(model, every=2))
    next(train(recipe, state, data))
    assert followed == [{"step": step, "total_steps": 4} for step in (1, 2, 3)]
    assert torch.equal(model.layer.weight, state.lookahead.slow[0])
    assert not torch.equal(model.layer.weight, before)


def test_a_trial_of_which_fp16_can_hold_no_batch_has_diverged(make_data):
    data, recipe = make_data(), recipe_of(precision="fp16", batch_size=12, epochs=20)
    model = Overflowing(*range(80))
    state = TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1), ema_decay=0.0, precision="fp16")
    with pytest.raises(DivergenceError):
        list(train(recipe, state, data))


def test_parts_of_a_batch_give_the_gradient_of_the_batch(make_data):
    """Without BatchNorm, which normalises by the part, the sum of the parts is the whole."""
    data = make_data()
    weights = []
    for accumulate in (1, 3, 16):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Overflowing()
        recipe = recipe_of(accumulate=accumulate, batch_size=16, label_smoothing=0.1, epochs=2)
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": recipe.lr}], lr=recipe.lr)
        state = TrainState(model, optimizer, ema_decay=0.0, precision="fp32")
        metrics = [dataclasses.replace(one, seconds=0.0) for one in train(recipe, state, data)]
        weights.append((model.layer.weight, metrics))
    for weight, metrics in weights[1:]:
        torch.testing.assert_close(weight, weights[0][0])
        assert [one.train_loss for one in metrics] == pytest.approx([one.train_loss for one in weights[0][1]])


def test_a_long_gradient_is_scaled_down_to_the_limit(make_data):
    data = make_data()
    moved = []
    for grad_clip in (0.0, 0.5):
        recipe = recipe_of(grad_clip=grad_clip, batch_size=48, epochs=1, momentum=0.0, weight_decay=0.0)
        state = new_state(recipe, data)
        before = torch.cat([parameter.detach().flatten().clone() for parameter in state.model.parameters()])
        next(train(recipe, state, data))
        after = torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])
        moved.append((before - after) / recipe.lr)
    assert moved[0].norm() > 0.5
    torch.testing.assert_close(moved[1], moved[0] * (0.5 / moved[0].norm()), atol=1e-5, rtol=1e-3)


def test_groups_learn_at_their_own_rates_and_decay_apart_from_them(make_data):
    recipe = recipe_of(bias_lr_factor=4.0, head_lr_factor=0.5, decoupled_weight_decay=True, weight_decay=0.01, lr=0.2)
    state = new_state(recipe, make_data())
    weights, biases, head = state.optimizer.param_groups
    assert [group["weight_decay"] for group in (weights, biases, head)] == pytest.approx([0.05, 0.0, 0.1])
    assert [id(parameter) for parameter in head["params"]] == [id(state.model.head.weight)]
    next(train(recipe, state, make_data()))
    assert [group["lr"] / weights["lr"] for group in (weights, biases, head)] == pytest.approx([1, 4, 0.5])


def groups_of_its_own(parameters, rates):
    every = [one for group in parameters for one in group["params"]]
    kinds = [one for one in every if one.ndim > 1], [one for one in every if one.ndim <= 1]
    return [{"params": kind, "lr": rate} for kind, rate in zip(kinds, rates, strict=True)]


def given_groups_at_other_rates(parameters, rates):
    return [{**group, "lr": rate} for group, rate in zip(parameters, rates, strict=True)]


@pytest.mark.parametrize("groups", [groups_of_its_own, given_groups_at_other_rates])
@pytest.mark.parametrize("rates", [(0.02, 3e-4), (0.0, 3e-4), (torch.tensor(0.02), torch.tensor(3e-4))], ids=str)
def test_groups_learn_at_the_rates_that_an_optimizer_gives_them(groups, rates, make_data, monkeypatch):
    def hybrid(parameters, *, lr, momentum, nesterov):
        return torch.optim.SGD(groups(parameters, rates), lr=lr, momentum=momentum, nesterov=nesterov)

    monkeypatch.setitem(OPTIMIZERS, "hybrid", OptimizerEntry(hybrid, moments=1))
    data = make_data()
    recipe = recipe_of(epochs=2, optimizer="hybrid", momentum=0.0, weight_decay=0.0, schedule="linear", lr=0.5)
    plain = recipe.replace(optimizer="sgd")
    state, by_hand = new_state(recipe, data), new_state(plain, data)
    by_hand.optimizer.param_groups[0].update(lr_factor=float(rates[0]) / 0.5)
    by_hand.optimizer.param_groups[1].update(lr_factor=float(rates[1]) / 0.5)
    start = copy.deepcopy(state.model.state_dict())
    (*_, metrics), _ = list(train(recipe, state, data)), list(train(plain, by_hand, data))
    assert metrics.lr == pytest.approx(0.5 / 6)  # the last of six steps
    for name, tensor in state.model.state_dict().items():
        torch.testing.assert_close(tensor, by_hand.model.state_dict()[name])
    moved = {name for name, one in state.model.named_parameters() if not torch.equal(one, start[name])}
    assert moved == {name for name, one in state.model.named_parameters() if one.ndim == 1 or float(rates[0])}


@pytest.mark.parametrize(("epoch", "size"), [(0, 12), (1, 12), (2, 16), (4, 16)])
def test_an_epoch_has_images_of_its_size(epoch, size, make_data):
    recipe = recipe_of(resolution={0: 12, 0.4: 16}, epochs=5)
    for inputs, _ in training_inputs(recipe, make_data(), epoch=epoch):
        assert inputs.shape[2:] == (size, size)
        assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_an_augmentation_is_given_what_it_asks_for(make_data, monkeypatch):
    seen = []

    def watch(images, *, index, epoch, seed, strength: int = 1):
        seen.append((index.tolist(), epoch, seed, strength))
        return images

    monkeypatch.setitem(augment.AUGMENTS, "watch", watch)
    data, recipe = make_data(), recipe_of(augment=[{"watch": 3}], seed=7)
    list(training_inputs(recipe, data, epoch=2))
    order = permutation(len(data.train), seed=7, epoch=2).tolist()
    assert seen == [(order[first : first + 16], 2, 7, 3) for first in range(0, 48, 16)]


def test_images_in_the_order_of_their_classes_are_taken_at_equal_distances(make_data, monkeypatch):
    monkeypatch.setattr(state_module, "INITIAL_IMAGES", 8)
    data = make_data()
    labels, order = data.train.labels.sort()
    images = data.train.images[order]
    for these, expected in [
        (dataclasses.replace(data.train, images=images, labels=labels), images[[0, 7, 13, 20, 27, 34, 40, 47]]),
        (dataclasses.replace(data.train, labels=torch.arange(48) % 4), data.train.images[:8]),
    ]:
        found = state_module._first_images(dataclasses.replace(data, train=these))
        pixels = normalize(expected.permute(0, 3, 1, 2), mean=data.mean, std=data.std)
        assert torch.equal(found, pixels)


def test_of_large_images_fewer_are_taken_and_at_least_one(make_data, monkeypatch):
    data = make_data()
    size = data.train.images.shape[1]
    for most, expected in [(10 * size**2 + 1, 10), (size**2 - 1, 1)]:
        monkeypatch.setattr(state_module, "INITIAL_PIXELS", most)
        assert state_module._first_images(data).shape == (expected, 3, size, size)


def test_the_weights_that_are_evaluated_are_those_of_the_average_where_there_is_one(make_data):
    data = make_data()
    for decay in (0.0, 0.5):
        recipe = recipe_of(ema_decay=decay)
        state = new_state(recipe, data)
        next(train(recipe, state, data))
        expected = state.evaluated_model.state_dict()
        found = evaluated_weights(copy.deepcopy(state.state_dict()))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_network_that_starts_from_images_needs_them(make_data):
    recipe, data = recipe_of(arch="airbench"), make_data()
    with pytest.raises(ValueError, match="airbench is initialised from training images"):
        TrainState.create(recipe, num_classes=4, device=CPU)
    states = [TrainState.create(recipe, num_classes=4, device=CPU, data=data) for _ in range(2)]
    assert states[0].model.whitening.weight.abs().sum() > 0
    assert differing(states[0].state_dict(), states[1].state_dict()) == []


def test_a_state_saved_in_bf16_goes_on_in_fp16(make_data):
    data, saved_as, recipe = make_data(), recipe_of(precision="bf16"), recipe_of(precision="fp16")
    before, after = new_state(saved_as, data), new_state(recipe, data)
    next(train(saved_as, before, data))
    after.load_state_dict(before.state_dict())
    assert next(train(recipe, after, data)).epoch == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # Inductor's own
def test_a_compiled_model_trains_as_the_plain_one_does(make_data, monkeypatch):
    from torch._inductor import config

    def shallow(num_classes, *, width):  # 8 blocks take 50 s to compile
        return ResNet(BasicBlock, (1, 0, 0, 0), num_classes=num_classes, width=width)

    monkeypatch.setitem(ARCHITECTURES, "resnet18", shallow)
    monkeypatch.setattr(config, "compile_threads", 1)  # here: processes of its own would each import PyTorch first
    data = make_data(train=32)
    histories = []
    for compiled in (False, True):
        recipe = recipe_of(epochs=1, compile=compiled)
        state = new_state(recipe, data)
        histories.append(next(train(recipe, state, data)))
        assert not any(name.startswith("_orig_mod") for name in state.state_dict()["model"])
    assert histories[1].train_loss == pytest.approx(histories[0].train_loss, rel=1e-3)
    assert histories[1].val.loss == pytest.approx(histories[0].val.loss, rel=1e-2)


def test_a_diverging_recipe_raises_with_its_epoch_and_does_not_count_it(make_data):
    recipe, data = recipe_of(lr=1e9, optimizer="sgd", schedule="constant"), make_data(train=16)
    state = new_state(recipe, data)
    done = []
    with pytest.raises(DivergenceError) as caught:
        done += [metrics.epoch for metrics in train(recipe, state, data)]
    assert caught.value.epoch == state.epoch + 1
    assert state.epoch < recipe.epochs


def test_divergence_names_the_epoch_in_which_the_loss_stopped_being_finite(make_data):
    recipe, data = recipe_of(), make_data()
    state = new_state(recipe, data)
    epochs = train(recipe, state, data)
    assert next(epochs).epoch == 1
    assert next(epochs).epoch == 2
    with torch.no_grad():
        state.model.head.bias.fill_(math.nan)
    with pytest.raises(DivergenceError) as caught:
        next(epochs)
    assert caught.value.epoch == 3
    assert state.epoch == 2


def test_a_validation_loss_that_is_not_finite_is_divergence(make_data, monkeypatch):
    recipe, data = recipe_of(), make_data()
    infinite = dataclasses.replace(evaluate(new_state(recipe, data).model, data.val, data=data, precision="fp32"))
    infinite = dataclasses.replace(infinite, loss=math.inf)
    monkeypatch.setattr(loop_module, "evaluate", lambda *_, **__: infinite)
    with pytest.raises(DivergenceError, match="the validation loss is not finite in epoch 1"):
        next(train(recipe, new_state(recipe, data), data))


def test_ranks_with_unequal_shares_of_a_batch_call_the_network_equally_often(make_data, monkeypatch):
    recipe, data = recipe_of(batch_size=15, accumulate=7, epochs=1, image_size=16), make_data(size=16)
    calls = []
    for rank in (0, 1):  # of 8 and of 7 images
        state = new_state(recipe, data)
        for module in ("loop", "inputs"):
            monkeypatch.setattr(f"raytrain.training.{module}.rank_and_world_size", lambda rank=rank: (rank, 2))
        sizes = []
        state.model.register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(len(inputs[0])))
        loop_module._train_epoch(recipe, state, state.model, data, None)
        calls.append(sizes)
    assert len(calls[0]) == len(calls[1])
    assert [sum(one) for one in calls] == [3 * 8, 3 * 7]


def test_the_global_generator_and_the_threads_stay_as_they_are(make_data):
    recipe = recipe_of(epochs=1, augment=["crop", "flip", "jitter"], mix="cutmix_or_mixup", ema_decay=0.9)
    data = make_data()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
    threads = torch.get_num_threads()
    list(train(recipe, new_state(recipe, data), data))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_creating_a_state_does_not_seed_accelerators(make_data, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    new_state(recipe_of(), make_data())
    assert seeded == []
    torch.manual_seed(torch.initial_seed())
    assert seeded  # this is how it would have shown


def test_initial_weights_depend_on_the_seed_alone(make_data):
    data = make_data()
    torch.manual_seed(11)
    one = new_state(recipe_of(seed=3), data)
    torch.manual_seed(12)
    same = new_state(recipe_of(seed=3, lr=0.5, optimizer="adam", augment=["crop"]), data)
    other = new_state(recipe_of(seed=4), data)
    assert differing(one.state_dict()["model"], same.state_dict()["model"]) == []
    assert "/head.weight" in differing(one.state_dict()["model"], other.state_dict()["model"])


def test_without_validation_images_there_are_no_validation_metrics(make_data):
    metrics = next(train(recipe_of(epochs=1), new_state(recipe_of(), data := make_data(val=0)), data))
    assert metrics.val is None
    assert metrics.test is None


def test_validation_and_tracked_test_metrics_are_those_of_the_weights_after_the_epoch(make_data):
    recipe, data = recipe_of(epochs=2, track_test=True), make_data()
    state = new_state(recipe, data)
    for metrics in train(recipe, state, data):
        assert metrics.val == evaluate(state.model, data.val, data=data, precision="fp32")
        assert metrics.test == evaluate(state.model, data.test, data=data, precision="fp32")


def test_tracking_the_test_set_changes_nothing_else(make_data):
    data = make_data()
    states = [new_state(recipe_of(), data), new_state(recipe_of(), data)]
    plain = next(train(recipe_of(), states[0], data))
    tracked = next(train(recipe_of(track_test=True), states[1], data))
    assert without_seconds(tracked) == without_seconds(dataclasses.replace(plain, test=tracked.test))
    assert differing(states[0].state_dict(), states[1].state_dict()) == []


def test_the_moving_average_is_what_is_evaluated(make_data):
    recipe, data = recipe_of(epochs=2, ema_decay=0.8), make_data()
    state = new_state(recipe, data)
    for metrics in train(recipe, state, data):
        assert metrics.val == evaluate(state.ema.module, data.val, data=data, precision="fp32")
        assert metrics.val != evaluate(state.model, data.val, data=data, precision="fp32")


def test_the_moving_average_equals_a_slow_one(make_data):
    recipe, data = recipe_of(epochs=5, ema_decay=0.7, batch_size=48), make_data(train=48)  # a step is an epoch
    state = new_state(recipe, data)
    slow = None
    for _ in train(recipe, state, data):
        weight = state.model.head.weight.detach().clone()
        slow = weight if slow is None else 0.7 * slow + 0.3 * weight
    torch.testing.assert_close(state.ema.module.head.weight.detach(), slow)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_reported_learning_rate_is_that_of_the_last_step(schedule, make_data):
    recipe, data = recipe_of(schedule=schedule, epochs=4, lr=0.2, batch_size=24), make_data(train=48)
    reported = [metrics.lr for metrics in train(recipe, new_state(recipe, data), data)]
    last_steps = [1, 3, 5, 7]
    assert reported == pytest.approx([0.2 * SCHEDULES[schedule](step / 8) for step in last_steps])


def test_warm_up_rises_linearly_to_the_peak(make_data):
    recipe, data = recipe_of(schedule="constant", warmup_epochs=2, epochs=3, lr=0.4, batch_size=24), make_data()
    reported = [metrics.lr for metrics in train(recipe, new_state(recipe, data), data)]
    assert reported == pytest.approx([0.2, 0.4, 0.4])  # 4 steps of warm-up, 2 an epoch


def test_batches_are_mixed_except_in_the_last_epochs(make_data, monkeypatch):
    recipe, data = recipe_of(mix="mixup", mix_off_epochs=2, epochs=4), make_data()
    state = new_state(recipe, data)
    mixed = []
    real = mixing.MIXES["mixup"]

    def recording(images, labels, **arguments):
        mixed.append(state.epoch)
        return real(images, labels, **arguments)

    monkeypatch.setitem(mixing.MIXES, "mixup", recording)
    list(train(recipe, state, data))
    assert mixed == [0, 0, 0, 1, 1, 1]  # 3 steps an epoch


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ({"mix_off_epochs": 1}, [0, 0, 0, 1, 1, 1]),
        ({"mix_off_epochs": 2}, [0, 0, 0]),
        ({"mix_off_epochs": 3}, []),
        ({"mix_prob": 0.0}, []),
        ({"mix": "none"}, []),
    ],
)
def test_the_ends_of_mix_prob_and_mix_off_epochs_mix_every_batch_or_none(changes, expected, make_data, monkeypatch):
    recipe, data = recipe_of(**{"mix": "mixup", "epochs": 3, **changes}), make_data()
    mixed = []
    monkeypatch.setitem(mixing.MIXES, "mixup", lambda images, labels, **_: (mixed.append(epoch), (images, labels))[1])
    for epoch in range(recipe.epochs):
        list(training_inputs(recipe, data, epoch=epoch))
    assert mixed == expected


@pytest.mark.parametrize(("drawn", "mixed"), [(0.0, False), (0.25, False), (0.249, True)])
def test_a_batch_is_mixed_when_the_number_drawn_is_below_mix_prob(drawn, mixed, make_data, monkeypatch):
    probability = 0.25 if drawn else 0.0
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(drawn))
    monkeypatch.setitem(mixing.MIXES, "mixup", lambda images, labels, **_: (images, F.one_hot(labels).float()))
    recipe = recipe_of(mix="mixup", mix_prob=probability)
    _, targets = next(training_inputs(recipe, make_data(), epoch=0))
    assert (targets.ndim == 2) == mixed


def test_every_seed_and_epoch_mixes_in_proportions_of_its_own(make_data):
    data, proportions = make_data(), []
    for seed, epoch in itertools.product(range(12), range(5)):
        batches = training_inputs(recipe_of(mix="mixup", seed=seed), data, epoch=epoch)
        # a target is one class, or two in the proportion of the batch
        proportions += [targets.max(dim=1).values.min().item() for _, targets in batches]
    assert len(set(proportions)) == len(proportions) == 12 * 5 * 3


def test_mix_prob_is_the_share_of_batches_that_are_mixed(make_data, monkeypatch):
    recipe, data = recipe_of(mix="mixup", mix_prob=0.25, epochs=3, batch_size=2), make_data(val=0)
    calls = []
    monkeypatch.setitem(mixing.MIXES, "mixup", lambda images, labels, **_: (calls.append(1), (images, labels))[1])
    list(train(recipe, new_state(recipe, data), data))
    assert 7 <= len(calls) <= 29  # of 72: 18 expected, 3 standard deviations of 3.7


def test_a_model_that_the_caller_left_in_evaluation_mode_is_trained_all_the_same(make_data):
    data = make_data()
    states = [new_state(recipe_of(), data), new_state(recipe_of(), data)]
    for state in states:
        epochs = train(recipe_of(), state, data)
        next(epochs)
        if state is states[1]:
            state.model.eval()
        next(epochs)
    assert differing(states[0].state_dict(), states[1].state_dict()) == []


def test_augmentations_are_applied_in_the_order_given(make_data, monkeypatch):
    order = []
    for name in ("crop", "flip"):
        monkeypatch.setitem(augment.AUGMENTS, name, lambda images, name=name, **_: (order.append(name), images)[1])
    data = make_data(train=16)
    next(train(recipe_of(augment=["flip", "crop"]), new_state(recipe_of(), data), data))
    assert order == ["flip", "crop"]


def test_ranks_send_each_other_only_what_is_on_the_device_of_the_model(monkeypatch):
    """NCCL, between GPUs, sends no tensor of the CPU."""
    sent = []
    monkeypatch.setattr(loop_module.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(loop_module.dist, "broadcast", lambda tensor, **_: sent.append(tensor))
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = TrainState(model, optimizer, ema_decay=0.5, precision="fp32", lookahead=constant(model))
    loop_module._share(state)
    assert {tensor.device.type for tensor in sent} == {"meta"}
    statistics = [*model.buffers(), *state.ema.module.buffers()]
    assert {id(tensor) for tensor in statistics} < {id(tensor) for tensor in sent}
