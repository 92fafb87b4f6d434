"""Words of the command line that are longer than a file's name may be, and times without an end."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.inference.image_paths import image_paths

LONG = "x" * 300


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["compare", LONG], "is neither an experiment nor an architecture"),
        (["train", "--local", "--set", f"dataset={LONG}"], "File name too long"),
        (["train", "--local", "--set", f"dataset={LONG}#part"], "File name too long"),
        (["tune", "--local", "--grid", f"lr={','.join(['0.1'] * 100)}", "--set", "dataset=nowhere"], "'nowhere'"),
        (["train", "--local", "--trial-timeout", "inf", "--set", "dataset=nowhere"], "--trial-timeout"),
        (["train", "--local", "--trial-timeout", "1e999", "--set", "dataset=nowhere"], "--trial-timeout"),
        (["plan", "--local", "--price", "inf", "--set", "dataset=nowhere"], "--price"),
        (["judge", "a", "b", "--margin", "inf"], "--margin"),
        (["jobs", "--address", "http://["], "is no address of a dashboard"),
        (["results", "a\0b"], "it contains a null character"),
    ],
)
def test_a_long_word_is_answered_in_one_message(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, words)
    assert result.exit_code in {2, 3, 6}, (result.stderr, result.exc_info)
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_is_no_folder_of_images():
    assert image_paths([Path(LONG)], follow_links=False).files == [Path(LONG)]  # a file, which cannot be read
