"""Muon against PyTorch's, a singular value decomposition, and PyTorch's SGD."""

import copy

import pytest
import torch
from torch import nn

from raytrain.optim.muon import Muon, orthogonalised
from raytrain.optim.optimizers import OPTIMIZERS, parameter_groups

FORM = {"nesterov": True, "iterations": 5, "sgd_momentum": 0.9, "unit_filters": False}


def random_matrix(rows: int, columns: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_a_matrix_becomes_nearly_orthogonal_with_its_own_singular_vectors(shape: tuple[int, int]):
    matrix = random_matrix(*shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalised(matrix, iterations=5) @ right.T
    values = inner.diagonal()
    assert ((values > 0.6) & (values < 1.3)).all()
    torch.testing.assert_close(inner, torch.diag(values), atol=1e-4, rtol=0)


def test_a_matrix_of_zeros_stays_one():
    assert orthogonalised(torch.zeros(3, 4), iterations=3).abs().sum() == 0


@pytest.mark.parametrize(("nesterov", "weight_decay"), [(True, 0.0), (False, 0.1)])
def test_on_matrices_it_equals_pytorchs(nesterov: bool, weight_decay: float):
    start = random_matrix(6, 20)  # no more rows than columns: PyTorch scales the step of others
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    groups = [{"params": [ours], "weight_decay": weight_decay}]
    optimizer = Muon(groups, lr=0.1, momentum=0.7, **(FORM | {"nesterov": nesterov}))
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.7, nesterov=nesterov, weight_decay=weight_decay)
    for step in range(4):
        for parameter in (ours, theirs):
            parameter.grad = random_matrix(6, 20, seed=step + 1)
        optimizer.step()
        reference.step()
    # PyTorch iterates in bfloat16, which has 8 bits
    assert (ours - theirs).norm() < 0.03 * (theirs - start).norm()


def test_of_a_tall_matrix_the_step_is_shorter_than_pytorchs_by_the_root_of_rows_over_columns():
    start = random_matrix(20, 5)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimizer = Muon([{"params": [ours]}], lr=0.1, momentum=0.7, **FORM)
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.7, weight_decay=0.0)
    for parameter in (ours, theirs):
        parameter.grad = random_matrix(20, 5, seed=1)
    optimizer.step()
    reference.step()
    assert (2 * (ours - start) - (theirs - start)).norm() < 0.03 * (theirs - start).norm()


def test_filters_are_matrices_and_the_rest_is_sgd():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 2, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 5))
    twin = copy.deepcopy(model)
    start = copy.deepcopy(model.state_dict())
    groups = parameter_groups(model, lr=0.1, weight_decay=0.01, bias_lr_factor=0.5, head_lr_factor=2.0, head_apart=True)
    optimizer = OPTIMIZERS["muon"].build(groups, lr=0.1, momentum=0.6, nesterov=True)
    biases = [parameter for parameter in twin.parameters() if parameter.ndim == 1]
    sgd = torch.optim.SGD(
        [{"params": biases, "lr": 0.05}, {"params": [twin[3].weight], "lr": 0.2, "weight_decay": 0.01}],
        lr=1.0,
        momentum=0.9,
        nesterov=True,
    )
    images = torch.randn(6, 3, 4, 4)
    for net in (model, twin):
        net(images).square().mean().backward()
    gradient = model[0].weight.grad
    optimizer.step()
    sgd.step()
    for name in ("1.weight", "1.bias", "3.weight", "3.bias"):
        torch.testing.assert_close(model.get_parameter(name), twin.get_parameter(name))
    moved = start["0.weight"] * (1 - 0.1 * 0.01) - model[0].weight
    expected = orthogonalised((gradient * 1.6).flatten(1), iterations=5).view_as(moved) * 0.1
    torch.testing.assert_close(moved.detach(), expected)


def test_unit_filters_have_the_norm_of_their_rows_before_each_step():
    weight = nn.Parameter(3 * random_matrix(4, 9))
    optimizer = Muon([{"params": [weight]}], lr=0.5, momentum=0.0, **(FORM | {"unit_filters": True, "nesterov": False}))
    direction = weight.detach() / weight.detach().norm()
    weight.grad = random_matrix(4, 9, seed=1)
    optimizer.step()
    expected = 2 * direction - 0.5 * orthogonalised(random_matrix(4, 9, seed=1), iterations=5)
    torch.testing.assert_close(weight.detach(), expected)


def test_the_scale_of_a_layer_is_trained_by_sgd_and_given_no_norm():
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Flatten(), nn.Linear(4, 5))
    network.register_parameter("layer_scale", nn.Parameter(torch.full((4, 1, 1), 1e-6)))
    groups = parameter_groups(network, lr=0.1, weight_decay=0.5, head_apart=True)
    optimizer = OPTIMIZERS["muon"].build(groups, lr=0.1, momentum=0.6, nesterov=False, unit_filters=True)
    scale = network.get_parameter("layer_scale")
    scale.grad = torch.full((4, 1, 1), 2e-6)
    optimizer.step()
    torch.testing.assert_close(scale.detach(), torch.full((4, 1, 1), 0.8e-6), rtol=1e-5, atol=0)


def test_its_state_goes_on_where_it_was_saved():
    def stepped(parameter: nn.Parameter, optimizer: Muon, *seeds: int) -> None:
        for seed in seeds:
            parameter.grad = random_matrix(4, 9, seed=seed)
            optimizer.step()

    through, resumed = (nn.Parameter(random_matrix(4, 9)) for _ in range(2))
    whole, first, second = (Muon([{"params": [p]}], lr=0.1, momentum=0.9, **FORM) for p in (through, resumed, resumed))
    stepped(through, whole, 1, 2, 3)
    stepped(resumed, first, 1, 2)
    second.load_state_dict(first.state_dict())
    stepped(resumed, second, 3)
    assert torch.equal(through, resumed)
