"""An id column that is taken for a label: refused, and in memory that does not grow with its values."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raytrain.data.layouts.labels import MOST_CLASSES

MOST_BYTES = 100 * 2**20
"""Most memory above that of the imports; a count for each value up to 3·10⁸ would take 2.4 GB."""
MEASURED = """
import json, re, sys
from pathlib import Path
from raytrain.data import load
from raytrain.errors import DataError

def status(name):
    return 1024 * int(re.search(name + r":\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew; resource.getrusage has that of the parent, too
before = status("VmRSS")
try:
    said = load(sys.argv[1], image_size=8).summary
except DataError as error:
    said = str(error)
print(json.dumps({"said": said, "bytes": status("VmHWM") - before}))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")


def write(folder: Path, labels: list[int]) -> None:
    for part, seed in (("train", 0), ("test", 1)):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
        rows = pa.array([file.getvalue()] * len(labels), pa.binary())
        pq.write_table(pa.table({"image": rows, "label": labels}), folder / f"{part}.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([row * 10**8 for row in range(MOST_CLASSES + 1)], "that is an id, not a class", id="many"),
        pytest.param([300_000_000 - row for row in range(200)], "that is an id, not a class", id="one each"),
        pytest.param([0, 300_000_000] * 10, "20 training and 20 test images in 2 classes", id="3e8"),
        pytest.param([0, 10**12] * 10, "20 training and 20 test images in 2 classes", id="1e12"),
    ],
)
def test_labels_as_large_as_ids_take_little_memory(labels: list[int], expected: str, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    write(tmp_path / "photos", labels)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "photos")],
        env={"PATH": "", "RAYTRAIN_DATA": str(tmp_path / "home")},
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    measured = json.loads(done.stdout)
    assert expected in measured["said"]
    assert measured["bytes"] < MOST_BYTES
