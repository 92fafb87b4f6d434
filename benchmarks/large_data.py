"""A data set that does not fit into memory: trained under a limit, and its batches against those from memory.

python benchmarks/large_data.py --part memory       # train under a limit of 2 GiB
python benchmarks/large_data.py --part throughput   # batches of mapped images against the same in memory
python benchmarks/large_data.py --part cold         # an epoch of batches whose file is not in the page cache
python benchmarks/large_data.py --photos            # only how long one photo takes to decode

Each part writes 200,000 JPEG images of 64 px into a temporary folder (TMPDIR), or into `--folder` where the other parts
find them. It needs 3 GB there, and writes a record of its own.

memory: `raytrain train` decodes the images and trains one epoch of a linear network. Its private memory is limited by
RLIMIT_DATA and looked at every second. A mapped file and the page cache are not private: the system takes their memory
back when it needs it. With `--bound cgroup` no limit is set; start the script in a control group that has one, which
counts the page cache, too: systemd-run --scope -p MemoryMax=2G -p MemorySwapMax=0 python benchmarks/large_data.py ...

throughput: batches of the mapped images and of the same images in memory take turns, cropped, flipped and normalised by
one thread, when the page cache holds the file.

cold: the same batches after the file was dropped from the page cache, and then again from there.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from comparison import Comparison, Record, arguments, interleaved
from PIL import Image

import raytrain
from raytrain.data import LabelledImages, Splits, cache, load, split
from raytrain.data.layouts.decode import decode
from raytrain.data.mapped import MappedImages
from raytrain.machine import memory_limit
from raytrain.training.evaluation import TrainingData
from raytrain.training.inputs import training_inputs
from raytrain.training.recipe import Recipe

CPU = torch.device("cpu")
BATCH = 256
CLASSES = 10
ROWS = 2000
"""Images of a Parquet file's row group."""
TEST = 1000
NETWORK = """from torch import nn


class Linear(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, num_classes))
"""
"""A network that takes no time: what is measured is how the images come to it."""


def write(folder: Path, *, images: int, size: int) -> None:
    """Write JPEG images of noise, each another and brighter from class to class, as Parquet files."""
    draw = np.random.default_rng(0)
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    for part, count in (("train", images), ("test", TEST)):
        with pq.ParquetWriter(folder / f"{part}.parquet", schema) as file:
            for start in range(0, count, ROWS):
                rows = range(start, min(start + ROWS, count))
                labels = [row % CLASSES for row in rows]
                noise = (draw.integers(12 * label, 12 * label + 144, (8, 8, 3), dtype=np.uint8) for label in labels)
                encoded = [jpeg(pixels, size) for pixels in noise]
                file.write_table(pa.table({"image": encoded, "label": labels}, schema))


def jpeg(pixels: np.ndarray, size: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR).save(file, "JPEG")
    return file.getvalue()


def photo_seconds() -> float:
    """Return the seconds of processor time that decoding a JPEG photo of 500 × 375 pixels to 224 takes: the least of 5.

    The photos are noise of two scales, of about 90 kB; the system's own noise only makes a measurement longer.
    """
    draw = np.random.default_rng(0)
    photos: list[bytes] = []
    for _ in range(20):
        coarse = Image.fromarray(draw.integers(0, 256, (47, 63, 3), dtype=np.uint8)).resize((500, 375))
        fine = np.asarray(coarse) + draw.normal(0, 9, (375, 500, 3))
        file = io.BytesIO()
        Image.fromarray(fine.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        photos.append(file.getvalue())

    def measured() -> float:
        started = time.process_time()
        for photo in photos:
            decode(photo, image_size=224)
        return (time.process_time() - started) / len(photos)

    return min(measured() for _ in range(5))


def dropped_from_page_cache(images: MappedImages) -> None:
    """Have the system forget the files, so that the next epoch reads them from the disk.

    It keeps the pages that a process has mapped, so the mapping is given up first; the next access makes another.
    """
    vars(images).pop("_maps", None)
    for name in images.files:
        with name.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def recipe(size: int) -> Recipe:
    return Recipe(augment=("crop", "flip"), batch_size=BATCH, image_size=size)


def images_per_second(splits: Splits, size: int) -> float:
    data = TrainingData.on(CPU, splits)
    started, seen = time.perf_counter(), 0
    for images, _ in training_inputs(recipe(size), data, epoch=0):
        seen += len(images)
    return seen / (time.perf_counter() - started)


def private_bytes(process: psutil.Process) -> int:
    """Return the memory that a process and those it has started hold and that no file on a disk stands behind."""
    held = 0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
            held += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) * 1024
    return held


def trained(folder: Path, size: int, limit: int | None) -> dict[str, Any]:
    """Train one epoch by `raytrain train`, with at most `limit` bytes of private memory; return what it took."""
    place = Path(os.environ["RAYTRAIN_DATA"])
    network = place / "network.py"
    network.write_text(NETWORK)
    arch = f"{network}:Linear"
    changes = {"dataset": folder, "image_size": size, "arch": arch, "epochs": 1, "batch_size": BATCH, "lr": 0.01}
    words = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    runs = place / "runs"
    command = [sys.executable, "-m", "raytrain", "train", *words, "--local", "--name", "large", "--out", str(runs)]
    changed = {"OMP_NUM_THREADS": "1"}
    if limit:
        command = ["prlimit", f"--data={limit}:{limit}", *command]
        changed["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the limit counts what is reserved: mimalloc takes 1 GiB of it
    started = time.perf_counter()
    process = psutil.Popen(command, env=os.environ | changed)
    peak = resident = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, private_bytes(process))
            resident = max(resident, process.memory_info().rss)
        time.sleep(1)
    if process.returncode:
        raise SystemExit(f"raytrain train has failed with exit code {process.returncode}")
    seconds = time.perf_counter() - started
    trial = raytrain.open_run(str(runs / "large")).trials().iloc[0]
    return {
        "peak_private_bytes": peak,
        "peak_resident_bytes": resident,  # with the pages of the file that were mapped at that time
        "seconds": seconds,
        "seconds_of_the_trial": float(trial["seconds"]),
        "test_accuracy": float(trial["test_accuracy"]),
    }


def inside(splits: Splits) -> Splits:
    """Return the same images in memory."""

    def read(part: LabelledImages) -> LabelledImages:
        return LabelledImages(part.images[:], part.labels)

    return Splits(
        read(splits.train),
        read(splits.val),
        read(splits.test),
        splits.classes,
        splits.mean,
        splits.std,
        splits.fingerprint,
    )


def memory(record: Record, folder: Path, options: argparse.Namespace) -> None:
    limit = int(options.limit_gib * 2**30)
    if options.bound == "cgroup" and memory_limit() > limit:
        raise SystemExit(f"the memory here is {memory_limit():,} bytes, more than {limit:,}: see the head of this file")
    found = trained(folder, options.size, limit if options.bound == "rlimit" else None)
    record.details |= {"bound": options.bound, "limit_bytes": limit} | found
    what = f"most private memory while {options.images:,} images of {options.size} px are decoded and trained on, GiB"
    peak = found["peak_private_bytes"]
    record.target(what, peak / 2**30, f"≤ {options.limit_gib:g}", met=peak <= limit)


def mapped_splits(folder: Path, size: int) -> Splits:
    """Return the images in their file, whatever memory this machine has."""
    torch.set_num_threads(1)
    cache.LARGEST_SHARE = 0.0
    splits = split(load(str(folder), image_size=size, quiet=True), 0.1)
    assert isinstance(splits.train.images, MappedImages)
    return splits


def throughput(record: Record, folder: Path, options: argparse.Namespace) -> None:
    mapped = mapped_splits(folder, options.size)
    there = inside(mapped)
    for splits in (mapped, there):
        images_per_second(splits, options.size)
    speeds = interleaved(
        lambda: images_per_second(mapped, options.size),
        lambda: images_per_second(there, options.size),
        pairs=options.pairs,
    )
    row = Comparison("batches of mapped images, crop and flip", "in memory", "images/s", *speeds)
    record.add(row.aiming(at_least=0.9))


def cold(record: Record, folder: Path, options: argparse.Namespace) -> None:
    mapped = mapped_splits(folder, options.size)
    images_per_second(mapped, options.size)
    images = cast("MappedImages", mapped.train.images)
    speeds: list[tuple[float, float]] = []
    read: list[int] = []
    for _ in range(options.pairs):
        dropped_from_page_cache(images)
        before = psutil.Process().io_counters().read_bytes
        from_disk = images_per_second(mapped, options.size)
        read.append(psutil.Process().io_counters().read_bytes - before)
        if read[-1] < images.nbytes / 2:
            raise SystemExit(
                f"only {read[-1]:,} of {images.nbytes:,} bytes were read from the disk, so the epoch was not cold; "
                "set TMPDIR to a folder on a disk, not in memory"
            )
        speeds.append((from_disk, images_per_second(mapped, options.size)))
    record.details["bytes_read_from_disk"] = read
    cold_speeds, warm_speeds = map(list, zip(*speeds, strict=True))
    what = "batches of mapped images, from the disk"
    row = Comparison(what, "from the page cache", "images/s", cold_speeds, warm_speeds)
    record.add(row)


PARTS = {"memory": memory, "throughput": throughput, "cold": cold}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--part", choices=PARTS, default="memory", help="what to measure")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--limit-gib", type=float, default=2.0, help="memory of --part memory")
    parser.add_argument("--bound", choices=("rlimit", "cgroup"), default="rlimit", help="what limits --part memory")
    parser.add_argument("--folder", type=Path, help="write the images here, or take those that are here")
    parser.add_argument("--photos", action="store_true", help="only print how long a photo takes to decode")
    options = parser.parse_args()
    if options.photos:
        print(f"{1000 * photo_seconds():.1f} ms of processor time to decode a photo of 500 × 375 pixels to 224")
        return 0
    record = Record(f"large_data_{options.part}")
    with tempfile.TemporaryDirectory() as place:
        os.environ["RAYTRAIN_DATA"] = place
        folder: Path = (options.folder or Path(place) / "images").absolute()
        if not (folder / "test.parquet").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, images=options.images, size=options.size)
        decoded = options.images * options.size**2 * 3
        record.details |= {"images": options.images, "size": options.size, "decoded_bytes": decoded}
        PARTS[options.part](record, folder, options)
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
