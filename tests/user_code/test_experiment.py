"""Experiments that name the user's code: read, refused with file and line, run in this process, and left alone."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from typer.testing import CliRunner

import raytrain
from raytrain.cli.app import app
from raytrain.errors import ExperimentError, ModelError, RunFolderError
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.reading import read_experiment, read_run
from raytrain.experiment.rehearsal.rehearsal import rehearse
from raytrain.experiment.search.assignments import parse_overrides
from raytrain.experiment.trial import Trial
from raytrain.experiment.user_code import digests_of
from raytrain.inference.model import load_model
from raytrain.runs.folder import read_state
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.choices import AUGMENT_CHOICES
from raytrain.training.recipe import Recipe
from raytrain.user_code import declared
from raytrain.user_code import source as sources

SMALL = "dataset: my_rest.py:stripes, image_size: 16, width: 4, epochs: 1, lr: 0.01, optimizer: adam"


def written(folder: Path, recipe: str, rest: str = "") -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"recipe: {{{recipe}}}\n{rest}")
    return path


def test_arguments_are_checked_and_may_be_values_of_the_grid(folder: Path) -> None:
    grid = "grid: {arch: [my_net.py:MyNet, {my_net.py:MyNet: {depth: 1}}, {my_net.py:MyNet: {depth: 3}}]}"
    trials = read_experiment(written(folder, "width: 4", grid)).trials()
    digest = trials[0].recipe.user_code[0]
    # 1 is the default, so the second is the first
    assert [one.recipe.arch for one in trials] == [
        f"my_net.py:MyNet@{digest}",
        f"my_net.py:MyNet@{digest}(depth=3)",
    ]
    assert trials[0].id.startswith("MyNet-sgd-")
    axis = read_experiment(written(folder, "width: 4, arch: my_net.py:MyNet", "grid: {arch.depth: [1, 3]}"))
    assert axis.trials() == trials


def test_code_may_stand_in_a_choice_as_in_a_list(folder: Path) -> None:
    listed, below = "[my_net.py:MyNet, resnet9]", "{my_net.py:MyNet: {arch.depth: [1, 2]}, resnet9: {}}"
    as_list = read_experiment(written(folder, "width: 4", f"grid: {{arch: {listed}}}")).trials()
    as_choice = read_experiment(written(folder, "width: 4", f"grid: {{arch: {{choice: {listed}}}}}")).trials()
    assert as_list == as_choice
    assert [one.recipe.arch.partition("@")[0] for one in as_choice] == ["my_net.py:MyNet", "resnet9"]
    nested = f"grid: {{optimizer: {{sgd: {{arch: {{choice: {listed}}}}}, adam: {{arch: {below}}}}}}}"
    assert len(read_experiment(written(folder, "width: 4", nested)).trials()) == 2 + 3
    with pytest.raises(ExperimentError, match=r"mine\.yaml:2:15: arch: gone\.py: no such file"):
        read_experiment(written(folder, "width: 4", "grid: {arch: {choice: [gone.py:Net, resnet9]}}"))


def test_what_includes_and_excludes_name_is_read_too(folder: Path) -> None:
    rest = (
        "grid: {arch: [resnet9, my_net.py:MyNet], lr: [0.1, 0.2]}\n"
        "exclude: [{arch: my_net.py:MyNet, lr: 0.2}]\n"
        "include: [{augment: [flip, {my_rest.py:noise: 4.0}]}]"
    )
    trials = read_experiment(written(folder, "width: 4", rest)).trials()
    assert [(one.recipe.arch.partition(":")[0], one.recipe.lr) for one in trials[:3]] == [
        ("resnet9", 0.1),
        ("resnet9", 0.2),
        ("my_net.py", 0.1),
    ]
    assert trials[3].recipe.augment[1].endswith("(strength=4)")


def test_paths_are_relative_to_the_file_and_those_of_set_to_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(folder, "arch: my_net.py:MyNet")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    (from_file,) = read_experiment(path).trials()
    (from_set,) = read_experiment(path, overrides=parse_overrides(["arch=../my_net.py:MyNet"])).trials()
    assert from_file == from_set
    with pytest.raises(ExperimentError, match=r"--set arch='my_net.py:MyNet': my_net.py: no such file"):
        read_experiment(path, overrides=parse_overrides(["arch=my_net.py:MyNet"]))


def test_the_same_code_is_the_same_trial_and_changed_code_another(folder: Path) -> None:
    path = written(folder, "arch: my_net.py:MyNet")
    (before,), (same,) = read_experiment(path).trials(), read_experiment(path).trials()
    (folder / "my_layers.py").write_text((folder / "my_layers.py").read_text().replace("ReLU", "GELU"))
    (changed,) = read_experiment(path).trials()
    assert before.id == same.id != changed.id


@pytest.mark.usefixtures("folder")
def test_in_python_code_is_named_by_a_function() -> None:
    with pytest.raises(ValueError, match=r"raytrain\.code\('my_net\.py:MyNet'\)"):
        raytrain.Recipe(arch="my_net.py:MyNet")
    recipe = raytrain.Recipe(arch=raytrain.code("my_net.py:MyNet"), width=4)
    assert recipe.build_network(3)(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    with pytest.raises(ExperimentError, match="names no code"):
        raytrain.code("resnet18")


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        ("arch: my_net.py:Net", r"my_net\.py: has no 'Net'; it has MyNet, no_logits"),
        ("arch: gone.py:Net", r"mine\.yaml:1:10: arch: gone\.py: no such file"),
        ("arch: {my_net.py:MyNet: {deep: 3}}", r"unknown argument 'deep'; did you mean 'depth'"),
        ("arch: {my_net.py:MyNet: {depth: two}}", r"depth is 'two': input should be a valid integer"),
        ("arch: {my_net.py:MyNet: {width: 3}}", r"unknown argument 'width'"),  # it is a field of the recipe
        ("arch: bad.py:needs", r"needs a value for 'size' \(bad\.py:1\)"),
        ("augment: [bad.py:nothing]", r"takes 0 of the 1 argument .* by position \(bad\.py:5\)"),
        ("loss: mean", r"unknown loss 'mean'; choose one of cross_entropy, bce"),
        ("arch: my_net.py:MyNet@0123456789ab", r"code as a run folder names it; name your file: my_net\.py:MyNet"),
    ],
)
def test_what_is_wrong_is_said_when_the_file_is_read(folder: Path, recipe: str, problem: str) -> None:
    (folder / "bad.py").write_text(
        f"def needs(num_classes, size):\n    pass\n\n\ndef nothing():\n    pass\n# {folder}\n"
    )
    with pytest.raises(ExperimentError, match=problem):
        read_experiment(written(folder, recipe))


BROKEN = """
import torch
from torch import nn


def other_classes(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes + 1))


def grey(num_classes):
    return nn.Conv2d(1, num_classes, 3)


def function(num_classes):
    return lambda images: images


def without_classes():
    return nn.Flatten()


def halved(images):
    return images[:1]


def nothing(images):
    print(images.shape)


def failing(images):
    raise ValueError("no such colour")


def per_image(logits, targets):
    return torch.zeros(len(targets))


def unmixed(images, labels):
    return images, labels


def negative(progress):
    return -1.0


def learning(groups, *, lr):
    return lr


def plain(logits, targets):
    return nn.functional.cross_entropy(logits, targets)


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(3, num_classes)

    def forward(self, images):
        return self.layer(images.mean((2, 3)))


class Pair(Net):
    def forward(self, images):
        return super().forward(images), images


class Infinite(Net):
    def forward(self, images):
        return super().forward(images) / 0


class Labels(Net):
    def forward(self, images):
        return super().forward(images).long()


class Fixed(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))  # as many as there are classes


class Early(nn.Module):
    def __init__(self, num_classes):
        self.layer = nn.Linear(3, num_classes)


class Unfinished(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Linear(3, num_classes)


def leaving(num_classes):
    raise SystemExit(3)


class Detached(Net):
    def forward(self, images):
        return super().forward(images).detach()


def late(progress):
    return 1.0 if progress < 0.85 else -0.1


def bright(images):
    return images.float()


def undefined(images):
    return images.float() / 0


def counted(images, labels, *, num_classes):
    return images, nn.functional.one_hot(labels, num_classes)


def outside(images, labels, *, num_classes):
    return images, nn.functional.one_hot(labels, num_classes).float().numpy()


def double(logits, targets):
    torch.set_default_dtype(torch.float64)
    return nn.functional.cross_entropy(logits, targets)


class Doubled(nn.BatchNorm2d):
    def forward(self, images):
        return 2 * super().forward(images)


def doubled(num_classes):
    return nn.Sequential(Doubled(3), nn.Flatten(), nn.Linear(768, num_classes))


class Viewed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)
        self.head = nn.Linear(512, num_classes)

    def forward(self, images):
        return self.head(self.layer(images).view(len(images), -1))


class ViewedAtOnce(Viewed):
    def forward(self, images):
        return self.head(images.view(len(images), -1)[:, :512])


def lazy(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def remembering(groups, *, lr):
    import numpy

    for group in groups:
        group["first_lr"] = numpy.float64(lr)
    return torch.optim.SGD(groups, lr=lr)


def watching(groups, *, lr):
    return torch.optim.SGD([{**group, "on_end": lambda: None} for group in groups], lr=lr)


def shaded(images):
    return (images.float() + 8).clamp(0, 255).to(torch.uint8)


def widened(images):
    return images.repeat(1, 1, 1, 2)


def bytes_alone(images):
    return images.bitwise_not()


class Fitted(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.layer = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images):
        return self.layer(images.flatten(1))


def row(logits, targets):
    return nn.functional.cross_entropy(logits, targets).reshape(1)
"""


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"arch": "other_classes"}, r"^bad\.py:6: architecture other_classes returns \(2, 4\).*must return \(2, 3\)"),
        ({"arch": "grey"}, r"^architecture grey: .*RuntimeError: .*to have 1 channels, but got 3 channels"),
        ({"arch": "function"}, r"^bad\.py:14: architecture function makes a function; it must make a torch\.nn\.Mod"),
        ({"arch": "without_classes"}, r"^bad\.py:18: architecture without_classes returns \(2, 768\)"),
        (
            {"arch": "Pair"},
            r"^bad\.py:\d+: architecture Pair returns a tuple for images of .*must return one",
        ),
        ({"arch": "Infinite"}, r"^bad\.py:\d+: architecture Infinite returns numbers that are not finite"),
        ({"arch": "Labels"}, r"^bad\.py:\d+: architecture Labels returns torch\.int64; it must return floats"),
        ({"arch": "Detached"}, r"^bad\.py:\d+: architecture Detached returns logits without a gradient"),
        ({"arch": "Fixed"}, r"^bad\.py.*: architecture Fixed has no parameters to train"),
        ({"arch": "Early"}, r"^architecture Early: bad\.py:85: AttributeError: cannot assign module before"),
        ({"arch": "Unfinished"}, r"^architecture Unfinished: bad\.py:89: NotImplementedError: .*\"forward\" function"),
        ({"arch": "leaving"}, r"^architecture leaving: bad\.py:95: SystemExit: 3"),
        (
            {"arch": "Viewed"},
            r"^architecture Viewed: bad\.py:\d+: RuntimeError: view .*channels_last memory: use",
        ),
        ({"arch": "lazy"}, r"^architecture lazy: .*uninitialized parameter"),
        ({"arch": "doubled", "sync_batchnorm": True}, r"^bad\.py:\d+: architecture doubled has the layer 0, a Doubled"),
        ({"augment": "halved"}, r"^bad\.py:22: augmentation halved returns \(1, 3, 16, 16\)"),
        ({"augment": "nothing"}, r"^bad\.py:26: augmentation nothing returns nothing"),
        ({"augment": "failing"}, r"^augmentation failing: bad\.py:31: ValueError: no such colour"),
        ({"loss": "per_image"}, r"^bad\.py:34: loss per_image returns \(2,\); it must return a scalar"),
        ({"loss": "row"}, r"^bad\.py:\d+: loss row returns \(1,\); it must return a scalar"),
        ({"mix": "unmixed"}, r"^bad\.py:38: mix unmixed returns .*and \(2,\)"),
        ({"schedule": "negative"}, r"^bad\.py:42: schedule negative returns -1\.0 at progress 0\.0"),
        ({"schedule": "late"}, r"^bad\.py:\d+: schedule late returns -0\.1 at progress 0\.85"),
        ({"augment": "bright"}, r"^bad\.py:\d+: augmentation bright returns floats up to 255; it must .* in \[0, 1\]"),
        ({"augment": "undefined"}, r"^bad\.py:\d+: augmentation undefined returns floats up to nan"),
        ({"mix": "counted"}, r"^bad\.py:\d+: mix counted returns targets of torch\.int64; it must return floats"),
        ({"mix": "outside"}, r"^bad\.py:\d+: mix outside returns a Tensor and a ndarray; it must return two tensors"),
        ({"loss": "double"}, r"^bad\.py:\d+: loss double sets PyTorch's default dtype to torch\.float64; leave it out"),
        ({"optimizer": "learning"}, r"^bad\.py:46: optimizer learning returns a float"),
        ({"optimizer": "remembering"}, r"^bad\.py:\d+: optimizer remembering keeps numpy[\w.]+ in its state_dict"),
        ({"optimizer": "watching"}, r"^bad\.py:\d+: optimizer watching keeps something in its state_dict"),
        ({"loss": "plain", "label_smoothing": 0.1}, r"^bad\.py:50: loss plain does not take label_smoothing"),
    ],
)
def test_what_does_not_fit_is_one_message_with_file_and_line(
    folder: Path, fields: dict[str, Any], problem: str
) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    named: dict[str, Any] = {
        field: raytrain.code(f"bad.py:{value}") if isinstance(value, str) else value for field, value in fields.items()
    }
    if "augment" in named:
        named["augment"] = [named["augment"]]
    with pytest.raises(ExperimentError, match=problem):
        rehearse([(Recipe(**named, width=4, image_size=16), 3)])


@pytest.mark.parametrize("arch", ["Viewed", "ViewedAtOnce"])
def test_a_network_that_views_its_images_as_rows_fits_where_they_are_not_channels_last(folder: Path, arch: str) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    rehearse([(Recipe(arch=raytrain.code(f"bad.py:{arch}"), image_size=16, channels_last=False), 3)])


@pytest.mark.usefixtures("empty_report")
def test_such_a_network_is_trained_measured_in_several_views_and_applied(folder: Path) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    path = written(folder, f"{SMALL}, arch: bad.py:ViewedAtOnce, channels_last: false, tta: shifts")
    outcome = run(read_experiment(path), RunOptions("runs", local=True))
    assert [one.status for one in outcome.results] == ["finished"]
    assert command("export", "mine", "-o", "mine.pth")[0] == 0
    assert command("evaluate", "mine.pth")[0] == 0
    assert load_model("mine.pth").predict(numpy.zeros((2, 16, 16, 3), dtype=numpy.uint8)).probabilities.shape == (2, 2)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"resolution": {0: 12, 0.5: 16}}, r"bad\.py:\d+: .*; the images have 12 x 12 pixels .*, as resolution makes"),
        ({"augment": [{"random_resized_crop": {"size": 12}}]}, r"the images have 12 x 12 pixels .*, as augment makes"),
        ({"augment": ["widened"]}, r"the images have 16 x 32 pixels in training, as augment makes"),
        ({"augment": ["widened"], "resolution": {0: 16}}, None),  # it has the last word
        ({"resolution": {0: 16, 0.9: 12}}, None),  # of two epochs none begins there
    ],
)
def test_a_network_is_called_with_images_of_each_size_that_it_will_meet(
    folder: Path, fields: dict[str, Any], problem: str | None
) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    augment = [raytrain.code(f"bad.py:{one}") if one == "widened" else one for one in fields.get("augment", [])]
    recipe = Recipe(**{**fields, "augment": augment}, arch=raytrain.code("bad.py:Fitted"), image_size=16, epochs=2)
    if problem is None:
        rehearse([(recipe, 3)])
        return
    with pytest.raises(ExperimentError, match=problem):
        rehearse([(recipe, 3)])


def test_an_augmentation_is_called_on_what_the_one_before_it_returns(folder: Path) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    alone = raytrain.code("bad.py:bytes_alone")
    rehearse([(Recipe(augment=(alone, "jitter"), image_size=16), 3)])
    with pytest.raises(ExperimentError, match=r"augmentation bytes_alone: bad\.py:\d+: \w+Error: .*bitwise_not"):
        rehearse([(Recipe(augment=("jitter", alone), image_size=16), 3)])


def test_bytes_for_floats_are_warned_of_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    shaded = raytrain.code("bad.py:shaded")
    rehearse([(Recipe(augment=(shaded, "jitter"), image_size=16), 3)])
    assert not caplog.messages
    for size in (16, 12):
        rehearse([(Recipe(augment=("jitter", shaded), image_size=size), 3)])
    (warning,) = caplog.messages
    assert "augmentation bad.py:shaded is given floats in [0, 1]" in warning
    assert "returns uint8" in warning


@pytest.mark.usefixtures("folder")
def test_noise_as_the_documentation_has_it_leaves_the_images_as_bright_behind_jitter() -> None:
    text = (Path(__file__).parents[2] / "docs" / "your-own.md").read_text()
    Path("parts.py").write_text(text.partition("# my_parts.py\n")[2].partition("```")[0])
    noise = AUGMENT_CHOICES.function(raytrain.code("parts.py:noise"))
    pixels = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for images, full in ((pixels, 255), (pixels / 255, 1)):
        noisy = noise(images, generator=torch.Generator().manual_seed(1))
        assert noisy.dtype == images.dtype
        changes = (noisy.float() - images.float()) / full
        assert abs(changes.mean()) < 0.01
        assert 4 / 255 < changes.std() < 12 / 255


def test_of_a_very_large_network_the_shape_alone_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bad.py").write_text(f"{BROKEN}# {folder}\n")
    recipe = Recipe(arch=raytrain.code("bad.py:Infinite"), image_size=16)
    monkeypatch.setattr("raytrain.experiment.rehearsal.network.LARGEST", 12)  # a layer of 3 x 3 numbers, and 3
    with pytest.raises(ExperimentError, match="not finite"):
        rehearse([(recipe, 3)])
    rehearse([(recipe, 4)])


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_a_network_that_cannot_be_copied_is_refused_with_a_moving_average(folder: Path, norm: str) -> None:
    (folder / "norms.py").write_text(
        "from torch import nn\nfrom torch.nn import utils\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes, *, new: bool = False):\n"
        "        super().__init__()\n"
        f"        norm = (utils.parametrizations if new else utils).{norm}\n"
        "        self.layer = norm(nn.Linear(3, num_classes))\n\n"
        "    def forward(self, images):\n"
        f"        return self.layer(images.mean((2, 3)))\n# {folder}\n"
    )
    name = raytrain.code("norms.py:Net")
    plain, averaged = Recipe(arch=name, image_size=16), Recipe(arch=name, image_size=16, ema_decay=0.9)
    rehearse([(plain, 3), (averaged.replace(arch=f"{name}(new=true)"), 3)])
    if norm == "spectral_norm":  # the one with hooks can be copied before it is called
        rehearse([(averaged, 3)])
        return
    with pytest.raises(
        ExperimentError, match=r"^norms\.py:\d+: architecture Net cannot be copied, which ema_decay .*parametrizations"
    ):
        rehearse([(plain, 3), (averaged, 3)])  # the first does not vouch for the second


UNTAKEN = """
from dataclasses import dataclass

import torch
from torch import nn


def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))


def opt(parameters, *, lr):
    return torch.optim.RMSprop(parameters, lr=lr)


def mixer(images, labels, *, num_classes):
    return images, nn.functional.one_hot(labels, num_classes).float()


def wide(num_classes, **rest):
    return make(num_classes)


@dataclass
class Factory:
    channels: int = 4

    def __call__(self, num_classes):
        return make(num_classes)


factory = Factory()  # which has no hash
"""


@pytest.mark.parametrize(
    ("recipe", "rest", "field", "code"),
    [
        ("arch: untaken.py:make", "grid: {width: [8, 16]}", "width", "make"),
        ("arch: untaken.py:wide", "grid: {width: [8, 16], lr: [0.1, 0.2]}", "width", "wide"),
        ("arch: untaken.py:make", "include: [{width: 8}, {width: 16}]", "width", "make"),
        ("width: 4", "grid: {arch: [resnet9, untaken.py:make], width: [8, 16]}", "width", "make"),
        ("optimizer: untaken.py:opt", "grid: {momentum: [0.8, 0.9]}", "momentum", "opt"),
        ("optimizer: untaken.py:opt", "grid: {nesterov: [true, false]}", "nesterov", "opt"),
        ("mix: untaken.py:mixer", "grid: {mix_alpha: [0.2, 1.0]}", "mix_alpha", "mixer"),
        ("arch: untaken.py:factory", "grid: {width: [8, 16]}", "width", "factory"),
        # no two differ in it alone
        (
            "arch: untaken.py:make",
            "grid: {width: {int: [4, 64]}, lr: {uniform: [0.1, 1]}}\nsamples: 2",
            "width",
            "make",
        ),
    ],
)
def test_trials_that_differ_only_in_what_the_code_does_not_take_are_refused(
    folder: Path, recipe: str, rest: str, field: str, code: str
) -> None:
    (folder / "untaken.py").write_text(UNTAKEN)
    problem = rf"{field} varies \(\S+ and \S+\), and untaken\.py:{code} does not take it: .*untaken\.py:{code}: {{}}}}"
    with pytest.raises(ExperimentError, match=problem):
        read_experiment(written(folder, recipe, rest))


@pytest.mark.parametrize(
    ("recipe", "rest", "trials"),
    [
        ("arch: untaken.py:make, width: 8", "grid: {lr: [0.1, 0.2]}", 2),
        ("arch: my_net.py:MyNet", "grid: {width: [8, 16]}", 2),  # it takes it
        ("width: 4", "grid: {arch: {resnet9: {width: [8, 16]}, untaken.py:make: {}}}", 3),  # as the message says
        ("mix: untaken.py:mixer, mix_prob: 0", "grid: {mix_alpha: [0.2, 1.0]}", 1),  # without effect in any case
        ("arch: untaken.py:make", "grid: {lr: {uniform: [0.1, 1]}}\nsamples: 3", 3),
    ],
)
def test_trials_that_differ_in_what_the_code_takes_are_listed(
    folder: Path, recipe: str, rest: str, trials: int
) -> None:
    (folder / "untaken.py").write_text(UNTAKEN)
    assert len(read_experiment(written(folder, recipe, rest)).trials()) == trials


def test_a_run_that_has_such_trials_is_read_with_all_of_them(folder: Path, request: pytest.FixtureRequest) -> None:
    (folder / "untaken.py").write_text(UNTAKEN)
    one = read_experiment(written(folder, f"{SMALL}, arch: untaken.py:make"))
    experiment = one.replace(grid={"width": [8, 16]})  # as an earlier version read the file
    trials = experiment.trials()
    journal = RunJournal.open(Folder.at("runs/mine"), experiment, trials)
    journal.begin({})
    journal.close()
    assert len(trials) == 2
    assert read_run(Folder.at("runs/mine")).trials() == trials
    request.getfixturevalue("elsewhere")
    assert list(read_state(journal.folder).progress) == [one.id for one in trials]


HEADS = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Two(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.second = nn.Linear(3, num_classes), nn.Linear(3, num_classes)

    def forward(self, images):
        return self.first(images.mean((2, 3)))


class Fixed(Two):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.second.requires_grad_(False)


class Large(Two):
    def forward(self, images):
        chosen = self.second if images.shape[2] > 12 else nn.Identity()
        return super().forward(images) + 0 * chosen(images.mean((2, 3))).sum()


class Many(Two):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.others = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))


class Numeric(Two):
    def forward(self, images):
        assert images.sum() != 3  # not on the device meta
        return super().forward(images)


class Recomputed(Two):
    def forward(self, images):
        means = images.mean((2, 3))
        return self.first(means) + checkpoint(self.second, means.requires_grad_(), use_reentrant=True)
"""


@pytest.mark.parametrize(
    ("arch", "fields", "unused"),
    [
        ("Two", {}, "second.weight, second.bias"),
        ("Fixed", {}, None),
        ("Two", {"epochs": 2, "freeze_epochs": 1}, "second.weight, second.bias"),
        ("Two", {"epochs": 2, "freeze_epochs": 2}, None),
        ("Large", {}, None),
        ("Large", {"resolution": {0: 12, 0.5: 16}, "epochs": 2}, "second.weight, second.bias"),
        ("Many", {}, "second.weight, second.bias, others.0.weight, others.0.bias, others.1.weight and 3 more"),
        ("Numeric", {}, "second.weight, second.bias"),
        ("Recomputed", {}, None),
    ],
)
def test_parameters_that_no_logit_depends_on_are_named_where_several_workers_would_wait_for_them(
    folder: Path, arch: str, fields: dict[str, Any], unused: str | None
) -> None:
    (folder / "heads.py").write_text(f"{HEADS}# {folder}\n")
    recipe = Recipe(arch=raytrain.code(f"heads.py:{arch}"), image_size=16, **fields)
    rehearse([(recipe, 3)])
    if unused is None:
        rehearse([(recipe, 3)], workers=2)
        return
    problem = rf"^heads\.py:\d+: architecture {arch} has trainable parameters .*: {unused}\. With several workers"
    with pytest.raises(ExperimentError, match=problem):
        rehearse([(recipe, 3)], workers=2)


@pytest.mark.usefixtures("folder")
def test_what_fits_passes() -> None:
    fields = {"mix": "blend", "optimizer": "rmsprop", "schedule": "steps", "loss": "focal"}
    named: dict[str, Any] = {field: raytrain.code(f"my_rest.py:{name}") for field, name in fields.items()}
    arch, noise = raytrain.code("my_net.py:MyNet"), raytrain.code("my_rest.py:noise")
    recipe = Recipe(**named, arch=arch, augment=(noise,), width=4, image_size=16)
    for workers in (1, 2):
        rehearse([(recipe, 3)], workers=workers)


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ("images", r"^bad\.py:4: load returned train: ndarray; return two things, images and labels"),
        ("images.astype('float32'), labels", r"images of shape \(4, 8, 8\) and type float32"),
        ("images, labels[:3]", "4 images and 3 labels"),
        ("[images[0], images[0, :5]], [0, 1]", r"images that make no array \(list\); images of several sizes"),
        ("images, labels - 1", "the label -1; labels count from 0"),
        ("{'test': (images, labels)}", "a mapping of test; return train"),
        ("['no.png'], [0]", r"no\.png cannot be read \(No such file"),
        ("{'train': (images, ['a', 'b', 'c', 'd']), 'classes': ['a', 'b']}", "the label 'c', which is not among"),
        ("__import__('os').chdir('/')", r"^bad\.py:4: load sets the working folder to /; leave it out"),
        ("1 / 0", r"^bad\.py:7: ZeroDivisionError"),
    ],
)
def test_a_data_set_that_returns_something_else_is_one_message(folder: Path, returned: str, problem: str) -> None:
    (folder / "bad.py").write_text(
        "import numpy\n\n\ndef load():\n    images = numpy.zeros((4, 8, 8), dtype='uint8')\n"
        f"    labels = numpy.arange(4)\n    return {returned}\n"
    )
    from raytrain.data import load

    with pytest.raises(raytrain.RaytrainError, match=problem):
        load(raytrain.code("bad.py:load"), image_size=8)


def test_the_parts_of_a_data_set_are_taken_as_they_are(folder: Path) -> None:
    (folder / "parts.py").write_text(
        "import numpy\n\n\ndef load(*, image_size):\n"
        "    def part(count): return numpy.full((count, 4, 4, 3), count, dtype='uint8'), numpy.arange(count) % 2\n"
        "    return {'train': part(6), 'val': part(4), 'test': part(2), 'classes': ['no', 'yes']}\n"
    )
    from raytrain.data import load

    found = load(raytrain.code("parts.py:load"), image_size=8)
    assert found.val is not None
    assert [len(part) for part in (found.train, found.val, found.test)] == [6, 4, 2]
    assert found.classes == ("no", "yes")
    assert found.test.images.shape == (2, 8, 8, 3)
    assert (found.test.images == 2).all()


def test_arguments_of_a_data_set_arrive_as_they_are_declared(folder: Path) -> None:
    (folder / "parts.py").write_text(
        "import numpy\n\n\ndef load(*, image_size, classes: list[str]):\n"
        "    labels = numpy.arange(6) % 3\n"
        "    return {'train': (numpy.zeros((6, 4, 4, 3), 'uint8'), labels), 'classes': classes + ['c']}\n"
    )
    from raytrain.data import load

    found = load(raytrain.code("parts.py:load") + "(classes=[a, b])", image_size=8, test_size=3)
    assert found.classes == ("a", "b", "c")


@pytest.fixture
def finished(folder: Path, request: pytest.FixtureRequest) -> Folder:
    """A run with the user's own network, augmentation, schedule, loss and data set, in this process."""
    request.getfixturevalue("empty_report")
    rest = "augment: [my_rest.py:noise], schedule: my_rest.py:steps, loss: my_rest.py:focal"
    path = written(folder, f"{SMALL}, arch: {{my_net.py:MyNet: {{depth: 2}}}}, {rest}")
    outcome = run(read_experiment(path), RunOptions("runs", local=True))
    assert [one.status for one in outcome.results] == ["finished"]
    return outcome.folder


@pytest.mark.usefixtures("empty_report")
def test_code_that_leaves_while_it_trains_is_a_failed_trial_with_file_and_line(folder: Path) -> None:
    (folder / "leaving.py").write_text(
        "import my_net\n\n\nclass Net(my_net.MyNet):\n    def forward(self, images):\n        print('here')\n"
        "        if len(images) > 2:\n            raise SystemExit(3)\n        return super().forward(images)\n"
    )
    path = written(folder, f"{SMALL}, arch: leaving.py:Net")
    ended = CliRunner().invoke(app, ["train", str(path), "--local", "--json"])
    assert ended.exit_code == 5
    (trial,) = json.loads(ended.stdout)["trials"]  # without what the code prints
    assert (trial["status"], trial["error"]) == ("failed", "leaving.py:8: SystemExit: 3")


@pytest.mark.usefixtures("empty_report")
def test_what_a_network_prints_while_it_is_made_is_not_in_the_json_of_plan_and_evaluate(folder: Path) -> None:
    (folder / "loud.py").write_text(
        "import my_net\n\n\nclass Net(my_net.MyNet):\n    def __init__(self, num_classes, *, width):\n"
        "        super().__init__(num_classes, width=width)\n        print('made')\n"
    )
    path = written(folder, f"{SMALL}, arch: loud.py:Net")
    planned = CliRunner().invoke(app, ["plan", str(path), "--local", "--json"])
    assert json.loads(planned.stdout)["trials"] == 1
    assert "made" in planned.stderr
    run(read_experiment(path), RunOptions("runs", local=True))
    assert command("export", "mine", "-o", "mine.pth")[0] == 0
    measured = CliRunner().invoke(app, ["evaluate", "mine.pth", "--json"])
    assert 0 <= json.loads(measured.stdout)["test_accuracy"] <= 1
    assert "made" in measured.stderr


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, which has read no code."""
    monkeypatch.setattr(sources, "_KEPT", {})
    monkeypatch.setattr(declared, "_KNOWN", {})


def command(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


def test_the_run_folder_keeps_the_code_and_the_manifest_its_sha256(finished: Folder, folder: Path) -> None:
    (found,) = [one for one in json.loads(finished.read("manifest.json"))["user_code"] if "my_net.py" in one["files"]]
    assert found["files"] == ["my_layers.py", "my_net.py"]
    assert found["sha256"].startswith(found["digest"])
    kept = finished / "code" / found["digest"]
    assert kept.read("my_net.py").decode() == (folder / "my_net.py").read_text()


def test_changed_code_under_the_same_name_is_refused_with_the_difference(finished: Folder, folder: Path) -> None:
    (folder / "my_layers.py").write_text((folder / "my_layers.py").read_text().replace("ReLU", "GELU"))
    experiment = read_experiment(folder / "mine.yaml")
    with pytest.raises(RunFolderError, match=r"(?s)holds another experiment.*-.*nn\.ReLU.*\+.*nn\.GELU.*--fresh"):
        run(experiment, RunOptions("runs", local=True))
    assert finished.exists("trials.jsonl")


@pytest.mark.usefixtures("finished", "elsewhere")
def test_results_and_report_read_a_run_without_running_its_code(folder: Path) -> None:
    for digest in (folder / "runs" / "mine" / "code").iterdir():
        for file in digest.glob("*.py"):
            file.write_text("raise SystemExit('it was run')\n")
    assert read_state(Folder.at("runs/mine")).results()[0].status == "finished"
    code, output = command("results", "mine")
    assert (code, "my_net.py:MyNet(depth=2)" in output) == (0, True)
    assert command("report", "mine")[0] == 0


def test_trials_are_listed_as_the_run_has_them_where_its_code_is_not_run(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    # 1 is the default of depth, which a trial's name leaves out: who has not run the code has to be told
    axes = "grid: {arch: {resnet9: {}, my_net.py:MyNet: {arch.depth: [1, 3]}}}"
    experiment = read_experiment(written(folder, SMALL, axes))
    trials = experiment.trials()
    journal = RunJournal.open(Folder.at("runs/mine"), experiment, trials)
    journal.begin({})
    journal.close()
    request.getfixturevalue("elsewhere")
    assert list(read_state(journal.folder).progress) == [one.id for one in trials]


def test_code_below_which_axes_stand_is_kept_in_the_run_folder(folder: Path) -> None:
    experiment = read_experiment(written(folder, "width: 4", "grid: {arch: {my_net.py:MyNet: {lr: [0.1, 0.2]}}}"))
    assert digests_of(experiment) == list(experiment.trials()[0].recipe.user_code)


def test_a_damaged_list_of_what_functions_take_is_one_message(folder: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "parameters.json").write_text('{"my_net.py:MyNet": 3}')
    with pytest.raises(RunFolderError, match=r"parameters\.json cannot be read .*give the command again"):
        read_state(Folder.at(folder))


@pytest.mark.usefixtures("finished", "elsewhere")
def test_resume_wants_permission_to_run_the_code_of_a_run_folder() -> None:
    code, output = command("resume", "mine", "--local", "-q")
    assert (code, "add --allow-code" in output) == (2, True)
    assert command("resume", "mine", "--local", "-q", "--allow-code")[0] == 0


@pytest.mark.usefixtures("finished", "elsewhere")
def test_rerun_wants_permission_to_run_the_code_of_a_run_folder() -> None:
    code, output = command("rerun", "mine", "-q")
    assert (code, "add --allow-code" in output) == (2, True)
    assert command("rerun", "mine", "-q", "--allow-code", "--verify")[0] == 0


def test_a_model_carries_its_code_and_runs_it_only_when_allowed(
    finished: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("export", str(finished), "-o", "mine.pth")[0] == 0
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for name in ("mine.pth", "mine.json"):
        (fresh / name).write_bytes(Path(name).read_bytes())
    monkeypatch.chdir(fresh)
    monkeypatch.setattr(sources, "_KEPT", {})
    with pytest.raises(ModelError, match=r"my_layers\.py \(6 lines\), my_net\.py.*of the run mine"):
        load_model("mine.pth")
    code, output = command("evaluate", "mine.pth")
    assert (code, "add --allow-code" in output) == (2, True)
    assert command("evaluate", "mine.pth", "--allow-code")[0] == 0
    assert load_model("mine.pth", allow_code=True).classes == ("plain", "striped")


def test_a_model_whose_code_was_changed_is_refused(finished: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("export", str(finished), "-o", "mine.pth")[0] == 0
    described = json.loads(Path("mine.json").read_text())
    for files in described["code"].values():
        for name in files:
            files[name] += "\n1 / 0\n"
    Path("mine.json").write_text(json.dumps(described))
    monkeypatch.setattr(sources, "_KEPT", {})
    with pytest.raises(ModelError, match="has been changed"):
        load_model("mine.pth", allow_code=True)


def test_a_model_without_code_says_nothing_of_code(folder: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("empty_report")
    path = written(folder, SMALL.replace("dataset: my_rest.py:stripes, ", "") + ", arch: resnet9")
    outcome = run(read_experiment(path), RunOptions("runs", local=True))
    assert not outcome.folder.exists("code")
    assert command("export", str(outcome.folder), "-o", "plain.pth")[0] == 0
    assert "code" not in json.loads(Path("plain.json").read_text())
    assert load_model("plain.pth").classes[0] == "0"


def test_a_trial_without_user_code_keeps_its_id() -> None:
    assert Trial.of(Recipe()).id == "resnet18-sgd-lr0.1-cosine-s0-" + Recipe().digest
    assert "loss" not in Recipe().model_dump(exclude={"loss"})
