"""Options that say nothing, or two things at once, are refused or warned of, and never dropped in silence."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.execution.signals import Terminated


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("results quick --format csv --json", "--format csv and --json"),
        ("results --json -f table", "--format table and --json"),
        ("fields lr --json --markdown", "--markdown and --json"),
        ("plan --list --price 2", "--list and --price"),
    ],
)
def test_two_options_of_which_one_would_be_dropped_are_refused(command: str, options: str) -> None:
    result = CliRunner().invoke(app, command.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"raytrain: {options} were given; give one of them\n"


@pytest.mark.parametrize(
    "command",
    [
        "data verify photos --fingerprint",
        "results --columns",
        "results --sort",
        "results quick --baseline",
        "results --out",
        "report quick --baseline",
        "audit --baseline",
        "log quick --to mlflow --tracking-uri",
        "log quick --to mlflow --project",
        "evaluate model.pth --dataset",
        "rerun quick --name",
        "compare missing.yaml --address",
        "train missing.yaml --log",
        "submit --name",
        "submit --address",
        "submit --out",
        "submit -- compare missing.yaml --out",
    ],
)
def test_an_empty_text_is_no_option_that_was_not_given(command: str) -> None:
    rest = ["--", "compare"] if command.startswith("submit --") and "compare" not in command else []
    result = CliRunner().invoke(app, [*command.split(), "", *rest])
    assert (result.exit_code, result.stdout) == (2, "")
    said = " ".join(result.stderr.replace("│", " ").split())
    assert f"Invalid value for '{command.split()[-1]}'" in said
    assert "the text is empty; give a value, or leave the option out" in said


def test_an_empty_variable_of_the_environment_is_one_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYTRAIN_OUT", "")
    result = CliRunner().invoke(app, ["results"])
    assert result.exit_code == 0
    assert "there is no run under runs" in result.stderr


def test_a_job_that_nobody_waits_for_has_no_folder_to_copy_to() -> None:
    result = CliRunner().invoke(app, ["submit", "--detach", "--out", "here", "--", "compare", "quick"])
    assert result.exit_code == 2
    assert "--detach and --out were given" in result.stderr
    assert "raytrain pull JOB" in result.stderr


def test_a_folder_to_copy_to_is_warned_of_where_the_command_names_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = SimpleNamespace(out="s3://runs", package=nullcontext, submit=lambda *_: None, job="quick-1a2b")
    cluster = SimpleNamespace(address="", follow=lambda *_: SimpleNamespace(end_code=0))
    monkeypatch.setattr("raytrain.cli.cluster.submit.submission_of", lambda *_, **__: sent)
    monkeypatch.setattr("raytrain.cluster.jobs.Jobs", lambda *_, **__: cluster)
    monkeypatch.setattr("raytrain.cluster.submission.follow_home", lambda *_, **__: None)
    for given in ([], ["--out", "here"]):
        result = CliRunner().invoke(app, ["submit", *given, "--", *["compare", "quick", "--out", "s3://runs"]])
        assert result.exit_code == 0
        assert ("--out before the command: without effect" in result.stderr) == bool(given)


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_signal_that_ends_the_following_of_a_job_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, interrupt: type[KeyboardInterrupt], code: int
) -> None:
    def follow(*_: object) -> None:
        raise interrupt

    sent = SimpleNamespace(out=None, package=nullcontext, submit=lambda *_: None, job="quick-1a2b")
    monkeypatch.setattr("raytrain.cli.cluster.submit.submission_of", lambda *_, **__: sent)
    cluster = SimpleNamespace(address="", follow=follow)
    monkeypatch.setattr("raytrain.cluster.jobs.Jobs", lambda *_, **__: cluster)
    result = CliRunner().invoke(app, ["submit", "--", "compare", "quick"])
    assert result.exit_code == code
    assert "the job is still running. Follow it with: raytrain logs -f quick-1a2b" in result.stderr


def test_a_check_without_ray_warns_of_an_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("raytrain.training.doctor.check_machine", lambda **_: [])
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert CliRunner().invoke(app, ["doctor", "--local"]).exit_code == 0
    assert caplog.messages == []  # a variable of the environment is no option
    assert CliRunner().invoke(app, ["doctor", "--local", "--address", "10.0.0.1:6379"]).exit_code == 0
    assert caplog.messages == ["--address: without effect, because --local trains without Ray"]
