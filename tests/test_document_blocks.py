"""The code blocks of the documents run, line after line, on small runs of the digits and in this process.

A line that trains is made smaller: see `SMALL`. What cannot run here is in `CANNOT_RUN`, with the reason.
"""

import re
import shlex
import shutil
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.errors import ExitCode
from raytrain.experiment.reading import read_experiment
from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
]

SMALL = {"dataset": "digits", "image_size": 8, "width": 4, "epochs": 1, "batch_size": 256, "warmup_epochs": 0}
"""Recipe of lines that train, but for those that say --local: an epoch of it takes a tenth of a second."""
ARCH = "resnet18"
"""The only network of lines that compare or tune, but for those that name networks or need pairs of them."""
TRAINS = {"compare", "plan", "train", "tune"}
FEWER = {"--samples": "3", "--seeds": "0,1", "--until-separated": "0.3 --max-seeds 2", "--workers": "1"}
"""What replaces the value of an option, so that there are fewer trials, and no Ray."""
NARROWER = {"width=int:8:64": "width=int:4:8"}
"""What replaces a range of wide networks."""

CANNOT_RUN = {
    "raytrain view": "it serves pages until it is stopped; tests/view",
    "raytrain doctor": "it starts Ray; tests/cli",
    "raytrain submit": "it needs a Ray cluster; tests/cluster",
    "raytrain jobs": "it needs a Ray cluster; tests/cluster",
    "pip install": "the tests use no network",
    **({} if find_spec("mlflow") else {"raytrain log quick --to mlflow": "mlflow-skinny is not installed"}),
    "duckdb": "DuckDB is a program of its own; it is not installed with raytrain",
    "python benchmarks/": "minutes to hours of training",
}
"""Beginnings of lines that do not run here, and why."""
ANSWERS = {
    "raytrain judge": {ExitCode.DONE, ExitCode.ASSERTION_FAILED, ExitCode.UNDECIDED},
    "--assert": {ExitCode.DONE, ExitCode.ASSERTION_FAILED},
}
"""Exit codes that are answers, by what stands in the line; of all other lines it is 0."""


def blocks(document: str, language: str = "") -> list[str]:
    """Return the code blocks of a document that are marked with a language; "" for those without a mark."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / document).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [code for marked, code in found if marked == language]


def lines(block: str) -> list[str]:
    """Return the lines of a block that are commands."""
    found = [line.removeprefix("$ ") for line in block.splitlines()]
    return [line for line in found if re.match(r"(raytrain|python|pip|duckdb) \S", line)]


def smaller(arguments: list[str]) -> list[str]:
    """Return the arguments of a command that trains so that it trains here, for about a second."""
    out: list[str] = []
    for word in arguments:
        out += shlex.split(FEWER[out[-1]]) if out and out[-1] in FEWER else [NARROWER.get(word, word)]
    given = {word.partition("=")[0] for before, word in pairwise(out) if before in {"--grid", "--set"}}
    small = SMALL if {"train", "resnet9", "--max-seeds"} & {*out} else {**SMALL, "arch": ARCH}
    return [*out, *(f"--set={name}={value}" for name, value in small.items() if name not in given), "--local"]


def call(line: str) -> Result:
    _, *arguments = shlex.split(line, comments=True)
    trains = arguments[0] in TRAINS and "--local" not in arguments
    if arguments[0] == "judge" and "idea.yaml" in arguments and "--local" not in arguments:
        arguments = [*arguments, "--local"]
    return CliRunner().invoke(app, smaller(arguments) if trains else arguments, input="y\n")


QUICK = "raytrain compare quick --seeds 0,1"
WIDE = f"{QUICK} --name wide --set lr=0.03"
TAKEN_FOR_GRANTED = {
    "docs/results.md": [QUICK, WIDE, "raytrain tune --grid lr=0.1,0.03 --grid schedule=cosine,constant --name lr"],
    "docs/commands.md": [QUICK, "raytrain compare base.yaml --local"],
    "docs/search.md": [],
    "docs/metrics.md": [QUICK, "raytrain export quick -o model.pth"],
    "docs/for-programs.md": [],
}
"""Commands whose runs and files a document takes for granted."""


@pytest.fixture
def place(tiny_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with images and the shipped experiments in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    shutil.copytree(tiny_images, "photos")
    (tmp_path / "folder").mkdir()
    for name in ("photo.jpg", "folder/one.png"):
        Image.new("RGB", (8, 8)).save(name)
    return tmp_path


def take_for_granted(document: str) -> None:
    """Make what the commands of a document take for granted: runs, and an older tool's event files."""
    for code in (code for name in (document, "docs/for-programs.md") for code in blocks(name, "yaml")):
        if name := re.match(r"# (\S+\.yaml)\n", code):
            Path(name[1]).write_text(code)
    for line in TAKEN_FOR_GRANTED[document]:
        result = call(line)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    for run in Path("runs").glob("lr"):
        shutil.copytree(next((run / "trials").iterdir()) / "tb", "old/tensorboard/one")
    if Path("runs").exists():
        shutil.copytree("runs", "granted")


def bring_back() -> None:
    """Bring back the runs that a block has deleted."""
    for run in Path("granted").glob("*"):
        if not (Path("runs") / run.name).exists():
            shutil.copytree(run, Path("runs") / run.name)


def named(line: str) -> str:
    """Return a line with the names of this folder's runs and trials in place of those of the documents."""
    if not Path("runs/quick").exists():
        return line
    first, second = (one.digest for one in read_results(Folder.at("runs/quick"))[:2])
    return line.replace("RUN", "quick").replace("97817e05", first).replace("722b", second[:4])


def allowed(line: str) -> set[ExitCode]:
    return next((codes for words, codes in ANSWERS.items() if words in line), {ExitCode.DONE})


@pytest.mark.parametrize("document", list(TAKEN_FOR_GRANTED))
def test_every_line_of_a_document_runs(document: str, place: Path) -> None:
    if document == "docs/metrics.md":
        run_python(document, 0)  # it makes the data set of the commands
        assert len(list((place / "rare").rglob("*.png"))) > 600
    take_for_granted(document)
    failed: dict[str, str] = {}
    for block in blocks(document):
        for line in lines(block):
            if not line.startswith(tuple(CANNOT_RUN)):
                result = call(named(line))
                if result.exit_code not in allowed(line):
                    failed[line] = f"exit code {result.exit_code}: {result.output[-1500:]}"
        bring_back()
    assert failed == {}


def run_python(document: str, place: int, **given: Any) -> dict[str, Any]:
    """Return the names that a Python block of a document leaves, which begins with those that are given."""
    code = blocks(document, "python")[place]
    exec(compile(code, document, "exec"), given)
    return given


@pytest.mark.usefixtures("place")
def test_the_python_of_the_page_on_results_runs() -> None:
    import torch

    take_for_granted("docs/results.md")
    assert len(blocks("docs/results.md", "python")) == 2
    run_python("docs/results.md", 0)
    assert call("raytrain export quick -o model.pth").exit_code == 0
    names = run_python("docs/results.md", 1, images=torch.rand(5, 3, 8, 8))
    assert names["logits"].shape == (5, 10)


def test_the_python_of_the_readme_runs(place: Path) -> None:
    (experiment,) = (code for code in blocks("README.md", "yaml") if code.startswith("# first.yaml\n"))
    path = place / "first.yaml"
    path.write_text(experiment)
    small = read_experiment(path, overrides={**SMALL, "dataset": "photos"})
    path.write_text(small.model_dump_json(exclude_defaults=True))
    names = run_python("README.md", 0)
    assert names["run"].chosen
    assert len(names["model"].predict(["photo.jpg"]).classes) == 1


@pytest.mark.parametrize("line", ["raytrain results nothing", "raytrain tune --grid lr=no"])
@pytest.mark.usefixtures("place")
def test_a_line_that_does_not_work_would_be_found(line: str) -> None:
    assert call(line).exit_code not in allowed(line)
