"""Tests of training on classes of unequal size: what is weighted, what is drawn, and what chooses the epoch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics
from torch import nn

from raytrain.data.batches import DeviceImages, normalize
from raytrain.metrics.epoch import EpochMetrics, Evaluation
from raytrain.storage.folder import Folder
from raytrain.training.evaluation import TrainingData, evaluate
from raytrain.training.inputs import training_inputs
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState
from raytrain.training.trial import TrialRun

CPU = torch.device("cpu")
BASE = Recipe(width=2, image_size=8, batch_size=12, lr=0.05, precision="fp32", epochs=1)


@pytest.fixture(scope="module")
def data(make_data: Any) -> TrainingData:
    """48 images of 4 classes, of which the first has 36 and the last 1."""
    whole = make_data(train=144)
    labels = whole.train.labels
    counts = (36, 8, 3, 1)
    rows = torch.cat([torch.where(labels == label)[0][:count] for label, count in enumerate(counts)])
    return replace(whole, train=DeviceImages(whole.train.images[rows], labels[rows]))


def weights_by_hand(recipe: Recipe, data: TrainingData) -> dict[str, torch.Tensor]:
    """Return the weights after an epoch, with PyTorch's own loss on each batch, in parts as `accumulate` says."""
    state = TrainState.create(recipe, num_classes=4, device=CPU)
    n_c = [36, 8, 3, 1]
    by_class = torch.tensor([48 / (4 * count) for count in n_c])
    criterion = nn.CrossEntropyLoss(weight=by_class, label_smoothing=recipe.label_smoothing)
    mixed = nn.CrossEntropyLoss(weight=by_class)
    state.model.train()
    for step, (inputs, targets) in enumerate(training_inputs(recipe, data, epoch=0)):
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.lr * (1 + np.cos(np.pi * step / 4)) / 2
        state.optimizer.zero_grad()
        # one mean over the batch, though the parts go through the network one after the other
        logits = torch.cat([state.model(part) for part in inputs.chunk(recipe.accumulate)])
        (criterion if targets.ndim == 1 else mixed)(logits, targets).backward()
        state.optimizer.step()
    return state.model.state_dict()


@pytest.mark.parametrize(
    "changes",
    [{}, {"label_smoothing": 0.2}, {"mix": "mixup"}, {"mix": "cutmix", "mix_prob": 0.5}, {"accumulate": 3}],
    ids=str,
)
def test_class_weights_train_as_pytorchs_weighted_loss_does(changes: dict[str, Any], data: TrainingData) -> None:
    recipe = BASE.replace(class_weights="balanced", **changes)
    state = TrainState.create(recipe, num_classes=4, device=CPU)
    list(train(recipe, state, data))
    for name, tensor in weights_by_hand(recipe, data).items():
        found = state.model.state_dict()[name]
        # the order of sums depends on the CPU and on the version of PyTorch
        torch.testing.assert_close(found, tensor, rtol=2e-3, atol=5e-4)


def test_the_validation_loss_is_not_weighted(data: TrainingData) -> None:
    recipe = BASE.replace(class_weights="balanced")
    state = TrainState.create(recipe, num_classes=4, device=CPU)
    (found,) = train(recipe, state, data)
    alone = evaluate(state.model, data.val, data=data, precision="fp32")
    assert found.val == alone


def test_the_balanced_sampler_shows_rare_classes_as_often_as_frequent_ones(data: TrainingData) -> None:
    seen: dict[str, torch.Tensor] = {}
    for sampler in ("shuffle", "balanced"):
        recipe = BASE.replace(sampler=sampler)
        epochs = [training_inputs(recipe, data, epoch=epoch) for epoch in range(50)]
        seen[sampler] = torch.cat([labels for epoch in epochs for _, labels in epoch]).bincount(minlength=4)
    assert seen["shuffle"].tolist() == [50 * count for count in (36, 8, 3, 1)]
    assert seen["balanced"].numpy() == pytest.approx(600, abs=4 * (2400 * 3 / 16) ** 0.5)


def test_two_ranks_share_the_draws_of_one(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = BASE.replace(sampler="balanced", batch_size=15)
    alone = [labels.tolist() for _, labels in training_inputs(recipe, data, epoch=1)]
    shares: list[list[list[int]]] = []
    for rank in range(2):
        monkeypatch.setattr("raytrain.training.inputs.rank_and_world_size", lambda rank=rank: (rank, 2))
        shares.append([labels.tolist() for _, labels in training_inputs(recipe, data, epoch=1)])
    for whole, even, odd in zip(alone, *shares, strict=True):
        assert (even, odd) == (whole[0::2], whole[1::2])


def test_the_balanced_sampler_goes_on_after_a_checkpoint_as_if_there_had_been_none(
    data: TrainingData, tmp_path: Path
) -> None:
    recipe = BASE.replace(sampler="balanced", class_weights="none", epochs=3)
    straight = TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(tmp_path / "straight"))
    list(straight.reports())
    first = TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(tmp_path / "resumed"))
    next(iter(first.reports()))
    resumed = TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(tmp_path / "resumed"))
    list(resumed.reports())
    for name, tensor in straight.state.model.state_dict().items():
        assert torch.equal(tensor, resumed.state.model.state_dict()[name])


def test_weights_and_sampler_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="together twice; give one of them"):
        Recipe(class_weights="balanced", sampler="balanced")


@pytest.mark.parametrize("batch_size", [5, 1000])
def test_metrics_by_class_of_a_split_equal_those_of_scikit_learn(data: TrainingData, batch_size: int) -> None:
    state = TrainState.create(BASE, num_classes=4, device=CPU)
    list(train(BASE, state, data))
    found = evaluate(state.model, data.train, data=data, precision="fp32", batch_size=batch_size, detailed=True)
    with torch.no_grad():
        images = normalize(data.train.images.permute(0, 3, 1, 2), mean=data.mean, std=data.std)
        logits = state.model.eval()(images)
    predicted, labels = logits.argmax(dim=1), data.train.labels
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    plain = evaluate(state.model, data.train, data=data, precision="fp32", batch_size=batch_size)
    assert (found.loss, found.accuracy) == (plain.loss, plain.accuracy)
    assert plain.details(prefix="") == {}
    assert found.top5_accuracy == 1.0  # there are four classes
    confidence, right = logits.softmax(dim=1).max(dim=1).values, predicted == labels
    inside = [(confidence > low / 15) & (confidence <= (low + 1) / 15) for low in range(15)]
    gaps = [float((confidence[some] - right[some].float()).sum().abs()) for some in inside]
    assert found.ece == pytest.approx(sum(gaps) / len(labels), rel=1e-4)


CURVE = [
    Evaluation(0.5, 0.90, 0.50, 0.60),
    Evaluation(0.9, 0.80, 0.70, 0.50),
    Evaluation(0.8, 0.70, 0.60, 0.65),
    Evaluation(0.4, 0.60, 0.70, 0.40),
]
"""Made so that each metric has its best epoch elsewhere; balanced accuracy has two, of which the lower loss decides."""


@pytest.mark.parametrize(("select", "best"), [("accuracy", 1), ("balanced_accuracy", 4), ("macro_f1", 3), ("nll", 4)])
def test_select_decides_which_epoch_is_measured_at_the_end(
    select: str, best: int, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = BASE.replace(select=select, epochs=4)

    def curve(_recipe: Recipe, state: TrainState, _data: TrainingData) -> Any:
        for epoch, val in enumerate(CURVE, start=1):
            state.epoch = epoch
            yield EpochMetrics(epoch, 1.0, 0.5, val, None, 0.1, 1.0)

    monkeypatch.setattr("raytrain.training.trial.train", curve)
    *_, last = TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(tmp_path)).reports()
    assert last.final
    assert last.final.epoch == best
    assert last.final.val == CURVE[best - 1]


def test_validation_metrics_by_class_are_rows_where_they_decide(data: TrainingData) -> None:
    for select, there in (("balanced_accuracy", True), ("accuracy", False), ("nll", False)):
        recipe = BASE.replace(select=select)
        state = TrainState.create(recipe, num_classes=4, device=CPU)
        (found,) = train(recipe, state, data)
        assert ("val_balanced_accuracy" in found.row()) == there
        assert EpochMetrics.from_dict({**vars(found), "val": vars(found.val)}) == found
