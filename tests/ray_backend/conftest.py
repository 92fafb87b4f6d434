"""Tiny runs that go through Ray."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.data import LabelledImages, Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.experiment import Experiment
from raytrain.ray_backend import session
from raytrain.ray_backend.session import Session
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder

KEY = DataKey("digits", 16, 0.1)


def _images(n: int, seed: int) -> LabelledImages:
    """Return two classes that a network tells apart at once: dark and bright noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 2
    images = rng.integers(0, 120, size=(n, 16, 16, 3)) + 120 * labels[:, None, None, None]
    return LabelledImages(images.astype(np.uint8), labels)


@pytest.fixture
def splits() -> dict[DataKey, Splits]:
    train, val, test = _images(256, 0), _images(64, 1), _images(64, 2)
    return {KEY: Splits(train, val, test, ("dark", "bright"), (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), "0")}


@pytest.fixture
def open_run(tmp_path: Path) -> Callable[..., RunJournal]:
    """Return a function that opens a run folder for an experiment on `splits`."""

    def open_(**values: object) -> RunJournal:
        recipe = {"width": 2, "image_size": 16, "batch_size": 32, "precision": "fp32", "epochs": 2}
        recipe |= values.pop("recipe", {})  # type: ignore[operator]
        experiment = Experiment.model_validate({"name": "tiny", "recipe": recipe, **values})
        trials = experiment.trials()
        run = RunJournal.open(Folder.at(tmp_path / experiment.name), experiment, trials)
        run.begin({trial.id: 1 for trial in trials})
        return run

    return open_


@pytest.fixture(scope="module")
def own_ray() -> Iterator[Session]:
    """A Ray on this machine for the tests of a module, which code under test is given when it starts one.

    Each start takes ten seconds of processor time; test_session.py looks at starts and ends.
    """

    @contextmanager
    def running(
        _address: None, *, meanwhile: Callable[[], object] = lambda: None, **_wake: object
    ) -> Generator[Session]:
        meanwhile()
        yield own

    with session.ray_session(None) as own, pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "ray_session", running)
        yield own


@pytest.fixture(scope="module")
def start_cluster() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a cluster of a head, as somebody else would, and without a token.

    Two processes of the head that no test needs are left out: each takes seconds of processor time.
    """
    started: list[Any] = []

    def start(**head: object) -> Any:
        from ray.cluster_utils import Cluster

        spared = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
        started.append(Cluster(initialize_head=True, head_node_args={**spared, **head}))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield start
        for cluster in started:
            cluster.shutdown()
