"""A data set that does not fit into memory: trained under a limit, and its batches against those from memory.

python benchmarks/large_data.py --images 200000 --limit-gib 2
python benchmarks/large_data.py --photos        # only how long one photo takes to decode, in seconds of processor time

First a process of its own decodes the images into the cache and takes every training batch of an epoch. Its private
memory is limited by RLIMIT_DATA; a mapped file is not private memory. Then the batches of the same images, mapped and
in memory, take turns in this process, cropped and normalised: the page cache holds the file by then where it can. Once,
an epoch is read after the file was dropped from the page cache.
"""

import io
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from comparison import Comparison, Record, arguments, interleaved
from PIL import Image

from raytrain.data import LabelledImages, Splits, cache, load, split
from raytrain.data.layouts.decode import decode
from raytrain.data.mapped import MappedImages
from raytrain.training.evaluation import TrainingData
from raytrain.training.inputs import training_inputs
from raytrain.training.recipe import Recipe

CPU = torch.device("cpu")
BATCH = 256
CLASSES = 10
ROWS = 2000
"""Images of a Parquet file's row group."""
TEST = 1000


def write(folder: Path, *, images: int, size: int) -> None:
    """Write JPEG images of noise, each another, as Parquet files."""
    draw = np.random.default_rng(0)
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    for part, count in (("train", images), ("test", TEST)):
        with pq.ParquetWriter(folder / f"{part}.parquet", schema) as file:
            for start in range(0, count, ROWS):
                rows = range(start, min(start + ROWS, count))
                encoded = [jpeg(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8), size) for _ in rows]
                file.write_table(pa.table({"image": encoded, "label": [row % CLASSES for row in rows]}, schema))


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
    """Have the system forget the files, so that the next epoch reads them from the disk."""
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


def memory(name: str) -> int:
    """Return a number of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def under_limit(folder: str, size: int, limit: int, sending: Any) -> None:
    """Decode and take an epoch of batches with at most `limit` bytes of private memory; send what it took."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    started = time.perf_counter()
    found = load(folder, image_size=size)
    decoded = time.perf_counter()
    splits = split(found, 0.1)
    prepared = time.perf_counter()
    speed = images_per_second(splits, size)
    sending.send(
        {
            "mapped": isinstance(found.train.images, MappedImages),
            "load_s": decoded - started,
            "split_s": prepared - decoded,
            "images_per_s": speed,
            "private_bytes_at_end": memory("RssAnon"),
            "peak_resident_bytes": memory("VmHWM"),  # with the pages of the file that were mapped at that time
        }
    )


def measured_under_limit(folder: Path, size: int, limit: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=under_limit, args=(str(folder), size, limit, sending))
    process.start()
    sending.close()
    try:
        found: dict[str, Any] = receiving.recv()
    except EOFError:
        raise SystemExit("the process under the limit has failed") from None
    finally:
        process.join()
    return found


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


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--limit-gib", type=float, default=2.0, help="private memory of the process that is limited")
    parser.add_argument("--photos", action="store_true", help="only print how long a photo takes to decode")
    options = parser.parse_args()
    if options.photos:
        print(f"{1000 * photo_seconds():.1f} ms of processor time to decode a photo of 500 × 375 pixels to 224")
        return 0
    torch.set_num_threads(1)
    record = Record("large_data")
    limit = int(options.limit_gib * 2**30)
    with tempfile.TemporaryDirectory() as place:
        os.environ["RAYTRAIN_DATA"] = place
        folder = Path(place) / "images"
        folder.mkdir()
        write(folder, images=options.images, size=options.size)
        alone = measured_under_limit(folder, options.size, limit)
        decoded = options.images * options.size**2 * 3
        record.details |= {"images": options.images, "size": options.size, "decoded_bytes": decoded} | alone
        what = f"{options.images:,} images of {options.size} px under {options.limit_gib:g} GiB: private memory"
        record.target(what, alone["private_bytes_at_end"] / 2**30, f"≤ {options.limit_gib:g} GiB", met=alone["mapped"])
        cache.LARGEST_SHARE = 0.0  # mapped here, too, whatever this machine has
        mapped = split(load(str(folder), image_size=options.size, quiet=True), 0.1)
        assert isinstance(mapped.train.images, MappedImages)
        dropped_from_page_cache(mapped.train.images)
        cold = images_per_second(mapped, options.size)
        record.details |= {"images_per_s_from_disk": cold, "photo_decode_s": photo_seconds()}
        print(f"an epoch that was not in the page cache: {cold:,.0f} images/s", flush=True)
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
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
