"""Nonsense where a run or a folder of runs is named: a message and a documented exit code, never a traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cluster.template import template_text
from raytrain.errors import ExitCode

NONSENSE = {
    "nothing": "",
    "a space": " ",
    "a file": "/dev/null",
    "a folder above": "../../x",
    "a number without end": "9" * 5000,
    "a name that is too long": "x" * 300,
    "two lines": "a\nb",
    "bytes that are no text": "\udc80",
    "a bucket without a name": "s3://",
    "a scheme of nobody": "x://y",
    "half a URI": "http://[",
    "a file URI to nowhere": "file:///no/such",
    "a user without a home": "~of-no-user/x",
}
COMMANDS = ("results", "report", "audit", "export", "resume", "rm", "prune")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_for_a_run_is_answered_in_one_message(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAYTRAIN_OUT", raising=False)
    for words in ([command, NONSENSE[kind]], [command, "x", "--out", NONSENSE[kind]]):
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, SystemExit), result.exc_info
        assert result.exit_code in {ExitCode.INVALID, ExitCode.REFUSED}
        refused_as_typed = "Invalid value for '--out'" in result.stderr  # an empty text: in a box, which has more lines
        assert result.stderr.count("raytrain: ") == (not refused_as_typed)
        assert len(result.stderr.splitlines()) <= (8 if refused_as_typed else 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["results"], ["train", "--local"], ["fields", "arch"], ["predict", "/m.pth", "/a.png"]]
)
def test_a_working_folder_that_is_gone_is_one_message(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr.startswith("raytrain: the working folder is gone, or cannot be read (No such file")


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--local", "--set", "dataset=~of-no-user/x"],
        ["data", "verify", "~of-no-user/x"],
        ["data", "verify", "~of-no-user/x#one"],
        ["pull", "/run", "--out", "~of-no-user/x"],
        ["cluster", "check", "mounts.yaml"],
    ],
)
def test_a_user_who_is_not_there_is_said_wherever_a_path_is_typed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mounts.yaml").write_text(
        template_text("aws").replace("file_mounts:\n", "file_mounts:\n  /x: ~of-no-user/x\n")
    )
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code in {ExitCode.INVALID, ExitCode.REFUSED}, refused.exc_info
    assert "has no home folder here" in refused.stderr
