"""What bash, zsh and fish complete, asked as their scripts ask: by environment variables."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.experiment.shipped import SHIPPED


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAYTRAIN_OUT", raising=False)
    for name in ("wide", "wider", "lr"):
        trial = tmp_path / "runs" / name / "trials" / f"x-resnet18-s0-{name[0] * 8}"
        trial.mkdir(parents=True)
        (tmp_path / "runs" / name / "experiment.yaml").touch()
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "first.yaml").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def zsh_environment(line: str) -> dict[str, str]:
    return {"_RAYTRAIN_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": f"raytrain {line}"}


def asked(environment: dict[str, str]) -> str:
    result = CliRunner().invoke(app, env=environment, prog_name="raytrain")
    assert result.exit_code == 0, result.output
    return result.stdout


def in_zsh(line: str) -> list[str]:
    """Return the completions of the last word of a line."""
    return re.findall(r"""^(?:_arguments '\*: :\(\()?"(.+?)":""", asked(zsh_environment(line)), flags=re.MULTILINE)


def in_bash(*words: str) -> list[str]:
    """Return the completions of the last of the words, which bash also breaks at "="."""
    line = {"COMP_WORDS": "\n".join(["raytrain", *words]), "COMP_CWORD": str(len(words))}
    line["_RAYTRAIN_COMPLETED_FIELD"] = ""  # set by the command, and taken back with the others
    return asked({"_RAYTRAIN_COMPLETE": "complete_bash", **line}).split()


def in_fish(line: str) -> list[str]:
    """Return the completions of the last word of a line, by a process of its own as in a shell: Typer keeps a width."""
    words = {"_TYPER_COMPLETE_ARGS": f"raytrain {line}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = {**os.environ, "_RAYTRAIN_COMPLETE": "complete_fish", **words}
    program = "from raytrain.cli.app import app; app(prog_name='raytrain')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in done.stdout.splitlines() if line]


def test_set_completes_fields_and_then_their_choices_in_every_shell() -> None:
    assert in_fish("train --set weight") == ["weight_decay=", "weight_decay=0.0005"]
    assert in_fish("train --set sch") == [f"schedule={name}" if name else "schedule=" for name in SCHEDULES]
    assert in_fish("train --set optimizer=ad") == ["optimizer=adam", "optimizer=adamw"]
    assert in_zsh("compare --set optimizer=ad") == ["optimizer=adam", "optimizer=adamw"]
    assert in_zsh("compare --set comp") == ["compile=", "compile=true", "compile=false"]
    assert in_bash("tune", "--set", "momentu") == ["momentum=", "momentum=0.9"]
    assert in_bash("tune", "--set", "lr", "=", "1", "--set", "optimizer", "=", "ad") == ["adam", "adamw"]
    assert in_bash("tune", "--set", "optimizer", "=") == ["sgd", "adam", "adamw", "muon"]
    assert in_bash("tune", "--set", "no_such_field", "=") == []


SCHEDULES = ("", "constant", "cosine", "onecycle", "multistep", "linear", "triangle")


@pytest.mark.parametrize(
    "command", ["results", "report", "resume", "audit", "rm", "prune", "judge x", "export", "diff", "view", "plot"]
)
def test_commands_complete_the_names_of_runs(command: str) -> None:
    assert in_fish(f"{command} wi") == ["wide", "wider"]
    assert in_bash(*command.split(), "wi") == ["wide", "wider"]
    assert in_zsh(f"{command} wi") == ["wide", "wider"]


def test_runs_are_those_of_the_folder_that_the_command_names(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "runs").rename(place / "elsewhere")
    assert in_fish("results w") == []
    assert in_fish("results --out elsewhere w") == ["wide", "wider"]
    assert in_bash("results", "--out", "=", "elsewhere", "w") == ["wide", "wider"]
    monkeypatch.setenv("RAYTRAIN_OUT", "elsewhere")
    assert in_fish("results w") == ["wide", "wider"]
    assert in_fish("results --out s3://bucket/runs w") == []  # storage is not asked


def test_behind_a_run_its_trials_are_completed_by_their_digests() -> None:
    for command in ("export", "rerun", "diff"):
        assert in_fish(f"{command} wide/") == ["wide/wwwwwwww"]
        assert in_fish(f"{command} lr/w") == []


def test_experiments_are_the_shipped_ones_and_files() -> None:
    assert in_fish("train ") == [*SHIPPED, "first.yaml", "runs/"]
    assert in_bash("compare", "f") == ["fast", "first.yaml"]
    assert in_bash("tune", "--grid", "fi") == ["first.yaml", "final_train_accuracy="]


def test_other_words_are_completed_too() -> None:
    assert in_fish("fields bias") == ["bias_lr_factor"]
    assert in_fish("pru") == ["prune"]
    assert "--columns" in in_fish("results --c")


@pytest.mark.parametrize("line", ["fields ", "train --set ", "results --", ""])
def test_in_fish_an_explanation_stays_in_its_line(line: str) -> None:
    """Each line is a completion, so the second half of an explanation would be one too."""
    assert all(re.fullmatch(r"[\w./=-]+", word) for word in in_fish(line))


def test_a_word_that_is_still_quoted_is_no_fault() -> None:
    assert in_bash("train", "--set", "'no_such") == []


def test_a_name_that_a_shell_would_evaluate_is_not_offered(place: Path) -> None:
    for name in ("wi$(touch x)", "wi`x`", "wi'x", "wi*", "wi\n"):
        (place / "runs" / name).mkdir()
        (place / "runs" / name / "experiment.yaml").touch()
    assert in_bash("results", "wi") == in_zsh("results wi") == in_fish("results wi") == ["wide", "wider"]


def test_completion_imports_neither_torch_nor_ray() -> None:
    script = (
        "import sys\nfrom raytrain.cli.app import app\n"
        "try:\n    app(prog_name='raytrain')\nfinally:\n    print(sorted({'torch', 'ray', 'scipy'} & {*sys.modules}))"
    )
    environment = {**os.environ, **zsh_environment("train --set arch=resnet1")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "resnet18" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
