"""Tests of training in two or four processes under DistributedDataParallel, on gloo: each runs `ddp_rank.py`."""

import base64
import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from raytrain.data import LabelledImages
from raytrain.data.batches import normalize, permutation
from raytrain.execution.initial import initial_contents
from raytrain.metrics.predictions import Predictions
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.evaluation import TrainingData, evaluate, evaluate_views
from raytrain.training.initial.copies import write_initial
from raytrain.training.initial.sources import weights
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(360)]

CPU = torch.device("cpu")
RECIPE = Recipe(
    width=2,
    image_size=8,
    batch_size=15,
    lr=0.01,
    precision="fp32",
    epochs=3,
    ema_decay=0.5,
    track_test=True,
    select="macro_f1",
)
WEIGHTED = RECIPE.replace(class_weights="balanced", label_smoothing=0.1, ema_decay=0.0)
FROZEN = RECIPE.replace(freeze_epochs=2, backbone_lr_factor=0.5)
FROM_IMAGES = RECIPE.replace(arch="airbench")
AHEAD = RECIPE.replace(lookahead={"cubic": {"every": 4}}, tta="shifts", tta_below=0.277)


@pytest.fixture(scope="module")
def splits(make_splits):
    return make_splits(train=50, val=23, test=21)  # shares of unequal size


@pytest.fixture(scope="module")
def unbalanced(make_splits):
    """Return splits whose four classes have 24, 12, 9 and 5 training images."""
    whole = make_splits(train=96, val=23, test=21)
    labels = whole.train.labels
    rows = np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in enumerate((24, 12, 9, 5))])
    return replace(whole, train=LabelledImages(whole.train.images[rows], labels[rows]))


@pytest.fixture(scope="module")
def given():
    """Return weights to start from."""
    return FROZEN.replace(seed=5).build_network(4).state_dict()


@pytest.fixture(scope="module")
def written(splits, unbalanced, given, tmp_path_factory):
    """Return the folder of each training by its name, in which each of the two processes has written what it came to.

    They train one recipe after another: the start of two processes takes longer than that.
    """
    place = tmp_path_factory.mktemp("ddp")
    folders = {name: place / name for name in ("plain", "weighted", "frozen", "ahead", "images")}
    for folder in folders.values():
        folder.mkdir()
    torch.save(given, folders["frozen"] / "model.pth")
    frozen = FROZEN.replace(init=weights("model.pth", folder=folders["frozen"]))
    write_initial(Folder.at(folders["frozen"]), initial_contents([(frozen, 4)], None))
    for name, recipe, images in (
        ("plain", RECIPE, splits),
        ("weighted", WEIGHTED, unbalanced),
        ("frozen", frozen, splits),
        ("ahead", AHEAD, splits),
        ("images", FROM_IMAGES, splits),
    ):
        (folders[name] / "recipe.json").write_text(recipe.model_dump_json())
        (folders[name] / "splits.pickle").write_bytes(pickle.dumps(images))
    run_ranks(2, folders.values())
    return folders


def run_ranks(ranks, folders):
    """Train in as many processes, and wait for them."""
    command = [sys.executable, str(Path(__file__).with_name("ddp_rank.py"))]
    processes = [
        subprocess.Popen([*command, str(rank), str(ranks), *map(str, folders)], stderr=subprocess.PIPE, text=True)
        for rank in range(ranks)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * ranks, "\n".join(errors)


def of_ranks(ranks, folder):
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(ranks)]


def of_both_ranks(folder):
    return of_ranks(2, folder)


@pytest.fixture(scope="module")
def ranks(written):
    """Return what each of the two processes wrote."""
    return of_both_ranks(written["plain"])


@pytest.fixture(scope="module")
def weighted_ranks(written):
    """Return what each of the two processes wrote that weigh their losses by class."""
    return of_both_ranks(written["weighted"])


def test_ranks_that_start_from_given_weights_and_freeze_equal_one_process(written, given, splits):
    one, other = of_both_ranks(written["frozen"])
    assert differing(one["state"]["model"], other["state"]["model"]) == []
    assert differing(one["state"]["model"], one["resumed_state"]["model"]) == []  # resumed after the frozen epochs
    assert differing(given, one["state"]["model"]) != []
    alone = TrainState.create(FROZEN, num_classes=4, device=CPU, weights=given)
    losses = [metrics.train_loss for metrics in train(FROZEN, alone, TrainingData.on(CPU, splits))]
    # equal as long as no BatchNorm normalises by the rank's share of a batch
    assert [report["metrics"]["train_loss"] for report in one["reports"]][:2] == pytest.approx(losses[:2], rel=1e-4)


def test_both_ranks_have_the_filters_that_one_process_computes_from_all_images_also_when_resumed(written, splits):
    ranks = of_both_ranks(written["images"])
    alone = TrainState.create(FROM_IMAGES, num_classes=4, device=CPU, data=TrainingData.on(CPU, splits)).model
    for rank in ranks:
        assert differing(rank["state"]["model"], ranks[0]["state"]["model"]) == []
        for state in ("state", "resumed_state"):
            torch.testing.assert_close(rank[state]["model"]["whitening.weight"], alone.whitening.weight)
    assert_resumed_equals_through(ranks)


def test_both_ranks_hold_the_same_slow_weights_also_when_resumed(written):
    one, other = of_both_ranks(written["ahead"])
    slow = [each[state]["lookahead"] for each in (one, other) for state in ("state", "resumed_state")]
    for tensors in zip(*slow, strict=True):
        assert all(torch.equal(tensor, tensors[0]) for tensor in tensors)
    for part in ("model", "ema"):
        assert differing(one["state"][part], other["state"][part]) == []
        assert differing(one["state"][part], one["resumed_state"][part]) == []
    plain = of_both_ranks(written["plain"])[0]
    assert differing(one["state"]["model"], plain["state"]["model"]) != []


def test_both_ranks_report_the_same_accuracy_with_views_of_unsure_images(written, splits):
    finals = [rank["reports"][-1]["final"] for rank in of_both_ranks(written["ahead"])]
    assert finals[0]["test_tta"] == finals[1]["test_tta"]
    saved = checkpoint.load(Folder.at(written["ahead"] / "straight"))
    model = TrainState.create(AHEAD, num_classes=4, device=CPU).model
    model.load_state_dict(saved.best["weights"])
    data = TrainingData.on(CPU, splits)
    alone, several = evaluate_views(model, data.test, data=data, precision="fp32", tta="shifts", below=0.277)
    assert 0 < several < len(data.test)
    assert finals[0]["test_tta"]["loss"] == pytest.approx(alone.loss, rel=1e-5)


def without_seconds(reports):
    return [{**report, "metrics": {**report["metrics"], "seconds": 0.0}} for report in reports]


def differing(one, other):
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def step_on_two_shares(model, optimizer, shares, data):
    """Take a step on the mean over the images of both shares; BatchNorm normalises each share by itself."""
    optimizer.zero_grad()
    losses = []
    kept = copy.deepcopy(model.state_dict())
    for rank in (1, 0):
        images = data.train.images[shares[rank]].permute(0, 3, 1, 2)
        logits = model(normalize(images, mean=data.mean, std=data.std))
        loss = F.cross_entropy(logits, data.train.labels[shares[rank]])
        weight = len(shares[rank]) / sum(map(len, shares))  # 8 images and 7
        (loss * weight).backward()
        losses.append(loss.item() * weight)
        if rank == 1:  # the running statistics that stay are rank 0's
            model.load_state_dict(kept)
    optimizer.step()
    return losses


def test_both_ranks_report_the_same_metrics(ranks):
    one, other = (without_seconds(rank["reports"]) for rank in ranks)
    assert one == other
    assert [report["metrics"]["epoch"] for report in one] == [1, 2, 3]
    assert one[-1]["final"] is not None


@pytest.mark.parametrize("part", ["model", "ema"])
def test_both_ranks_hold_the_same_weights_and_statistics(ranks, part):
    assert differing(ranks[0]["state"][part], ranks[1]["state"][part]) == []


def test_two_ranks_equal_one_slow_loop_over_the_two_shares(ranks, splits):
    data = TrainingData.on(CPU, splits)
    state = TrainState.create(RECIPE, num_classes=data.num_classes, device=CPU)
    model, optimizer = state.model.train(), state.optimizer
    for epoch in range(RECIPE.epochs):
        order = permutation(len(data.train), seed=RECIPE.seed, epoch=epoch)
        losses = []
        for step in range(3):
            rows = order[15 * step : 15 * step + 15]
            progress = torch.tensor((3 * epoch + step) / 9, dtype=torch.float64)
            for group in optimizer.param_groups:
                group["lr"] = float(RECIPE.lr * (1 + torch.cos(torch.pi * progress)) / 2)
            losses += step_on_two_shares(model, optimizer, [rows[0::2], rows[1::2]], data)
        reported = ranks[0]["reports"][epoch]["metrics"]["train_loss"]
        assert reported == pytest.approx(sum(losses) / 3, rel=1e-5)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ranks[0]["state"]["model"][name], tensor, rtol=1e-3, atol=1e-5)


def test_class_weights_on_two_ranks_are_those_of_one_loss_over_both_shares(weighted_ranks, unbalanced):
    """PyTorch's loss of all 15 images, of which each rank normalises its own share."""
    data = TrainingData.on(CPU, unbalanced)
    state = TrainState.create(WEIGHTED, num_classes=data.num_classes, device=CPU)
    model, optimizer = state.model.train(), state.optimizer
    weights = torch.tensor([50 / (4 * count) for count in (24, 12, 9, 5)])
    criterion = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)
    for epoch in range(WEIGHTED.epochs):
        order = permutation(len(data.train), seed=WEIGHTED.seed, epoch=epoch)
        for step in range(3):
            rows = order[15 * step : 15 * step + 15]
            progress = torch.tensor((3 * epoch + step) / 9, dtype=torch.float64)
            for group in optimizer.param_groups:
                group["lr"] = float(WEIGHTED.lr * (1 + torch.cos(torch.pi * progress)) / 2)
            optimizer.zero_grad()
            shares = [rows[0::2], rows[1::2]]
            inputs = [
                normalize(data.train.images[share].permute(0, 3, 1, 2), mean=data.mean, std=data.std)
                for share in shares
            ]
            criterion(torch.cat(list(map(model, inputs))), data.train.labels[torch.cat(shares)]).backward()
            optimizer.step()
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(weighted_ranks[0]["state"]["model"][name], tensor.detach(), rtol=1e-3, atol=1e-5)
    assert differing(weighted_ranks[0]["state"]["model"], weighted_ranks[1]["state"]["model"]) == []


def test_both_ranks_return_the_predictions_of_all_images_in_order(ranks, splits):
    for rank in ranks:
        content = base64.b64decode(rank["reports"][-1]["final"]["predictions"])
        predictions = Predictions.from_bytes(content, softmax=True)
        assert predictions.labels.tolist() == splits.test.labels.tolist()
        assert predictions.softmax.shape == (21, 4)
        assert predictions.softmax.max(axis=1) == pytest.approx(predictions.probabilities, abs=1e-3)


def test_metrics_are_those_of_the_weights_that_rank_0_saves(ranks, splits):
    data = TrainingData.on(CPU, splits)
    state = TrainState.create(RECIPE, num_classes=data.num_classes, device=CPU)
    state.load_state_dict(ranks[0]["state"])
    last = ranks[1]["reports"][-1]["metrics"]
    for split, images in (("val", data.val), ("test", data.test)):
        alone = evaluate(state.ema.module, images, data=data, precision="fp32", detailed=split == "val")
        assert last[split]["balanced_accuracy"] == alone.balanced_accuracy
        assert last[split]["macro_f1"] == alone.macro_f1
        assert last[split]["accuracy"] == alone.accuracy  # of all 23 or 21 images, each once
        assert last[split]["loss"] == pytest.approx(alone.loss, rel=1e-5)


def test_running_accuracy_counts_the_images_of_both_ranks(ranks):
    for report in ranks[0]["reports"]:
        correct = report["metrics"]["train_accuracy"] * 45
        assert correct == pytest.approx(round(correct), abs=1e-9)


def test_rank_0_alone_writes_checkpoints(ranks):
    assert ranks[0]["written"][-1] == 3
    assert ranks[1]["written"] == []


def test_resuming_on_two_ranks_equals_training_through(ranks):
    assert_resumed_equals_through(ranks)


def test_resuming_on_four_ranks_equals_training_through(splits, tmp_path):
    """Of more than two, the order in which ranks are added up decides the last bit."""
    (tmp_path / "recipe.json").write_text(RECIPE.model_dump_json())
    (tmp_path / "splits.pickle").write_bytes(pickle.dumps(splits))
    run_ranks(4, [tmp_path])
    ranks = of_ranks(4, tmp_path)
    assert_resumed_equals_through(ranks)
    for rank in ranks[1:]:
        assert differing(rank["state"]["model"], ranks[0]["state"]["model"]) == []


def assert_resumed_equals_through(ranks):
    for rank in ranks:
        assert without_seconds(rank["resumed_reports"]) == without_seconds(rank["reports"])
        for part in ("model", "ema"):
            assert differing(rank["state"][part], rank["resumed_state"][part]) == []
