"""Every field of a recipe has an effect: changing it changes the trained weights, or what is named below."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from raytrain.metrics.epoch import FinalMetrics
from raytrain.storage.folder import Folder
from raytrain.training.field_rules import inert
from raytrain.training.inputs import training_inputs
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState
from raytrain.training.trial import TrialRun

CPU = torch.device("cpu")
BASE = Recipe(width=2, image_size=8, batch_size=16, lr=0.05, precision="fp32", epochs=2)
MIXED = {"mix": "mixup"}

CHANGES_THE_WEIGHTS: dict[str, tuple[dict[str, Any], Any]] = {
    "arch": ({}, "resnet9"),
    "width": ({}, 3),
    "resolution": ({}, "0:8,0.5:12"),
    "augment": ({}, ("crop",)),
    "mix": ({}, "mixup"),
    "mix_alpha": (MIXED, 0.2),
    "mix_prob": (MIXED, 0.5),
    "mix_off_epochs": (MIXED, 1),
    "label_smoothing": ({}, 0.1),
    "mix_smoothing": ({**MIXED, "label_smoothing": 0.1}, True),
    "loss": ({}, "bce"),
    "class_weights": ({}, "balanced"),
    "sampler": ({}, "balanced"),
    "zero_init_residual": ({}, True),
    "optimizer": ({}, "adamw"),
    "lr": ({}, 0.01),
    "bias_lr_factor": ({}, 2.0),
    "head_lr_factor": ({}, 2.0),
    "backbone_lr_factor": ({}, 0.5),
    "layer_decay": ({}, 0.5),
    "freeze_epochs": ({}, 1),
    "momentum": ({}, 0.5),
    "nesterov": ({}, True),
    "weight_decay": ({}, 0.01),
    "decoupled_weight_decay": ({}, True),
    "grad_clip": ({}, 0.01),
    "schedule": ({}, "linear"),
    "warmup_epochs": ({}, 1.0),
    "epochs": ({}, 3),
    "batch_size": ({}, 24),
    "accumulate": ({}, 2),
    "bn_momentum": ({}, 0.5),
    "ema_decay": ({}, 0.5),
    "lookahead": ({}, "cubic"),
    "precision": ({}, "bf16"),
    "seed": ({}, 1),
}
"""By field: what the recipe says beside it, and the value that the field is changed to."""

CHANGES_THE_DATA: dict[str, Any] = {
    "dataset": "cifar10",
    "image_size": 16,
    "val_size": 0.2,
    "test_size": 0.3,
    "columns": "label=fine",
    "skip_bad": True,
    "follow_links": True,
    "background": "black",
}
"""The loop is handed the splits; these fields choose them, through `Recipe.data_key`."""

LEAVES_THE_WEIGHTS = {
    "channels_last",
    "compile",
    "track_test",
    "tta",
    "tta_below",
    "final_train_accuracy",
    "select",
    "sync_batchnorm",
}
"""These change how training runs or what it reports; each has a test of its own here, `select` in test_imbalance.py."""

STARTS_ELSEWHERE = {"init", "init_strict", "normalize"}
"""These say where weights come from, and what images are normalised by; test_initial.py and test_normalization.py test
them."""

WITHOUT_EFFECT: list[tuple[str, dict[str, Any], Any]] = [
    ("momentum", {"optimizer": "adam"}, 0.5),
    ("nesterov", {"optimizer": "adamw"}, True),
    ("nesterov", {"optimizer": "adam", "momentum": 0.0}, True),
    ("mix_alpha", {}, 0.2),
    ("mix_prob", {}, 0.5),
    ("mix_off_epochs", {}, 1),
    ("label_smoothing", MIXED, 0.1),
    ("mix_smoothing", {"label_smoothing": 0.1}, True),
    ("mix_smoothing", MIXED, True),
    ("decoupled_weight_decay", {"weight_decay": 0.0}, True),
    ("init_strict", {}, False),
    ("tta_below", {}, 0.5),
    ("backbone_lr_factor", {"freeze_epochs": 2}, 0.5),
    ("layer_decay", {"freeze_epochs": 2}, 0.5),
    ("mix", {**MIXED, "mix_prob": 0.0}, "cutmix"),
    ("mix", {**MIXED, "mix_prob": 0.0, "label_smoothing": 0.1}, "none"),
    ("mix_alpha", {**MIXED, "mix_prob": 0.0}, 0.2),
    ("mix_off_epochs", {**MIXED, "mix_prob": 0.0}, 1),
    ("mix_smoothing", {**MIXED, "mix_prob": 0.0, "label_smoothing": 0.1}, True),
    ("mix", {**MIXED, "mix_off_epochs": 2, "mix_prob": 0.5}, "none"),
    ("mix_alpha", {**MIXED, "mix_off_epochs": 2}, 0.2),
    ("mix_prob", {**MIXED, "mix_off_epochs": 2}, 0.5),
    ("mix_smoothing", {**MIXED, "mix_off_epochs": 2, "label_smoothing": 0.1}, True),
    ("zero_init_residual", {"arch": "airbench"}, True),
    ("zero_init_residual", {"arch": "torchvision:shufflenet_v2_x0_5"}, True),
    ("width", {"arch": "torchvision:shufflenet_v2_x0_5"}, 4),
]
"""Fields that change nothing beside others: the field, what the recipe says beside it, and another value of it."""

COMPONENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"augment": ["crop"]}, {"augment": [{"crop": {"mode": "reflect"}}]}),
    ({"augment": ["crop"]}, {"augment": [{"crop": {"padding": 2}}]}),
    ({"augment": ["flip"]}, {"augment": [{"flip": 0.1}]}),
    ({"augment": ["flip"]}, {"augment": ["alternating_flip"]}),
    ({"augment": [{"cutout": 2}]}, {"augment": [{"cutout": 4}]}),
    ({"augment": ["jitter"]}, {"augment": [{"jitter": {"brightness": 0.1}}]}),
    ({"schedule": "triangle"}, {"schedule": {"triangle": {"start": 0.5}}}),
    ({"schedule": "triangle"}, {"schedule": {"triangle": {"peak": 0.5}}}),
    ({"schedule": "triangle"}, {"schedule": {"triangle": {"end": 0.5}}}),
    ({"lookahead": "cubic"}, {"lookahead": {"cubic": {"decay": 0.5}}}),
    ({"lookahead": "cubic"}, {"lookahead": {"cubic": {"every": 2}}}),
    ({"lookahead": "constant"}, {"lookahead": {"constant": {"share": 0.8}}}),
    ({"optimizer": "muon"}, {"optimizer": {"muon": {"iterations": 2}}}),
    ({"optimizer": "muon"}, {"optimizer": {"muon": {"sgd_momentum": 0.5}}}),
    ({"optimizer": "muon"}, {"optimizer": {"muon": {"unit_filters": True}}}),
    ({"arch": "airbench"}, {"arch": {"airbench": {"multiples": [1, 2, 2]}}}),
    ({"arch": "airbench"}, {"arch": {"airbench": {"depth": 3}}}),
]
"""Arguments of components: a recipe without one, and with it."""


def fingerprint(recipe: Recipe, data: Any) -> str:
    """Return a hash of the weights that are evaluated after training."""
    state = TrainState.create(recipe, num_classes=data.num_classes, device=CPU, data=data)
    list(train(recipe, state, data))
    digest = hashlib.sha256()
    for name, tensor in state.evaluated_model.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_every_field_is_in_one_of_the_lists():
    assert sorted([*CHANGES_THE_WEIGHTS, *CHANGES_THE_DATA, *LEAVES_THE_WEIGHTS, *STARTS_ELSEWHERE]) == sorted(
        Recipe.model_fields
    )


@pytest.mark.parametrize("beside", [{}, MIXED], ids=["plain", "mixed"])
def test_the_same_recipe_gives_the_same_weights(beside: dict[str, Any], make_data: Any):
    data = make_data()
    assert fingerprint(BASE.replace(**beside), data) == fingerprint(BASE.replace(**beside), data)


@pytest.mark.parametrize("field", CHANGES_THE_WEIGHTS)
def test_a_changed_field_changes_the_trained_weights(field: str, make_data: Any):
    data = make_data(train=50)  # of four classes: they are of unequal size
    beside, value = CHANGES_THE_WEIGHTS[field]
    recipe = BASE.replace(**beside)
    assert fingerprint(recipe.replace(**{field: value}), data) != fingerprint(recipe, data)


@pytest.mark.parametrize(("plain", "changed"), COMPONENTS, ids=[str(changed) for _, changed in COMPONENTS])
def test_an_argument_of_a_component_changes_the_trained_weights(
    plain: dict[str, Any], changed: dict[str, Any], make_data: Any
):
    data, recipe = make_data(), BASE
    assert fingerprint(recipe.replace(**changed), data) != fingerprint(recipe.replace(**plain), data)


@pytest.mark.parametrize("field", CHANGES_THE_DATA)
def test_a_changed_field_of_the_data_asks_for_other_splits(field: str):
    value = CHANGES_THE_DATA[field]
    key = BASE.replace(**{field: value}).data_key
    assert key == BASE.data_key._replace(**{field: value})
    assert key != BASE.data_key


@pytest.mark.parametrize(("channels_last", "layout"), [(True, torch.channels_last), (False, torch.contiguous_format)])
def test_channels_last_decides_the_memory_order_of_weights_and_inputs(
    channels_last: bool, layout: torch.memory_format, make_data: Any
):
    recipe, data = BASE.replace(channels_last=channels_last), make_data()
    weight = TrainState.create(recipe, num_classes=4, device=CPU).model.get_parameter("stages.0.0.conv1.weight")
    inputs, _ = next(training_inputs(recipe, data, epoch=0))
    for tensor in (weight, inputs):
        assert tensor.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("compiled", [True, False])
def test_compile_decides_whether_the_model_is_compiled(compiled: bool, make_data: Any, monkeypatch: pytest.MonkeyPatch):
    models: list[torch.nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda model: (models.append(model), model)[1])
    recipe, data = BASE.replace(compile=compiled), make_data()
    state = TrainState.create(recipe, num_classes=data.num_classes, device=CPU)
    next(train(recipe, state, data))
    assert models == ([state.model] if compiled else [])


@pytest.mark.parametrize("track_test", [True, False])
def test_track_test_decides_whether_an_epoch_reports_the_test_set(track_test: bool, make_data: Any):
    recipe, data = BASE.replace(track_test=track_test), make_data()
    state = TrainState.create(recipe, num_classes=data.num_classes, device=CPU)
    assert (next(train(recipe, state, data)).test is not None) == track_test


@pytest.mark.parametrize("tta", ["none", "mirror", "shifts"])
def test_tta_decides_whether_the_test_set_is_read_in_several_views(tta: str, make_data: Any, tmp_path: Path):
    final = final_of(BASE.replace(tta=tta), make_data(), tmp_path)
    assert (final.test_tta is not None) == (tta != "none")


def test_tta_below_decides_how_many_test_images_have_several_views(
    make_data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    finals: dict[float, FinalMetrics] = {}
    with caplog.at_level("INFO", "raytrain"):
        for below in (0.0, 1.0):
            recipe = BASE.replace(tta="shifts", tta_below=below)
            finals[below] = final_of(recipe, make_data(), tmp_path / str(below))
    assert finals[0.0].test_tta == finals[0.0].test
    assert finals[1.0].test_tta != finals[1.0].test == finals[0.0].test
    assert caplog.text.count("0 of 20 test images had several views") == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_final_train_accuracy_decides_whether_the_training_images_are_read_again(
    wanted: bool, make_data: Any, tmp_path: Path
):
    assert (final_of(BASE.replace(final_train_accuracy=wanted), make_data(), tmp_path).train is not None) == wanted


def final_of(recipe: Recipe, data: Any, folder: Path) -> FinalMetrics:
    """Return what a trial measures at its end."""
    *_, last = TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(folder)).reports()
    assert last.final
    return last.final


@pytest.mark.parametrize(("field", "beside", "value"), WITHOUT_EFFECT)
def test_a_field_without_effect_changes_no_weight_and_is_known_to_have_none(
    make_data: Any, field: str, beside: dict[str, Any], value: Any
):
    recipe, data = BASE.replace(**beside), make_data()
    other = recipe.replace(**{field: value})
    assert fingerprint(other, data) == fingerprint(recipe, data)
    assert field in inert(recipe.model_dump())
    assert other.effect == recipe.effect
    assert other.digest != recipe.digest


@pytest.mark.parametrize("field", sorted(CHANGES_THE_WEIGHTS))
def test_a_field_that_changes_the_weights_is_never_taken_for_one_without_effect(field: str):
    beside, value = CHANGES_THE_WEIGHTS[field]
    recipe = BASE.replace(**beside)
    assert field not in inert(recipe.model_dump())
    assert recipe.replace(**{field: value}).effect != recipe.effect


@pytest.mark.parametrize(("workers", "kind"), [(1, torch.nn.BatchNorm2d), (2, torch.nn.SyncBatchNorm)])
def test_sync_batchnorm_normalises_over_the_workers_where_there_are_several(
    workers: int, kind: type, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("raytrain.training.state.rank_and_world_size", lambda: (0, workers))
    plain = TrainState.create(BASE, num_classes=4, device=CPU).model
    state = TrainState.create(BASE.replace(sync_batchnorm=True), num_classes=4, device=CPU)
    norms = [module for module in state.model.modules() if "BatchNorm" in type(module).__name__]
    assert {type(module) for module in norms} == {kind}
    given, synchronised = plain.state_dict(), state.model.state_dict()
    assert list(given) == list(synchronised)
    assert all(torch.equal(given[name], synchronised[name]) for name in given)
