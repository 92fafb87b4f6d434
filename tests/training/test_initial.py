"""Tests of `init`: weights from a file, a trial or a library, what does not fit, and the copy in the run folder."""

import dataclasses
import itertools
import logging
import os
import shutil
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import raytrain
from raytrain.errors import ExperimentError, ModelError, RunFolderError
from raytrain.execution.initial import initial_contents
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.search.assignments import parse_axes
from raytrain.models.pretrained import pretrained_weights
from raytrain.models.weights import as_safetensors, initialise, read_weights
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint, trial
from raytrain.training.checkpoint import Checkpoint
from raytrain.training.initial import copies, sources
from raytrain.training.initial.copies import keep_source, write_initial
from raytrain.training.initial.sources import stored_name, weights
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState
from raytrain.training.trial import TrialRun

CPU = torch.device("cpu")
PLAIN = Recipe(width=2, image_size=8, batch_size=16, lr=0.05, precision="fp32", epochs=3)
CLASSES = 4
"""Number of classes of `make_data`."""
HEAD = {"head.weight", "head.bias"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def some_weights(recipe: Recipe = PLAIN, *, classes: int = CLASSES) -> dict[str, Tensor]:
    """Return weights that no seed of the recipe starts with."""
    return {
        name: tensor + 1 if tensor.is_floating_point() else tensor
        for name, tensor in recipe.build_network(classes).state_dict().items()
    }


def saved(content: Any, name: str = "model.pth") -> Recipe:
    """Return a recipe that starts from a file with this content."""
    torch.save(content, name)
    return PLAIN.replace(init=weights(name))


def started(recipe: Recipe, data: Any, *, run: str = "run") -> TrialRun:
    """Return a trial as a run begins it, or goes on with it."""
    folder = Folder.at(run)
    write_initial(folder, initial_contents([(recipe, data.num_classes)], folder))
    checkpoints = folder / "trials" / "one" / "checkpoint"
    return TrialRun(recipe, data=data, device=CPU, checkpoints=checkpoints, run=folder)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if torch.equal(one[name], other[name])}


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "a state dict": lambda plain: plain,
    "a file of a training run": lambda plain: {"state_dict": plain, "epoch": 3},
    "DistributedDataParallel": lambda plain: {f"module.{name}": tensor for name, tensor in plain.items()},
    "a moving average": lambda plain: {
        "model": some_weights(),
        "ema": {"n_averaged": torch.tensor(7), **{f"module.{name}": tensor for name, tensor in plain.items()}},
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_weights_of_a_file_are_there_before_the_first_step(wrapping: str, make_data: Any) -> None:
    given = some_weights()
    run = started(saved(WRAPPINGS[wrapping](given)), make_data())
    assert same(given, run.state.model.state_dict()) == set(given)


class Within(nn.Module):
    """A network in an attribute that is called as the one of a wrapper."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.module = nn.Linear(3, 4)
        self.head = nn.Linear(4, classes)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_an_attribute_called_module_is_no_wrapper(wrapping: str, tmp_path: Path) -> None:
    given = Within(CLASSES).state_dict()
    content = WRAPPINGS[wrapping](given)
    torch.save(content, tmp_path / "model.pth")
    network = Within(CLASSES)
    weights = read_weights((tmp_path / "model.pth").read_bytes(), name="model.pth")
    assert initialise(network, weights, classes=CLASSES, strict=True, name="model.pth") == []
    assert same(given, network.state_dict()) == set(given)


def test_weights_of_which_some_begin_with_module_are_all_named(make_data: Any) -> None:
    given = some_weights()
    given["module.extra"] = torch.ones(1)
    with pytest.raises(ModelError, match=r"1 not in the network: module\.extra"):
        started(saved(given), make_data())


def test_safetensors_and_a_moving_average_of_the_trial_start_there_too(make_data: Any) -> None:
    given = some_weights()
    save_file(given, "model.safetensors")
    recipe = PLAIN.replace(init=weights("model.safetensors"), ema_decay=0.9)
    assert same(given, started(recipe, make_data()).state.evaluated_model.state_dict()) == set(given)


def test_a_network_that_asks_for_the_versions_of_its_modules_starts_there_too(
    make_data: Any, monkeypatch: pytest.MonkeyPatch, versioned: Any
) -> None:
    monkeypatch.setattr(Recipe, "build_network", lambda _, classes: versioned(classes))
    given = some_weights()
    assert same(given, started(saved(given), make_data()).state.model.state_dict()) == set(given)


def test_the_loop_starts_from_the_weights_that_init_names_or_not_at_all(make_data: Any) -> None:
    given, data = some_weights(), make_data()
    recipe = saved(given)
    with pytest.raises(ValueError, match=r"starts from init: model.pth@.*raytrain.initial_weights"):
        TrainState.create(recipe, num_classes=CLASSES, device=CPU, data=data)
    state = TrainState.create(
        recipe, num_classes=CLASSES, device=CPU, data=data, weights=raytrain.initial_weights(recipe)
    )
    assert same(given, state.model.state_dict()) == set(given)
    assert raytrain.initial_weights(PLAIN) is None


def test_a_name_longer_than_a_path_may_be_names_no_weights() -> None:
    with pytest.raises(ExperimentError, match=r"there is no file x{300}"):
        weights("x" * 300 + ".pth")


def test_weights_that_this_process_has_not_read_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = saved(some_weights())
    monkeypatch.setattr(sources, "_SOURCES", {})
    with pytest.raises(ExperimentError, match=r"name them by raytrain\.weights"):
        raytrain.initial_weights(recipe)


def test_a_head_for_other_classes_keeps_its_own_weights_which_the_log_says(
    make_data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    given, data = some_weights(classes=7), make_data()
    recipe = saved(given)
    with caplog.at_level(logging.INFO, logger="raytrain"):
        run = started(recipe, data)
    own = TrialRun(PLAIN, data=data, device=CPU, checkpoints=Folder.at("plain")).state.model.state_dict()
    now = run.state.model.state_dict()
    assert {name for name in now if name not in HEAD} <= same(given, {**now, **{name: given[name] for name in HEAD}})
    assert same(own, now) >= HEAD
    assert "left out: head.weight, head.bias" in caplog.text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda given: given.pop("stem.0.weight"), "1 missing there: stem.0.weight"),
        (lambda given: given.update(extra=torch.ones(1)), "1 not in the network: extra"),
        (
            lambda given: given.update({"stem.1.bias": torch.ones(5)}),
            r"1 of another shape: stem.1.bias \(5,\) there, \(2,\) here",
        ),
    ],
    ids=["missing", "extra", "shape"],
)
def test_what_does_not_fit_is_refused_by_name_unless_it_may_be_left_out(
    change: Callable[[dict[str, Tensor]], Any], problem: str, make_data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    given = some_weights()
    change(given)
    recipe, data = saved(given), make_data()
    with pytest.raises(ModelError, match=problem):
        started(recipe, data)
    assert not Path("run").exists()
    with caplog.at_level(logging.INFO, logger="raytrain"):
        started(recipe.replace(init_strict=False), data)
    assert "left out" in caplog.text


def test_weights_of_another_network_are_refused_even_where_some_may_be_left_out(make_data: Any) -> None:
    recipe = saved({"layer.weight": torch.ones(2, 2)}).replace(init_strict=False)
    with pytest.raises(ModelError, match="no weight in it fits the network"):
        started(recipe, make_data())


class Malicious:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda path: torch.save({"model": Malicious()}, path), "holds more than weights, and such a file could run"),
        (lambda path: path.write_bytes(b"no weights at all"), "is damaged, or no file of weights"),
        (lambda path: torch.save({}, path), "holds no weights"),
        (lambda path: torch.save({"a": 1.5}, path), "holds other things than weights, such as 'a'"),
    ],
    ids=["code", "garbage", "empty", "numbers"],
)
def test_a_file_of_something_else_is_one_message(content: Callable[[Path], Any], problem: str) -> None:
    content(Path("model.pth"))
    with pytest.raises(ModelError, match=problem):
        read_weights(Path("model.pth").read_bytes(), name="model.pth")
    assert not Path("ran").exists()


def test_a_trial_goes_on_from_its_checkpoint_bit_for_bit_and_reads_the_weights_no_more(
    make_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CHECKPOINT_SHARE", float("inf"))
    recipe, data = saved(some_weights()), make_data()
    straight = started(recipe, data, run="straight")
    reports = list(straight.reports())
    for _ in itertools.islice(started(recipe, data).reports(), 2):
        pass
    shutil.rmtree("run/init")
    checkpoints = Folder.at("run") / "trials" / "one" / "checkpoint"
    resumed = TrialRun(recipe, data=data, device=CPU, checkpoints=checkpoints, run=Folder.at("run"))
    one, other = straight.state.state_dict()["model"], resumed.state.state_dict()["model"]
    assert same(one, other) != set(one)  # two epochs of three
    *_, last = resumed.reports(after=2)
    assert same(one, resumed.state.state_dict()["model"]) == set(one)
    assert dataclasses.replace(last.metrics, seconds=0) == dataclasses.replace(reports[-1].metrics, seconds=0)


def test_a_trial_without_the_copy_of_its_weights_does_not_start_elsewhere(make_data: Any) -> None:
    recipe = saved(some_weights())
    for damage in (lambda file: file.write_bytes(b"changed"), Path.unlink):
        run = started(recipe, make_data())
        (copy,) = (file for file in Path("run/init").iterdir() if file.name != copies.FILES)
        damage(copy)
        with pytest.raises(RunFolderError, match=r"has been changed|is missing"):
            TrialRun(recipe, data=make_data(), device=CPU, checkpoints=Folder.at("new"), run=Folder.at("run"))
        shutil.rmtree("run")
        del run


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        a_folder,
        lambda file: file.write_bytes(b"[" * 100_000),
        lambda file: file.write_bytes(b"7"),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ],
)
@pytest.mark.parametrize("which", ["the list", "the copy"])
def test_a_damaged_copy_of_weights_is_one_message(
    which: str, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = saved(some_weights()), Folder.at("run")
    write_initial(run, initial_contents([(recipe, CLASSES)], None))
    file = copies.FILES if which == "the list" else stored_name(recipe.init, recipe.arch)
    damage(Path("run", "init", file))
    monkeypatch.setattr(sources, "_SOURCES", {})  # as in a process that was not told of them
    with pytest.raises(RunFolderError, match=rf"init/{file} (cannot be read|has been changed)"):
        keep_source(run, recipe.init, recipe.arch)
    with pytest.raises(RunFolderError, match=rf"init/{file} (cannot be read|has been changed)"):
        initial_contents([(recipe, CLASSES)], run)


def test_other_weights_under_the_same_name_are_another_trial_and_a_moved_file_is_the_same() -> None:
    one = saved({"a": torch.ones(1)})
    Path("there").mkdir()
    shutil.copy("model.pth", "there/model.pth")
    assert PLAIN.replace(init=weights("there/model.pth")).digest == one.digest
    assert saved({"a": torch.zeros(1)}).digest != one.digest


def test_without_init_a_recipe_keeps_the_digest_it_had() -> None:
    assert PLAIN.replace(init="none", init_strict=True).digest == PLAIN.digest


def test_names_are_relative_to_the_experiment_file_and_options_to_the_working_folder() -> None:
    Path("there").mkdir()
    torch.save({"a": torch.ones(1)}, "there/model.pth")
    Path("there/one.yaml").write_text("grid: {init: [none, model.pth]}\nrecipe: {arch: resnet9}\n")
    read = [one.recipe.init for one in read_experiment(Path("there/one.yaml")).trials()]
    assert read[0] == "none"
    assert read[1] == weights("there/model.pth")
    assert parse_axes(["init=none,there/model.pth"]) == {"init": read}
    Path("there/one.yaml").write_text("grid: {init: {choice: [none, model.pth]}}\nrecipe: {arch: resnet9}\n")
    assert [one.recipe.init for one in read_experiment(Path("there/one.yaml")).trials()] == read
    Path("there/one.yaml").write_text("grid: {init: {model.pth: {lr: [1]}, ./model.pth: {lr: [2]}}}\n")
    with pytest.raises(ExperimentError, match=r"one\.yaml:1:8: init: two of model\.pth, \./model\.pth are the same"):
        read_experiment(Path("there/one.yaml"))


def test_a_trial_of_a_run_is_named_by_its_run_and_the_first_letters_of_its_digest(make_data: Any) -> None:
    given = some_weights()
    best = {"epoch": 1, "accuracy": 0.5, "loss": 1.0, "weights": given}
    folder = Folder.at("runs/first/trials/resnet18-sgd-lr0.1-cosine-s0-12345678/checkpoint")
    checkpoint.save(folder, Checkpoint(1, {"model": some_weights()}, best, []))
    name = weights("first/1234")
    assert name.startswith("first/12345678@")
    assert name == weights("runs/first/resnet18-sgd")
    run = started(PLAIN.replace(init=name), make_data())
    assert same(given, run.state.model.state_dict()) == set(given)
    with pytest.raises(ExperimentError, match=r"no trial '9'; give one of resnet18-sgd-lr0\.1-cosine-s0-12345678"):
        weights("first/9")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.pth", "there is no file missing.pth, and no run of that name; give a .pth or .safetensors file"),
        ("large.pth", "more than the 0 allowed for weights; save the state_dict alone"),
    ],
)
def test_weights_that_cannot_be_taken_are_one_message(name: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST", 100)
    Path("large.pth").write_bytes(bytes(101))
    with pytest.raises(ExperimentError, match=problem):
        weights(name)


def test_a_recipe_reads_no_file() -> None:
    with pytest.raises(ValueError, match=r"raytrain.weights\('model.pth'\)"):
        Recipe(init="model.pth")


def test_pretrained_weights_are_those_of_a_library() -> None:
    with pytest.raises(ValueError, match="pretrained is for networks of timm and torchvision, given arch: resnet"):
        Recipe(init="pretrained")


# ---- weights of the libraries, from their caches


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty caches of both libraries, and no network."""

    def refused(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("torch.hub.download_url_to_file", refused)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    try:
        from huggingface_hub import constants
    except ImportError:
        return tmp_path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


SQUEEZENET = PLAIN.replace(arch="torchvision:squeezenet1_1", image_size=32, init="pretrained")
TIMM = PLAIN.replace(arch="timm:test_resnet", image_size=32, init="pretrained")


def test_pretrained_weights_of_torchvision_come_from_its_cache(offline: Path, make_data: Any) -> None:
    given = some_weights(SQUEEZENET, classes=1000)
    cache = offline / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(given, cache / "squeezenet1_1-b8a52dc0.pth")
    now = started(SQUEEZENET, make_data(size=32)).state.model.state_dict()
    assert set(given) - same({n: given[n] for n in now if now[n].shape == given[n].shape}, now) == {
        "classifier.1.weight",
        "classifier.1.bias",
    }
    assert Path("run/init/pretrained-torchvision-squeezenet1_1").exists()
    shutil.rmtree(offline / "torch")
    started(SQUEEZENET, make_data(size=32))  # from the run folder


@pytest.mark.usefixtures("offline")
def test_a_rerun_starts_from_the_runs_copy_of_pretrained_weights_and_asks_no_library(
    make_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_SOURCES", {})
    given = some_weights(SQUEEZENET)
    write_initial(Folder.at("run"), {stored_name("pretrained", SQUEEZENET.arch): as_safetensors(given)})
    with pytest.raises(ModelError, match="cannot be loaded"):
        started(SQUEEZENET, make_data(size=32), run="rerun")
    keep_source(Folder.at("run"), SQUEEZENET.init, SQUEEZENET.arch)
    now = started(SQUEEZENET, make_data(size=32), run="rerun").state.model.state_dict()
    assert same(given, now) == set(given)
    other = SQUEEZENET.replace(arch="torchvision:squeezenet1_0")
    keep_source(Folder.at("run"), other.init, other.arch)  # there is no copy for it
    with pytest.raises(ModelError, match="cannot be loaded"):
        started(other, make_data(size=32), run="rerun")


def test_a_file_in_the_cache_that_would_run_code_is_refused(offline: Path, make_data: Any) -> None:
    cache = offline / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save({"model": Malicious()}, cache / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(ModelError, match=r"cannot be loaded \(UnpicklingError"):
        started(SQUEEZENET, make_data(size=32))
    assert not Path("ran").exists()


def test_pretrained_weights_of_timm_come_from_its_cache(offline: Path, make_data: Any) -> None:
    timm = pytest.importorskip("timm")
    given = some_weights(TIMM, classes=1000)
    cfg = timm.get_pretrained_cfg("test_resnet")
    there = offline / "hub" / f"models--{cfg.hf_hub_id.replace('/', '--')}"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text("0123")
    (there / "snapshots" / "0123").mkdir(parents=True)
    save_file(given, there / "snapshots" / "0123" / "model.safetensors")
    now = started(TIMM, make_data(size=32)).state.model.state_dict()
    assert set(given) - same({n: given[n] for n in now if now[n].shape == given[n].shape}, now) == {
        "fc.weight",
        "fc.bias",
    }


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("recipe", [SQUEEZENET, TIMM], ids=["torchvision", "timm"])
def test_without_network_and_cache_one_message_says_what_to_do(
    recipe: Recipe, make_data: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(recipe.arch.partition(":")[0])
    with pytest.raises(
        ModelError, match=r"(?s)pretrained weights of .* cannot be loaded .*Without network, .*or give"
    ) as no:
        started(recipe, make_data(size=32))
    url = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
    assert (url in str(no.value)) == (recipe is SQUEEZENET)
    assert tuple(capsys.readouterr()) == ("", "")  # no "Downloading: ..." of torch.hub among the results


@pytest.mark.usefixtures("offline")
def test_what_is_not_the_networks_fault_is_answered_without_advice_about_it() -> None:
    with pytest.raises(ModelError, match=r"cannot be loaded \(TypeError: .*'depth'") as no:
        pretrained_weights("torchvision:squeezenet1_1", {"depth": 3})
    assert "network," not in str(no.value)
    assert "Give a file: init: model.safetensors" in str(no.value)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError, match=f"pretrained is not for torchvision:{name}, .*such as timm:inception_v3$"):
        pretrained_weights(f"torchvision:{name}", {"aux_logits": False})


def test_a_copy_that_is_too_large_or_no_file_is_one_message(make_data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = saved(some_weights())
    started(recipe, make_data())
    (copy,) = (file for file in Path("run/init").iterdir() if file.name != copies.FILES)
    with monkeypatch.context() as patch:
        patch.setattr(copies, "LARGEST", 8)
        with pytest.raises(RunFolderError, match="larger than 8 bytes"):
            copies.stored_content(Folder.at("run"), recipe.init, recipe.arch)
    copy.unlink()
    copy.mkdir()
    with pytest.raises(RunFolderError, match="no regular file"):
        copies.stored_content(Folder.at("run"), recipe.init, recipe.arch)
