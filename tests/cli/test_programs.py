"""`raytrain export` of programs: what they say, how the documents use them, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import raytrain
from raytrain.cli.app import app
from raytrain.errors import ExperimentError, ModelError, VerificationError
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.inference import program
from raytrain.inference.model import Model, load_model
from raytrain.inference.model_file import ModelDescription
from raytrain.inference.program import ONNX_PACKAGES, program_of, write_program
from raytrain.storage.folder import Folder
from raytrain.user_code import source as sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # importing the exporters takes longer than exporting

ROOT = Path(__file__).parents[2]
NET = """
from torch import nn


class MyNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, num_classes)

    def forward(self, pictures):
        return self.head(self.body(pictures).mean((2, 3)))
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_images: str) -> Folder:
    """A run of a network of the user's own, trained for an epoch in this process."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_net.py").write_text(NET)
    arch = raytrain.code("my_net.py:MyNet", folder=folder)
    recipe = {"dataset": tiny_images, "arch": arch, "image_size": 8, "epochs": 1, "lr": 0.01, "optimizer": "adam"}
    recipe |= {"normalize": "imagenet", "precision": "fp32"}  # an exported model computes in fp32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.render", lambda *_, **__: "")
        patch.setattr("raytrain.report.page.pictures", lambda *_, **__: {})
        keys = {"name": "mine", "recipe": recipe}
        return run(Experiment.model_validate(keys), RunOptions(out=str(folder / "runs"), local=True)).folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_images: str) -> Path:
    """A folder with a photo."""
    monkeypatch.chdir(tmp_path)
    Image.open(f"{tiny_images}/test/bright/00.png").resize((12, 10)).save("photo.jpg")
    return tmp_path


def shown(title: str) -> str:
    """Return the lines of Python that the document shows under a first comment."""
    text = (ROOT / "docs/exported-models.md").read_text()
    (code,) = re.findall(rf"```python\n# {title}\n(.*?)```", text, flags=re.DOTALL)
    return code


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("suffix", "title"), [("pt2", "with PyTorch alone"), ("onnx", "with ONNX Runtime alone")], ids=["pt2", "onnx"]
)
def test_a_program_says_in_the_lines_of_the_documents_what_the_model_says(
    trained: Folder, suffix: str, title: str
) -> None:
    for package in ONNX_PACKAGES if suffix == "onnx" else ():
        pytest.importorskip(package)
    exported = call("export", trained, "-o", f"model.{suffix}", "--allow-code")
    assert (exported.exit_code, exported.stdout) == (0, f"model.{suffix}\n"), exported.output
    described = json.loads(Path(f"model.{suffix}.json").read_text())
    assert call("export", trained, "-o", "model.pth").exit_code == 0  # beside it
    wanted = load_model("model.pth", allow_code=True).predict(["photo.jpg"])
    names: dict[str, Any] = {}
    exec(shown(title), names)
    assert names["probabilities"] == pytest.approx(wanted.probabilities[0].tolist(), abs=1e-4)
    own = {"sha256", {"pt2": "torch_export", "onnx": "onnx"}[suffix]}
    assert {name: value for name, value in described.items() if name not in own} == (
        names["described"] if suffix == "onnx" else carried(Path("model.pt2"))
    )
    assert described["program"]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert described["program"]["preprocessing"]["background"] == "white"
    assert described["program"]["input"]["shape"] == ["batch", 3, 8, 8]
    assert "class MyNet" in next(iter(described["code"].values()))["my_net.py"]


def carried(path: Path) -> Any:
    """Return the description in a program of torch.export."""
    files = {"raytrain.json": ""}
    torch.export.load(path, extra_files=files)
    return json.loads(files["raytrain.json"])


@pytest.mark.usefixtures("here")
def test_code_of_the_users_runs_for_a_program_only_when_allowed(
    trained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_KEPT", {})
    refused = call("export", trained, "-o", "model.pt2")
    assert (refused.exit_code, "add --allow-code" in refused.stderr) == (2, True)
    assert not Path("model.pt2").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "m.h5"], "m.h5: ends in .h5; name it .pth, .safetensors, .pt2 or .onnx"),
        (["-o", "m.pth", "--format", "onnx"], "ends in .pth; name it .onnx, as --format onnx says"),
        (["-o", "m.onnx", "--format", "weights"], "ends in .onnx; name it .pth or .safetensors, as --format weights"),
    ],
)
def test_a_name_and_a_format_that_do_not_fit_are_one_message(
    trained: Folder, arguments: list[str], message: str
) -> None:
    refused = call("export", trained, *arguments)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr


def model_of(network: nn.Module) -> Model:
    """Return a model of three classes whose images have 8 pixels."""
    described = ModelDescription(
        "run", "trial", "best", 1, {"arch": "resnet9", "image_size": 8}, ("a", "b", "c"), (0.5,) * 3, (0.2,) * 3,
        "fp32", None, None, None, {},
    )  # fmt: skip
    return Model(network.eval(), described, torch.device("cpu"))


class Small(nn.Module):
    """A layer, and what `change` makes of its logits."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda logits: logits) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(3, 3), change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(self.layer(images.mean((2, 3))))


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: logits if logits.sum() > 0 else -logits,
        lambda logits: logits.view(2, 3),
    ],
    ids=["looks at numbers", "fixed batch"],
)
def test_a_network_that_cannot_be_a_program_is_one_message(change: Callable[[Tensor], Tensor], here: Path) -> None:
    with pytest.raises(ModelError, match=r"resnet9 cannot be exported with --format torch_export: \w+: .+\n.*weights"):
        write_program(Path("m.pt2"), model_of(Small(change)), kind="torch_export", force=False)
    assert not list(here.glob("m.*"))


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_a_program_that_gives_other_logits_is_not_kept(
    wrong: float, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, load = program._KINDS["torch_export"]
    other = (build, lambda content: lambda images: load(content)(images) + wrong)
    monkeypatch.setitem(program._KINDS, "torch_export", other)
    with pytest.raises(VerificationError, match="gives other logits than the network") as caught:
        write_program(Path("m.pt2"), model_of(Small()), kind="torch_export", force=False)
    assert caught.value.exit_code == 9
    assert not list(here.glob("m.*"))


def test_the_packages_of_onnx_are_named_where_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ExperimentError, match=r"needs onnxscript, not installed here.*'\.\[onnx\]'"):
        program_of(model_of(Small()), kind="onnx")


@pytest.mark.usefixtures("here")
def test_predict_says_where_a_program_runs() -> None:
    Path("m.onnx").write_bytes(b"")
    refused = call("predict", "m.onnx", "photo.jpg")
    assert (refused.exit_code, "m.onnx: this command reads weights" in refused.stderr) == (2, True)
