"""Tests of raytrain.training.evaluation against a loop over single images."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raytrain.data.augmentation.views import VIEW_COUNT, VIEWS
from raytrain.data.batches import normalize
from raytrain.models.architectures import resnet18
from raytrain.training.evaluation import (
    Evaluation,
    TrainingData,
    evaluate,
    evaluate_views,
    images_at_once,
    predict,
    rank_and_world_size,
    reduce_sums,
)


@pytest.fixture(scope="module")
def data(make_data):
    return make_data(val=23)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = resnet18(4, width=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # not what they start as: mode and buffers are to matter
            module.running_mean.normal_(generator=torch.Generator().manual_seed(1))
            module.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    return model


def slow_evaluation(model, images, data):
    """Look at one image at a time, with everything written out."""
    model.eval()
    loss, correct = 0.0, 0
    for image, label in zip(images.images, images.labels.tolist(), strict=True):
        pixels = torch.stack([(image[:, :, c].double() / 255 - data.mean[c]) / data.std[c] for c in range(3)])
        logits = model(pixels.float()[None])[0].tolist()
        loss += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
        correct += logits.index(max(logits)) == label
    return Evaluation(loss / len(images), correct / len(images))


@pytest.mark.parametrize("batch_size", [1, 5, 22, 23, 24, 1000])
def test_evaluation_equals_a_loop_over_single_images_in_any_batch_size(model, data, batch_size):
    expected = slow_evaluation(model, data.val, data)
    found = evaluate(model.train(), data.val, data=data, precision="fp32", batch_size=batch_size)
    assert found.accuracy == expected.accuracy
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)


@pytest.mark.parametrize(
    ("image_size", "trained", "expected"),
    [
        (8, 16, 1000),
        (32, 64, 1000),
        (32, 4096, 1000),
        (64, 64, 250),
        (224, 16, 20),
        (224, 4096, 1000),
        (224, 128, 128),  # a training step takes as many, and needs more memory for each
        (2048, 1, 1),
    ],
)
def test_as_many_images_are_evaluated_at_a_time_as_have_the_pixels_of_1000_small_ones(image_size, trained, expected):
    assert images_at_once(image_size, trained=trained) == expected


class Caching(nn.Module):
    """A network that keeps a tensor for each size of its images."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.ramps = {}

    def forward(self, images):
        size = images.shape[2:]
        if size not in self.ramps:
            self.ramps[size] = torch.linspace(0, 1, size.numel()).view(1, 1, *size)
        return self.layer((images * self.ramps[size]).mean((2, 3)))


@pytest.mark.parametrize("what", [evaluate, predict, functools.partial(evaluate_views, tta="shifts")])
def test_what_a_network_caches_in_an_evaluation_can_be_used_in_training(data, what):
    network = Caching()
    what(network, data.val, data=data, precision="fp32")
    images = data.normalized(data.train.images[:4].permute(0, 3, 1, 2)).requires_grad_()
    network(images).sum().backward()
    assert network.layer.weight.grad is not None


@given(batch_size=st.integers(1, 30))
def test_every_image_counts_once(data, batch_size):
    seen = []

    class Recording(nn.Module):
        def forward(self, images):
            seen.append(len(images))
            return torch.zeros(len(images), 4)

    found = evaluate(Recording(), data.val, data=data, precision="fp32", batch_size=batch_size)
    assert sum(seen) == 23
    assert found.loss == pytest.approx(math.log(4))
    assert found.accuracy == pytest.approx((data.val.labels == 0).double().mean().item())


def test_predictions_hold_what_the_network_says_of_each_single_image(model, data):
    found, predictions = predict(model, data.val, data=data, precision="fp32", batch_size=5)
    with torch.no_grad():
        images = normalize(data.val.images.permute(0, 3, 1, 2), mean=data.mean, std=data.std)
        shares = model.eval()(images).softmax(dim=1).numpy()
    labels = data.val.labels.numpy()
    own = shares[np.arange(23), labels]
    assert predictions.softmax.dtype == np.float16
    assert predictions.softmax == pytest.approx(shares, abs=1e-3)
    assert predictions.losses == pytest.approx(-np.log(own), rel=1e-4)
    assert predictions.losses.mean() == pytest.approx(found.loss, rel=1e-5)
    assert predictions.ranks.tolist() == (shares > own[:, None]).sum(axis=1).tolist()
    assert ((predictions.ranks == 0) == predictions.correct).all()


def test_of_very_many_images_and_classes_the_probabilities_of_all_classes_are_not_kept(model, data, monkeypatch):
    monkeypatch.setattr("raytrain.training.evaluation.MOST_PROBABILITIES", 23 * 4 - 1)
    _, predictions = predict(model, data.val, data=data, precision="fp32")
    assert predictions.softmax is None
    assert len(predictions.ranks) == 23


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_evaluates_close_to_fp32_and_sums_in_full(model, data, precision):
    low = evaluate(model, data.val, data=data, precision=precision)
    full = evaluate(model, data.val, data=data, precision="fp32")
    assert low.loss == pytest.approx(full.loss, rel=0.05)
    assert low.loss != full.loss


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored_and_its_buffers_stay(model, data, training):
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, data.val, data=data, precision="fp32")
    assert model.training == training
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_no_gradients_are_recorded_or_left(data):
    class Recording(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, images):
            logits = self.weight.expand(len(images), 4) * 1.0
            assert not logits.requires_grad
            return logits

    model = Recording()
    evaluate(model, data.val, data=data, precision="fp32")
    assert model.weight.grad is None
    assert (model.weight * 2).requires_grad


def test_data_on_the_cpu_shares_memory_with_the_splits(make_splits):
    splits = make_splits()
    data = TrainingData.on(torch.device("cpu"), splits)
    assert data.train.images.data_ptr() == splits.train.images.ctypes.data
    assert (data.mean, data.std, data.num_classes) == (splits.mean, splits.std, 4)
    assert (len(data.train), len(data.val), len(data.test)) == (48, 24, 20)


def test_a_process_alone_is_rank_0_of_1():
    assert rank_and_world_size() == (0, 1)


def test_sums_are_divided_by_the_number_of_images():
    assert reduce_sums(torch.tensor([6.0, 3.0], dtype=torch.float64), 4) == Evaluation(1.5, 0.75)


@pytest.mark.parametrize("tta", VIEWS)
def test_views_equal_a_slow_mean_of_the_logits(model, data, tta):
    model.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    loss, correct = 0.0, 0
    for image, label in zip(data.val.images, data.val.labels.tolist(), strict=True):
        pixels = ((image.permute(2, 0, 1).double() / 255 - mean) / std).numpy()
        big = np.pad(pixels, ((0, 0), (1, 1), (1, 1)), mode="reflect")
        side = pixels.shape[-1]
        plain = [pixels] if tta == "mirror" else [pixels, pixels, big[:, :side, :side], big[:, 2:, 2:]]
        views = [view for one in plain for view in (one, one[:, :, ::-1])]
        logits = sum(model(torch.tensor(view.copy()).float()[None])[0].double() for view in views) / len(views)
        loss += (logits.logsumexp(0) - logits[label]).item()
        correct += logits.argmax().item() == label
    found, several = evaluate_views(model, data.val, data=data, precision="fp32", tta=tta, batch_size=5)
    assert several == len(data.val)
    assert found.accuracy == correct / len(data.val)
    assert found.loss == pytest.approx(loss / len(data.val), rel=1e-5)


@pytest.mark.parametrize("tta", VIEWS)
def test_no_image_has_several_views_below_a_probability_of_0_and_all_have_below_1(model, data, tta):
    how = {"data": data, "precision": "fp32", "batch_size": 5}
    plain, everywhere = evaluate(model, data.val, **how), evaluate_views(model, data.val, tta=tta, **how)
    assert evaluate_views(model, data.val, tta=tta, below=0.0, **how) == (plain, 0)
    assert evaluate_views(model, data.val, tta=tta, below=1.0, **how) == everywhere
    assert everywhere[0].loss != plain.loss


def test_below_1_are_also_images_of_a_probability_that_rounds_to_1(data):
    class Certain(nn.Module):
        """It says 100 or 200 for the first class, and 0 for the others."""

        def forward(self, inputs):
            columns = [100 + 100 * (inputs[:, 0, 0, :1] > 0), *[torch.zeros(len(inputs), 1)] * 3]
            return torch.cat(columns, dim=1)

    how = {"data": data, "precision": "fp32", "tta": "mirror"}
    assert evaluate_views(Certain(), data.val, **how)[1] == len(data.val)
    assert evaluate_views(Certain(), data.val, below=0.999, **how)[1] == 0


@pytest.mark.parametrize("tta", VIEWS)
@pytest.mark.parametrize("batch_size", [5, 23])
def test_unsure_images_alone_have_several_views(model, data, tta, batch_size):
    model.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    found = []
    for image in data.val.images:
        pixels = (image.permute(2, 0, 1).float() / 255 - mean) / std
        found.append(model(pixels[None])[0].detach().tolist())
    probabilities = [max(math.exp(one) for one in row) / sum(math.exp(one) for one in row) for row in found]
    below = sorted(probabilities)[9] + 1e-6  # ten images
    loss, correct = 0.0, 0
    for index in range(len(data.val)):
        one = data.val.images[index : index + 1], data.val.labels[index : index + 1]
        alone = dataclasses.replace(data.val, images=one[0], labels=one[1])
        how = {"data": data, "precision": "fp32"}
        views = evaluate_views(model, alone, tta=tta, **how)[0]
        seen = views if probabilities[index] < below else evaluate(model, alone, **how)
        loss, correct = loss + seen.loss, correct + seen.accuracy
    mixed, several = evaluate_views(
        model, data.val, data=data, precision="fp32", tta=tta, below=below, batch_size=batch_size
    )
    assert several == 10
    assert mixed.accuracy == pytest.approx(correct / len(data.val))
    assert mixed.loss == pytest.approx(loss / len(data.val), rel=1e-5)


class Counting(nn.Module):
    """A network that counts the images that it is given."""

    def __init__(self, model):
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, images):
        self.images += len(images)
        return self.model(images)


@pytest.mark.parametrize("below", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tta", VIEWS)
def test_an_image_is_seen_once_and_an_unsure_one_in_each_further_view(model, data, tta, below):
    counting = Counting(model)
    _, several = evaluate_views(counting, data.val, data=data, precision="fp32", tta=tta, below=below)
    assert counting.images == len(data.val) + (VIEW_COUNT[tta] - 1) * several


@pytest.mark.parametrize("tta", VIEWS)
def test_the_weights_of_the_views_add_up_to_one(tta):
    views = VIEWS[tta](torch.zeros(1, 3, 8, 8))
    assert sum(share for share, _ in views) == 1
    assert len(views) == VIEW_COUNT[tta]


@pytest.mark.parametrize("tta", VIEWS)
def test_the_first_view_is_the_image_itself(tta):
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(VIEWS[tta](images)[0][1], images)


def test_no_image_has_no_loss():
    nothing = reduce_sums(torch.zeros(2, dtype=torch.float64), 0)
    assert math.isnan(nothing.loss)
