"""Tests of raytrain.provenance.versions in git repositories of their own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import raytrain
from raytrain.provenance import versions as provenance


def git(*arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def repository(folder):
    git("init", "--quiet")
    (folder / "a.py").write_text("before\n")
    git("add", "a.py")
    git("commit", "--quiet", "--message", "Add a")
    return folder


@pytest.mark.usefixtures("repository")
def test_a_clean_repository_has_a_commit_and_an_empty_diff():
    code = provenance.describe_code()
    assert code["git_commit"] == git("rev-parse", "HEAD")
    assert code["git_diff"] == ""


@pytest.mark.parametrize("staged", [True, False])
def test_uncommitted_changes_are_kept_staged_or_not(repository, staged):
    (repository / "a.py").write_text("after\n")
    if staged:
        git("add", "a.py")
    assert "-before\n+after" in provenance.describe_code()["git_diff"]


@pytest.mark.usefixtures("folder")
def test_outside_a_repository_there_is_no_commit_and_no_diff(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "files", lambda _: tmp_path)
    code = provenance.describe_code()
    assert (code["git_commit"], code["git_diff"]) == (None, None)


@pytest.mark.usefixtures("folder")
def test_outside_a_repository_the_commit_is_that_of_raytrain_itself_if_it_runs_from_one():
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert provenance.describe_code()["git_commit"] == (done.stdout.strip() or None)


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert provenance.describe_code()["git_commit"] is None


def test_a_diff_that_is_not_text_does_not_stop_a_run(repository):
    (repository / "a.py").write_bytes(b"\xff\xfe\n")
    assert provenance.describe_code()["git_commit"]


def test_versions_are_those_installed():
    code = provenance.describe_code()
    assert code["raytrain"] == raytrain.__version__
    assert code["python"] == platform.python_version()
    assert code["packages"].keys() == set(provenance.PACKAGES)
    assert torch.__version__.startswith(code["packages"]["torch"].partition("+")[0])


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert provenance.describe_code()["packages"] == {"no-such-package": None}


def test_the_machine_is_described_in_json():
    machine = provenance.describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["host"] == platform.node()
    assert machine["cores"] == os.cpu_count()
    assert 2**28 < machine["memory_bytes"] < 2**50
    assert machine["processor"]
    assert len(machine["gpus"]) == torch.cuda.device_count()


def test_the_command_is_named_without_its_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/raytrain", "train", "--set", "lr=0.1"])
    assert provenance.command_line() == ["raytrain", "train", "--set", "lr=0.1"]
