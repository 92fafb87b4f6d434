"""Tests of raytrain.errors: which error ends a command with which exit code, and how the codes are listed."""

import re

import pytest

from raytrain import errors
from raytrain.errors import ExitCode, RaytrainError, counted, did_you_mean, exit_codes_table, first_line

OF_ERRORS = {
    "RaytrainError": 1,
    "ExperimentError": 2,
    "DataError": 2,
    "RunFolderError": 2,
    "ModelError": 2,
    "VerificationError": 9,
    "JobError": 2,
    "PreflightError": 3,
    "StorageError": 3,
    "ClusterError": 6,
    "RayLostError": 6,
    "TrackerError": 6,
    "DivergenceError": 1,
}


def test_every_error_ends_a_command_with_its_documented_exit_code() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RaytrainError)]
    assert {error.__name__: error.exit_code for error in classes} == OF_ERRORS


def test_the_exit_codes_are_those_of_the_documentation() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 143]


@pytest.mark.parametrize("code", ExitCode)
def test_an_exit_code_has_a_docstring_of_its_own(code: ExitCode) -> None:
    assert code.__doc__ == code.meaning
    assert [other for other in ExitCode if other.meaning == code.meaning] == [code]


def test_the_table_has_a_row_for_each_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", exit_codes_table(), re.MULTILINE)
    assert rows == [(str(int(code)), code.meaning) for code in ExitCode]


@pytest.mark.parametrize(
    ("word", "question"), [("epoch", "did you mean 'epochs'?"), ("lrr", "did you mean 'lr'?"), ("dropout", "")]
)
def test_the_question_after_a_wrong_word_names_the_nearest_of_the_names(word: str, question: str) -> None:
    assert did_you_mean(word, ["lr", "epochs", "batch_size"]) == question


def test_the_question_names_several_as_they_are_to_be_written() -> None:
    said = did_you_mean("resnet", ["resnet9", "vit", "resnet18"], most=3, shown="timm:{}".format, between=", ")
    assert said == "did you mean timm:resnet9, timm:resnet18?"


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("\n  no space \nleft"), "no space"), (EOFError(), "EOFError"), (KeyError(""), "''")]
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_one_thing_is_named_in_the_singular() -> None:
    words = [counted(count, "trial") for count in (0, 1, 2, 1200)]
    assert words == ["0 trials", "1 trial", "2 trials", "1,200 trials"]
    assert [counted(count, "class", "classes") for count in (1, 2)] == ["1 class", "2 classes"]
    assert [counted(100 * share, "point") for share in (0.003, 0.01, 0.07)] == ["0.3 points", "1 point", "7 points"]
