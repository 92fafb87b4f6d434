"""Tests of raytrain.provenance.repository: what git is asked runs no program of the folder, and tells no secrets."""

import subprocess
from pathlib import Path

import pytest

from raytrain.provenance.masking import MASK
from raytrain.provenance.repository import changes_of, commit_of, has_commit

KEY_ID, KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # of AWS's documentation


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a tracked net.py and .env, which has a file `evil` that leaves `ran` behind."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(folder)
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    evil.chmod(0o755)
    git("init", "--quiet")
    (folder / "net.py").write_text("width = 8\n")
    (folder / ".env").write_text("MODE=test\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "Add all")
    return folder


def change(repository: Path) -> None:
    (repository / "net.py").write_text("width = 16\n")


PROGRAMS = {
    "an external diff": ["diff.external={evil}"],
    "a diff driver": ["diff.x.command={evil}"],
    "a text conversion": ["diff.x.textconv={evil}"],
    "a file-system monitor": ["core.fsmonitor={evil}"],
    "a clean filter": ["filter.x.clean={evil}"],
    "a filter that must succeed": ["filter.x.clean={evil}", "filter.x.required=true"],
    "a filter process": ["filter.x.process={evil}", "filter.x.required=true"],
}


def set_up(repository: Path, settings: list[str]) -> None:
    for setting in settings:
        name, _, value = setting.format(evil=repository.parent / "evil").partition("=")
        git("config", name, value)
    (repository / ".gitattributes").write_text("*.py filter=x diff=x\n")
    change(repository)


@pytest.mark.parametrize("settings", PROGRAMS.values(), ids=PROGRAMS)
def test_no_program_that_a_repository_names_is_run(repository: Path, settings: list[str]) -> None:
    set_up(repository, settings)
    diff = changes_of(repository).diff
    assert commit_of(repository)
    assert diff
    assert "-width = 8\n+width = 16" in diff
    assert not (repository.parent / "ran").exists()


@pytest.mark.parametrize("settings", PROGRAMS.values(), ids=PROGRAMS)
def test_plain_git_runs_each_of_these_programs(repository: Path, settings: list[str]) -> None:
    """The twin that shows that the test above can fail."""
    set_up(repository, settings)
    subprocess.run(["git", "diff", "HEAD"], capture_output=True, check=False)
    assert (repository.parent / "ran").exists()


def test_a_git_in_the_working_folder_is_not_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository.parent / "evil").rename(repository / "git")
    monkeypatch.setenv("PATH", ".")
    assert commit_of(repository) is None
    assert not (repository.parent / "ran").exists()


def test_files_of_another_folder_that_a_repository_names_as_its_own_are_not_read(repository: Path) -> None:
    home = repository.parent
    (home / "net.py").write_text("of the user\n")
    git("config", "core.worktree", str(home))
    assert "of the user" in git("diff", "HEAD")  # plain git reads it
    assert changes_of(repository) == (None, [])


def test_only_code_is_in_the_diff_and_the_rest_is_named(repository: Path) -> None:
    change(repository)
    (repository / ".env").write_text(f"AWS_SECRET_ACCESS_KEY={KEY}\n")
    diff, left_out = changes_of(repository)
    assert diff
    assert "width = 16" in diff
    assert KEY not in diff
    assert left_out == [".env"]


def test_code_that_is_called_secret_is_left_out(repository: Path) -> None:
    (repository / "my_secrets.py").write_text("x = 'open sesame'\n")
    git("add", "my_secrets.py")
    assert changes_of(repository) == ("", ["my_secrets.py"])


def test_a_file_that_git_does_not_track_is_in_no_diff(repository: Path) -> None:
    (repository / "new.py").write_text("x = 1\n")
    assert changes_of(repository) == ("", [])


def test_the_diff_can_be_left_out(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(repository)
    monkeypatch.setenv("RAYTRAIN_NO_DIFF", "1")
    assert changes_of(repository) == (None, [])
    monkeypatch.setenv("RAYTRAIN_NO_DIFF", "0")
    assert changes_of(repository).diff


def test_the_diff_is_of_the_whole_repository_wherever_the_command_is_started(repository: Path) -> None:
    change(repository)
    (repository / "below").mkdir()
    diff = changes_of(repository / "below").diff
    assert diff
    assert "width = 16" in diff


def test_a_secret_in_code_is_masked_in_its_diff(repository: Path) -> None:
    (repository / "net.py").write_text(f'width = 8\nclient(key_id="{KEY_ID}", password="hunter2")\n')
    diff = changes_of(repository).diff
    assert diff
    assert f'+client(key_id="{MASK}", password={MASK})' in diff


def test_a_long_diff_is_cut_off(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.provenance.repository.MAX_DIFF", 50)
    (repository / "net.py").write_text("x" * 1000)
    diff = changes_of(repository).diff
    assert diff
    assert len(diff) == 50


def test_a_commit_is_there_or_not(repository: Path) -> None:
    commit = git("rev-parse", "HEAD")
    assert has_commit(repository, commit)
    assert not has_commit(repository, "0" * 40)
