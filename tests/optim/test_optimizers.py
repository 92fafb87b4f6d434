"""Tests of raytrain.optim: optimizers against closed forms, schedules against PyTorch's schedulers."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from raytrain.models.architectures import ARCHITECTURES, resnet18
from raytrain.optim.optimizers import OPTIMIZERS, is_weight, parameter_groups
from raytrain.optim.schedules import SCHEDULES, learning_rate_factor, onecycle, triangle
from raytrain.training.recipe import Recipe

STEPS = 20


def factors(schedule, *, total_steps=STEPS, warmup_steps=0):
    return [
        learning_rate_factor(step, total_steps=total_steps, warmup_steps=warmup_steps, schedule=SCHEDULES[schedule])
        for step in range(total_steps)
    ]


def pytorch_factors(make_scheduler):
    """Record the learning rate of each step under one of PyTorch's schedulers, with a peak of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


PYTORCH = {
    "constant": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS),
    "multistep": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [STEPS // 2, STEPS * 3 // 4]),
    "linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS),
}


@pytest.mark.parametrize("schedule", PYTORCH)
def test_a_schedule_equals_pytorchs_at_every_step(schedule):
    assert factors(schedule) == pytest.approx(pytorch_factors(PYTORCH[schedule]), abs=1e-12)


def test_onecycle_equals_pytorchs_where_both_count_from_the_same_peak():
    # OneCycleLR rises over steps 0 .. 0.3 n - 1 and falls over the 0.7 n that follow
    peak = 0.3 * STEPS - 1
    steps = range(STEPS)
    progress = [0.3 * k / peak if k < peak else 0.3 + 0.7 * (k - peak) / (STEPS - 1 - peak) for k in steps]
    expected = pytorch_factors(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=STEPS))
    assert [onecycle(min(1.0, p)) for p in progress] == pytest.approx(expected, abs=1e-12)


def test_onecycle_falls_one_step_after_pytorchs():
    expected = pytorch_factors(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=STEPS))
    assert factors("onecycle")[6:] == pytest.approx(expected[5:-1], abs=1e-12)


def test_the_triangle_is_the_interpolation_that_airbench_takes_its_rates_from():
    progress = np.linspace(0, 1, 1001)
    expected = np.interp(progress, [0, 0.23, 1], [0.2, 1, 0.07])
    assert [triangle(each) for each in progress] == pytest.approx(expected, abs=1e-12)


def test_a_triangle_has_the_start_the_peak_and_the_end_that_are_given():
    progress = np.linspace(0, 1, 1001)
    expected = np.interp(progress, [0, 0.6, 1], [0.5, 1, 0])
    assert [triangle(each, start=0.5, peak=0.6, end=0) for each in progress] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_stays_between_zero_and_one(schedule):
    values = [SCHEDULES[schedule](i / 1000) for i in range(1001)]
    assert min(values) >= 0
    assert max(values) == pytest.approx(1)


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [
        ("constant", 1, 1),
        ("cosine", 1, 0),
        ("linear", 1, 0),
        ("multistep", 1, 0.01),
        ("onecycle", 1 / 25, 4e-6),
        ("triangle", 0.2, 0.07),
    ],
)
def test_a_schedule_has_its_documented_ends(schedule, start, end):
    assert SCHEDULES[schedule](0.0) == pytest.approx(start)
    assert SCHEDULES[schedule](1.0) == pytest.approx(end, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_rises_to_one_and_the_schedule_follows_from_its_start(schedule):
    values = factors(schedule, total_steps=STEPS + 4, warmup_steps=4)
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert values[4:] == factors(schedule)


def test_a_warm_up_may_be_the_whole_run():
    assert factors("cosine", total_steps=2, warmup_steps=2) == [0.5, 1.0]
    assert learning_rate_factor(2, total_steps=2, warmup_steps=2, schedule=SCHEDULES["cosine"]) == 0.0


def test_no_step_is_taken_with_a_learning_rate_of_zero():
    assert all(min(factors(schedule)) > 0 for schedule in SCHEDULES)


def test_weight_decay_is_on_matrices_and_kernels_only():
    model = resnet18(width=4)
    decayed, others = parameter_groups(model, lr=0.1, weight_decay=5e-4)
    kinds = {id(p): m for m in model.modules() for p in m.parameters(recurse=False)}
    assert decayed["weight_decay"] == 5e-4
    assert others["weight_decay"] == 0
    assert all(isinstance(kinds[id(p)], nn.Conv2d | nn.Linear) for p in decayed["params"])
    assert {p.ndim for p in others["params"]} == {1}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_that_has_two_dimensions_is_a_weight_in_the_networks_of_raytrain(arch):
    network = Recipe(arch=arch, width=4).build_network(10)
    assert all(is_weight(name, one) == (one.ndim > 1) for name, one in network.named_parameters())


class Attending(nn.Module):
    """Parameters of two dimensions or more of which only some are weights of layers."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 3, 4))
        self.layer_scale = nn.Parameter(torch.full((4, 1, 1), 1e-6))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.attention = nn.MultiheadAttention(4, 2)
        self.normalised = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))


@pytest.mark.parametrize("by_layers", [False, True])
def test_positions_scales_and_tables_are_no_weights(by_layers):
    model = Attending()
    layers = {"layer_decay": 0.5, "layers": [list(model.parameters())]} if by_layers else {}
    decayed, others = parameter_groups(model, lr=0.1, weight_decay=0.1, **layers)
    names = {id(one): name for name, one in model.named_parameters()}
    assert [group["weight_decay"] for group in (decayed, others)] == [0.1, 0.0]
    assert {names[id(one)] for one in decayed["params"]} == {
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "normalised.parametrizations.weight.original0",
        "normalised.parametrizations.weight.original1",
    }
    assert {names[id(one)] for one in others["params"] if one.ndim > 1} == {
        "positions",
        "layer_scale",
        "relative_position_bias_table",
    }


def test_parameter_groups_hold_every_parameter_once():
    model = resnet18(width=4)
    grouped = [id(p) for group in parameter_groups(model, lr=0.1, weight_decay=0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def one_step(name, *, weight_decay, momentum=0.0, nesterov=False, gradient=1.0):
    """Return where one step of an optimizer with lr 0.1 takes a 1x1 weight from 2."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    groups = parameter_groups(layer, lr=0.1, weight_decay=weight_decay)
    optimizer = OPTIMIZERS[name].build(groups, lr=0.1, momentum=momentum, nesterov=nesterov)
    layer.weight.grad = torch.full((1, 1), gradient)
    optimizer.step()
    return layer.weight.item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", 2 - 0.1 * (1 + 0.5 * 2)),  # decay in the gradient
        ("adam", 2 - 0.1),  # decay in the gradient, whose size Adam divides away
        ("adamw", 2 - 0.1 * 0.5 * 2 - 0.1),  # decay apart
    ],
)
def test_weight_decay_enters_each_optimizer_in_its_own_way(name, expected):
    assert one_step(name, weight_decay=0.5) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_without_weight_decay_does_not_decay(name):
    assert one_step(name, weight_decay=0.0, gradient=0.0) == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_decays_unless_its_groups_say_so(name):
    optimizer = OPTIMIZERS[name].build([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.0, nesterov=False)
    assert optimizer.param_groups[0]["weight_decay"] == 0


def test_nesterov_looks_one_momentum_ahead():
    # first step: velocity 1, and Nesterov's step is gradient + momentum * velocity
    assert one_step("sgd", weight_decay=0, momentum=0.9, nesterov=True) == pytest.approx(2 - 0.1 * 1.9)
    assert one_step("sgd", weight_decay=0, momentum=0.9) == pytest.approx(2 - 0.1)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_momentum_and_nesterov_have_no_effect_on_adam(name):
    with_momentum = one_step(name, weight_decay=0.1, momentum=0.9, nesterov=True)
    assert with_momentum == one_step(name, weight_decay=0.1)


def loads_torch(code, *, search_path=""):
    """Tell whether a new interpreter that runs `code` ends up with torch."""
    code += "; import sys; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(search_path), *sys.path])}
    return subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 1


def test_schedules_need_no_torch():
    assert not loads_torch("from raytrain.optim.schedules import SCHEDULES; SCHEDULES['cosine'](0.5)")


def test_the_check_for_torch_can_fail(tmp_path):
    (tmp_path / "torch.py").touch()  # the real one takes seconds
    assert loads_torch("import raytrain.optim.optimizers, torch", search_path=tmp_path)


def test_cosine_is_half_at_half_time():
    assert SCHEDULES["cosine"](0.5) == pytest.approx(0.5)
    assert SCHEDULES["cosine"](1 / 3) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_keeps_as_many_numbers_per_parameter_as_its_entry_says(name):
    weight = nn.Parameter(torch.ones(3, 5))
    optimizer = OPTIMIZERS[name].build([weight], lr=0.1, momentum=0.9, nesterov=False)
    weight.square().sum().backward()
    optimizer.step()
    kept = [value for value in optimizer.state[weight].values() if value.shape == weight.shape]
    assert len(kept) == OPTIMIZERS[name].moments
