"""`uv run raytrain`, offline, in a project of its own: workers start as they do without uv."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import raytrain
from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder

UV = Path(sys.executable).parent / "uv"

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.skipif(not UV.exists(), reason="uv is not installed"),
]


@pytest.mark.parametrize(
    "below", [pytest.param("", id="root"), pytest.param("notebooks/first", id="subfolder", marks=pytest.mark.long)]
)
def test_uv_run_trains_through_ray_and_ships_nothing_of_the_project(
    tmp_path: Path, tiny_images: str, below: str
) -> None:
    project = tmp_path / "project"
    here = project / below
    here.mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "0"\nrequires-python = ">=3.11"\n')
    # a worker that has the working folder on its import path imports this one
    (here / "torch.py").write_text("raise SystemExit('the working folder is on the path of a worker')\n")
    recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 1}
    (here / "x.yaml").write_text(json.dumps({"recipe": recipe, "grid": {"lr": [0.01]}}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "UV_"))}
    environment |= {"RAY_TMPDIR": os.environ["RAY_TMPDIR"], "PYTHONPATH": str(Path(raytrain.__file__).parents[1])}
    environment |= {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache"), "VIRTUAL_ENV": str(UV.parents[1])}
    before = {path.relative_to(project) for path in project.rglob("*")}
    words = [str(UV), "run", "--active", "--no-sync", "raytrain", "tune", "--grid", "x.yaml", "--out", str(tmp_path)]
    done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = read_results(Folder.at(tmp_path / "x"))
    assert (result.status, result.epochs, result.attempts) == ("finished", 1, 1)
    assert {path.relative_to(project) for path in project.rglob("*")} == before
