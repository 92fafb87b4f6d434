"""Folders and processes of drivers that were killed; those of living ones, and everybody else's, are left alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytrain.ray_backend import private_ray


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(private_ray, "_parents", lambda: [tmp_path])
    monkeypatch.setattr(private_ray, "MIN_AGE_S", 0.0)
    return tmp_path


def sleeper(*words: str) -> subprocess.Popen[bytes]:
    """Start a process that has words in its command line."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words])
    deadline = time.monotonic() + 10
    while str(words[0]) not in Path(f"/proc/{process.pid}/cmdline").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_what_a_killed_driver_left_is_ended_and_removed_and_a_bystander_is_not(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from raytrain.ray_backend import private_ray;"
        f"private_ray._parents = lambda: [Path({str(place)!r})]\n"
        "with private_ray.private_folder() as folder: print(folder, flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout
    folder = Path(driver.stdout.readline().strip())
    assert folder.stat().st_mode & 0o077 == 0
    ours = sleeper(f"--log_dir={folder}/r/logs")
    bystander = sleeper(f"--log_dir={folder}-of-somebody-else/r")
    assert private_ray.remove_abandoned() == []  # the driver lives
    private_ray.warn_of_others()
    assert "another run trains on this machine: they share its cores" in caplog.text
    driver.kill()
    driver.communicate()
    assert private_ray.remove_abandoned() == [folder]
    ours.wait(10)
    assert bystander.poll() is None
    assert not folder.exists()
    caplog.clear()
    private_ray.warn_of_others()
    assert caplog.text == ""
    bystander.kill()
    bystander.wait()


def test_a_folder_that_is_just_being_made_or_has_no_lock_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "rt-without").mkdir()
    young = place / "rt-young"
    young.mkdir()
    (young / private_ray.LOCK).touch()
    monkeypatch.setattr(private_ray, "MIN_AGE_S", 60.0)
    assert private_ray.remove_abandoned() == []
    os.utime(young, (0, 0))
    assert private_ray.remove_abandoned() == [young]
    assert (place / "rt-without").exists()


def test_the_folder_goes_with_its_context(place: Path) -> None:
    with private_ray.private_folder() as folder:
        assert folder.parent == place
        assert private_ray.remove_abandoned() == []
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.ray
@pytest.mark.parametrize(("platform", "told"), [("linux", {"num_cpus": 3}), ("darwin", {"num_cpus": 3, "num_gpus": 0})])
def test_ray_counts_the_cores_that_this_process_may_use_and_no_gpu_of_a_mac(
    platform: str, told: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    given: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda *_, **options: given.update(options))
    monkeypatch.setattr(private_ray, "usable_cores", lambda: 3)
    monkeypatch.setattr(private_ray.sys, "platform", platform)
    private_ray.start(tmp_path)
    assert {name: value for name, value in given.items() if name.startswith("num_")} == told
