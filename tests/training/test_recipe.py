"""Tests of raytrain.training.recipe: what is refused, what identifies a trial, and what a change is checked for."""

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raytrain.data.augmentation.augment import AUGMENTS
from raytrain.data.augmentation.mixing import MIXES
from raytrain.data.data_key import DataKey
from raytrain.models.architectures import ARCHITECTURES
from raytrain.optim.optimizers import OPTIMIZERS
from raytrain.optim.schedules import SCHEDULES
from raytrain.training.choices import CANONICAL
from raytrain.training.recipe import Recipe, added_later

recipes = st.builds(
    Recipe,
    arch=st.sampled_from(list(ARCHITECTURES)),
    width=st.integers(1, 256),
    val_size=st.one_of(st.integers(0, 10_000), st.floats(0, 1)),
    augment=st.lists(st.sampled_from(list(AUGMENTS)), max_size=3),
    mix=st.sampled_from(["none", *MIXES]),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    schedule=st.sampled_from(list(SCHEDULES)),
    lr=st.floats(1e-8, 100),
    weight_decay=st.floats(0, 1),
    epochs=st.integers(1, 1000),
    batch_size=st.integers(2, 4096),
    precision=st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    seed=st.integers(0, 2**32 - 1),
    track_test=st.booleans(),
)


def message_of(**fields):
    with pytest.raises(ValidationError) as caught:
        Recipe(**fields)
    return str(caught.value)


@given(recipe=recipes)
def test_a_recipe_survives_json_with_its_digest(recipe):
    again = Recipe.model_validate(json.loads(recipe.model_dump_json()))
    assert again == recipe
    assert again.digest == recipe.digest


@given(recipe=recipes, seed=st.integers(0, 2**32 - 1))
def test_digests_are_equal_exactly_when_recipes_are(recipe, seed):
    other = recipe.replace(seed=seed)
    assert (other == recipe) == (other.digest == recipe.digest)
    assert other.replace(seed=recipe.seed).digest == recipe.digest


@given(recipe=recipes)
def test_replace_with_its_own_fields_changes_nothing(recipe):
    assert recipe.replace(**recipe.model_dump()) == recipe


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [("val_size", 5000, 5000.0), ("lr", 1, 1.0), ("weight_decay", 0, 0.0), ("warmup_epochs", 5, 5.0)],
)
def test_a_whole_number_and_its_float_are_the_same_trial(field, one, other):
    assert Recipe(**{field: one}).digest == Recipe(**{field: other}).digest


def test_a_list_and_a_tuple_of_augmentations_are_the_same_trial():
    assert Recipe(augment=["crop", "flip"]).digest == Recipe(augment=("crop", "flip")).digest
    assert Recipe(augment=["crop", "flip"]).digest != Recipe(augment=["flip", "crop"]).digest


@given(recipes)
def test_the_fields_as_json_are_those_of_pydantic(recipe: Recipe):
    assert recipe.as_json() == recipe.model_dump(mode="json")


@given(recipes)
def test_the_digest_is_of_the_fields_in_the_order_of_the_alphabet(recipe: Recipe):
    same = {name for name in added_later() if getattr(recipe, name) == Recipe.model_fields[name].default}
    assert recipe.digest == digest_by_hand(recipe, without=same)


def digest_by_hand(recipe: Recipe, *, without: Iterable[str]) -> str:
    fields = {key: value for key, value in recipe.model_dump(mode="json").items() if key not in without}
    fields = {key: int(v) if isinstance(v, float) and v == int(v) else v for key, v in fields.items()}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


def test_digest_is_of_every_field_but_later_ones_at_their_default():
    assert Recipe().model_dump().keys() == Recipe.model_fields.keys()
    assert Recipe().digest == digest_by_hand(Recipe(), without=added_later())
    several = Recipe(accumulate=2, tta="mirror")
    assert several.digest == digest_by_hand(several, without=added_later() - {"accumulate", "tta"})


@pytest.mark.parametrize(
    ("fields", "digest"),
    [({}, "791dd994"), ({"arch": "resnet34", "augment": ["crop", "flip"], "epochs": 3}, "19f1d6a6")],
)
def test_a_recipe_of_the_first_version_keeps_its_digest(fields: dict[str, Any], digest: str):
    """Trials are known by it: another one, and a run would train its finished trials again."""
    assert Recipe(**fields).digest == digest


def test_every_field_has_a_description():
    assert all(field.description for field in Recipe.model_fields.values())


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(ValidationError):
        Recipe().lr = 0.5


def test_replace_validates_again():
    with pytest.raises(ValidationError, match="unknown architecture"):
        Recipe().replace(arch="resnet19")
    with pytest.raises(ValidationError, match="extra"):
        Recipe().replace(learning_rate=0.1)
    with pytest.raises(ValidationError, match="warmup_epochs"):
        Recipe(warmup_epochs=5).replace(epochs=5)


@pytest.mark.parametrize(
    ("field", "given_name", "nearest"),
    [
        ("arch", "resnet19", "resnet9"),
        ("optimizer", "sdg", "sgd"),
        ("schedule", "cosin", "cosine"),
        ("mix", "cutmx", "cutmix"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_nearest_and_not_with_all_of_them(field, given_name, nearest):
    message = message_of(**{field: given_name})
    assert f"{given_name!r}; did you mean {nearest!r}?" in message
    assert "choose one of" not in message


def test_an_unknown_augmentation_is_refused_with_all_of_them():
    assert f"choose one of {', '.join(AUGMENTS)}" in message_of(augment=["crop", "rotate"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("lr", value) for value in (0, -0.1, math.nan, math.inf, "0.1", None, True)),
        *(("epochs", value) for value in (0, -1, 1.5, "3", True, 2_000_000)),
        *(("seed", value) for value in (-1, 2**32, 1.0)),
        *(("momentum", value) for value in (-0.1, 1.0)),
        *(("ema_decay", value) for value in (-0.1, 1.0)),
        *(("label_smoothing", value) for value in (-0.1, 1.0)),
        *(("mix_prob", value) for value in (-0.1, 1.1)),
        *(("mix_alpha", value) for value in (0, -1)),
        *(("val_size", value) for value in (-1, math.nan, True, "0.1")),
        *(("augment", value) for value in ("crop", None, [1])),
        ("image_size", 7),
        ("width", 0),
        ("batch_size", 0),
        ("weight_decay", -1e-4),
        ("warmup_epochs", -1),
        ("mix_off_epochs", -1),
        ("precision", "fp64"),
        ("dataset", ""),
        ("compile", 1),
        ("nesterov", "yes"),
        ("no_such_field", 1),
    ],
)
def test_an_invalid_field_is_refused_by_name(field, value):
    assert field in message_of(**{field: value})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"nesterov": True, "momentum": 0.0}, "nesterov"),
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs"),
        ({"epochs": 3, "mix_off_epochs": 4}, "mix_off_epochs"),
        ({"mix": "cutmix", "batch_size": 1}, "batch_size"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, named):
    assert named in message_of(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"nesterov": True, "momentum": 0.1},
        {"nesterov": True, "momentum": 0.0, "optimizer": "adam"},
        {"nesterov": True, "momentum": 0.0, "optimizer": "adamw"},
        {"epochs": 3, "warmup_epochs": 2.9},
        {"epochs": 3, "mix_off_epochs": 3},
        {"mix": "cutmix", "batch_size": 2},
        {"mix": "none", "batch_size": 1},
        {"accumulate": 8, "batch_size": 8},
        {"val_size": 0},
    ],
)
def test_fields_at_the_edge_of_a_contradiction_are_accepted(fields):
    Recipe(**fields)


def test_the_data_key_is_what_the_splits_depend_on():
    recipe = Recipe(dataset="digits", image_size=16, val_size=0.2)
    assert recipe.data_key == DataKey("digits", 16, 0.2)
    assert recipe.replace(lr=0.5, seed=3).data_key == recipe.data_key
    assert recipe.data_key.label == "digits at 16 px"


def test_each_field_of_the_data_key_is_the_recipes():
    key = DataKey(
        "photos", 24, 0.3, test_size=0.4, columns="image: a", skip_bad=True, background="black", follow_links=True
    )
    assert all(getattr(key, name) != default for name, default in DataKey._field_defaults.items())
    assert Recipe.model_construct(**key._asdict()).data_key == key


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"augment": [{"crop": {"padding": 8, "mode": "reflect"}}], "image_size": 8}, "needs a padding below"),
        ({"decoupled_weight_decay": True, "optimizer": "adam"}, "is for sgd, adamw and muon"),
        ({"accumulate": 9, "batch_size": 8}, "accumulate: 9 is more than batch_size: 8"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], problem: str):
    with pytest.raises(ValidationError, match=problem):
        Recipe(**fields)


def test_a_change_looks_up_no_component_but_the_one_that_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(arch="resnet18", optimizer="adam")
    looked_up: list[str] = []
    for field, canonical in CANONICAL.items():

        def counted(value: Any, *, field: str = field, canonical: Any = canonical) -> Any:
            looked_up.append(field)
            return canonical(value)

        monkeypatch.setitem(CANONICAL, field, counted)
    assert recipe.replace(lr=0.5, augment=[{"crop": {"padding": 2}}]).augment == ("crop(padding=2)",)
    assert looked_up == ["augment"]
    with pytest.raises(ValidationError, match="unknown architecture"):
        recipe.replace(arch="resnet19")
