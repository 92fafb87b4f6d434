"""What others name is read up to a limit, everywhere: a device without end, a sparse file, a bomb in an archive."""

import io
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raytrain.baselines import baselines
from raytrain.baselines import importing as baseline_import
from raytrain.errors import RaytrainError, RunFolderError
from raytrain.experiment import yaml_source
from raytrain.experiment.yaml_source import parse_value, read_yaml
from raytrain.inference import model, model_file
from raytrain.metrics import predictions
from raytrain.metrics.predictions import Predictions
from raytrain.runs.checks import check_epoch, check_result
from raytrain.storage import json_lines
from raytrain.storage.bounded import read_bounded
from raytrain.storage.folder import Folder
from raytrain.user_code import source

pytestmark = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="has no /dev/zero")


def test_a_file_as_large_as_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", most=5) == b"12345"


def test_a_small_file_takes_little_memory_however_large_the_limit_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    tracemalloc.start()
    try:
        assert read_bounded(tmp_path / "a", most=2**28) == b"12345"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = os.urandom(3 * 2**20)
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    assert read_bounded(tmp_path / "pipe", most=2**22, regular=False) == content
    writer.join()


def test_a_larger_file_a_device_and_a_pipe_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456")
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "a", "larger than 5 bytes"),
        (Path("/dev/zero"), "no regular file"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(OSError, match=words) as refused:
            read_bounded(path, most=5)
        assert refused.value.strerror == words


def test_a_device_that_may_be_read_is_read_up_to_the_limit() -> None:
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_bounded(Path("/dev/zero"), most=5, regular=False)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an experiment": ("x.yaml", read_yaml),
    "a model": ("x.pth", model_file.read_model),
    "an image": ("x.png", lambda path: model.read_image(path, image_size=8)),
    "code": ("x.py", source._text),
    "an event file": ("x.tfevents", lambda path: list(baseline_import.read_scalars(path))),
    "curves": ("x.csv", baselines.read_curves),
    "trials.jsonl": ("trials.jsonl", lambda path: list(json_lines.read_lines(Folder.at(path.parent), path.name))),
}
LIMITS = [
    (yaml_source, "MAX_BYTES"),
    (model, "MAX_FILE"),
    (model_file, "MAX_BYTES"),
    (source, "MAX_BYTES"),
    (baseline_import, "MAX_BYTES"),
    (baselines, "MAX_CSV"),
    (json_lines, "MAX_BYTES"),
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["sparse", "/dev/zero"])
def test_what_has_no_end_is_refused_in_one_message(
    reader: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, 1000)
    name, read = READERS[reader]
    if kind == "sparse":
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 6 * 2**30)  # takes no room on the disk
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(RaytrainError, match=r"larger than 1,000 bytes|no regular file") as refused:
        read(tmp_path / name)
    assert refused.value.exit_code == 2
    assert name in str(refused.value)


def test_predictions_that_unpack_to_far_more_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, labels=np.zeros(100_000, np.uint8), predicted=np.zeros(1), probabilities=np.zeros(1))
    assert len(stream.getvalue()) < 2000
    monkeypatch.setattr(predictions, "MAX_UNPACKED", 50_000)
    with pytest.raises(RunFolderError, match="unpacks to 100,"):
        Predictions.from_bytes(stream.getvalue())


ENDLESS = {
    "a long line": ("a: [" + "1," * 6000 + "1]", "1:1: the line has 12,006 characters; break it into lines"),
    "brackets": ("[" * 990_000, "the line has 990,000 characters"),
    "many lines": ("a:\n" + "- 1\n" * 20_000, "more than 20,000 values or lines"),
    "merged into itself": ("a: &a {<<: *a}", r"a mapping is merged \(<<\) into itself; write its keys out"),
    "merged in a list": ("a: &a\n  <<: [*a, *a]\n  b: 1", r"a mapping is merged \(<<\) into itself"),
    "9,000 digits": ("a: " + "9" * 9000, "a whole number of more than 300 digits"),
    "4,000 digits": ("a: " + "9" * 4000, "a whole number of more than 300 digits"),
    "hexadecimal digits": ("a: 0x" + "f" * 9000, "a whole number of more than 300 digits"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_yaml_that_would_take_minutes_or_is_no_number_is_refused(kind: str) -> None:
    text, words = ENDLESS[kind]
    with pytest.raises(RaytrainError, match=words) as refused:
        parse_value(text, name="x.yaml")
    assert len(str(refused.value)) < 200


def test_the_largest_seed_of_torch_is_a_whole_number() -> None:
    assert parse_value(str(2**64 - 1), name="x") == 2**64 - 1


def test_a_number_that_no_table_holds_is_damage() -> None:
    row = {"epoch": 10**4000, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": None, "val_accuracy": None}
    row |= {"test_loss": None, "test_accuracy": None, "lr": 0.1, "seconds": 1.0}
    with pytest.raises(ValueError, match="epoch"):
        check_epoch(row)
    with pytest.raises(ValueError, match="parameters"):
        check_result({"trial": "a", "status": "failed", "recipe": {}, "parameters": 10**4000, "epochs": 1})
