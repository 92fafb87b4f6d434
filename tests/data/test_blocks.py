"""Tests of data/layouts/blocks.py: how many encoded files are in memory at a time, whichever layout they are in."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import raytrain
from raytrain.data import load
from raytrain.data.layouts import blocks, decode
from raytrain.data.layouts.blocks import in_blocks, read_ahead
from raytrain.data.layouts.source_folder import READERS

COUNT = 24
LOADER = (
    "def load():\n    return [f'photos/{row % 2}/{row:02}.png' for row in range(24)], [row % 2 for row in range(24)]\n"
)


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([1] * 7, [3, 3, 1]),
        ([4, 6, 10, 30, 1], [2, 1, 1, 1]),
        ([None, 0, 9, 1], [3, 1]),
        ([], []),
    ],
)
def test_a_block_ends_at_its_number_of_files_or_of_bytes(
    sizes: list[int | None], found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "FILES", 3)
    monkeypatch.setattr(blocks, "BYTES", 10)
    files = [None if size is None else bytes(size) for size in sizes]
    cut = list(in_blocks(files))
    assert [len(one) for one in cut] == found
    assert [content for one in cut for content in one] == files


def test_files_come_in_order_and_few_are_read_ahead() -> None:
    begun: list[str] = []
    lock = threading.Lock()

    def read(name: str) -> bytes:
        with lock:
            begun.append(name)
        return name.encode()

    names = [str(number) for number in range(10 * READERS)]
    for got, content in enumerate(read_ahead(read, names)):
        assert content == names[got].encode()
        assert len(begun) <= got + 2 * READERS
    assert sorted(begun) == sorted(names)


@pytest.fixture
def layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return data sets of the same images: a folder, a function that returns their paths, and a Parquet file."""
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, bytes]] = []
    for row in range(COUNT):
        file = tmp_path / "photos" / str(row % 2) / f"{row:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
        rows.append({"bytes": file.read_bytes()})
    (tmp_path / "table").mkdir()
    table = pa.table({"image": rows, "label": [row % 2 for row in range(COUNT)]})
    pq.write_table(table, tmp_path / "table" / "train.parquet", row_group_size=16)
    Path("mine.py").write_text(LOADER)
    return {"folder": "photos", "function": raytrain.code("mine.py:load"), "Parquet": "table"}


@pytest.mark.parametrize("layout", ["folder", "function", "Parquet"])
def test_large_files_are_decoded_in_smaller_blocks_to_the_same_images(
    layout: str, layouts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = (tmp_path / "photos" / "0" / "00.png").stat().st_size
    seen: list[int] = []
    decode_all = decode.decode_all

    def counting(encoded: Any, **options: Any) -> Any:
        seen.append(len(encoded))
        return decode_all(encoded, **options)

    for module in ("layouts.folder", "layouts.parquet_file", "user_dataset"):
        monkeypatch.setattr(f"raytrain.data.{module}.decode_all", counting)
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "one"))
    whole = load(layouts[layout], image_size=8)
    assert max(seen) >= COUNT // 2  # a row group of the file has 16
    seen.clear()
    monkeypatch.setattr(blocks, "BYTES", 5 * large)
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "other"))
    cut = load(layouts[layout], image_size=8)
    assert max(seen) <= 6
    assert sum(seen) == COUNT
    assert cut.fingerprint == whole.fingerprint
