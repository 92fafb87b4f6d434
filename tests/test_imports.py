"""What an import drags in, measured in a fresh interpreter.

`raytrain --help` answers at once because it loads neither torch nor Ray; training needs no Ray at all.
"""

import subprocess
import sys

import pytest

HELP = """
import sys
from raytrain.cli.app import app
try:
    app(["--help"], prog_name="raytrain")
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def loaded_by(program: str, *, among: tuple[str, ...]) -> set[str]:
    """Return those of the named modules that are in `sys.modules` after the program ran in a new process."""
    probe = f"{program}\nimport sys\nprint('loaded:', *[name for name in {among!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=50)
    assert answer.returncode == 0, answer.stderr
    last = answer.stdout.splitlines()[-1]
    return set(last.removeprefix("loaded:").split())


@pytest.mark.parametrize("module", ["raytrain", "raytrain.errors"])
def test_the_package_itself_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ray", "numpy", "pyarrow", "sklearn", "pydantic")
    assert loaded_by(f"import {module}", among=heavy) == set()


TRAINING = """
import sys
import raytrain.training.loop
assert {"torch", "ray"} & sys.modules.keys() == {"torch"}
import raytrain.execution.local
"""


def test_training_leaves_ray_unloaded() -> None:
    assert loaded_by(TRAINING, among=("torch", "ray")) == {"torch"}


CHECK = """
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.shipped import shipped_experiment
from raytrain.execution import run
assert len(read_experiment(shipped_experiment("lr")).trials()) == 28
"""


def test_an_experiment_is_checked_without_torch_and_ray() -> None:
    assert loaded_by(CHECK, among=("torch", "ray")) == set()


INPUTS = """
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.shipped import shipped_experiment
from raytrain.execution.inputs import trials_and_splits
trials, splits = trials_and_splits(read_experiment(shipped_experiment("quick")))
assert len(trials) == 5
"""


def test_what_is_read_before_ray_starts_leaves_torch_to_be_imported_beside_it() -> None:
    assert loaded_by(INPUTS, among=("torch", "ray")) == set()


def test_a_run_starts_and_a_table_is_ranked_without_the_slow_parts_of_scipy() -> None:
    slow = ("torch", "ray", "scipy.stats", "scipy.optimize", "pandas", "matplotlib", "plotly", "jinja2")
    assert loaded_by("import raytrain.execution.run, raytrain.analysis.statistics.power", among=slow) == set()


def test_folders_are_read_without_what_tries_again() -> None:
    program = "from raytrain.storage.folder import Folder; assert Folder.at('.').names()"
    assert loaded_by(program, among=("tenacity", "asyncio", "pyarrow")) == {"pyarrow"}
    assert loaded_by(f"{program}; Folder.at('.').retrying().names()", among=("tenacity",)) == {"tenacity"}


def test_help_leaves_every_package_unloaded_that_takes_long_to_import() -> None:
    slow = ("torch", "ray", "scipy", "pyarrow", "pydantic", "pandas", "matplotlib", "plotly", "jinja2")
    assert loaded_by(HELP, among=slow) == set()


def test_the_guards_see_torch_and_ray_when_they_are_loaded() -> None:
    program = f"import raytrain.training.loop, ray\n{HELP}"
    assert loaded_by(program, among=("torch", "ray")) == {"torch", "ray"}
