"""What every test gets: its own data folder, one torch thread, more time with Ray, a GPU or a skip."""

import sys
from collections.abc import Iterator

import pytest

# a nested TorchTrainer of two workers takes 68 s on two busy cores
RAY_TIMEOUT_SECONDS = 240


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point RAYTRAIN_DATA at a temporary folder, for subprocesses too: no test touches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYTRAIN_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # the tests use no network
        yield


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Sum in one order on any machine; a test that never imported torch does not pay for it."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        starts_ray = item.get_closest_marker("ray") or item.get_closest_marker("cluster")
        if starts_ray and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(RAY_TIMEOUT_SECONDS))
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests and not cuda_is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()
