"""Make the pictures of TensorBoard with a run of some seconds.

    .venv/bin/python docs/tensorboard_pictures.py      # after `make browser-tools`

It trains six small networks on the digits in a temporary folder, shows them in TensorBoard, and writes
docs/pictures/tensorboard-*.png.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from screenshots import PICTURES, RAYTRAIN, browser, photograph, wait

EXPERIMENT = """
recipe: {arch: resnet9, width: 4, dataset: digits, image_size: 8, epochs: 6, batch_size: 64, optimizer: adam}
grid: {lr: [0.003, 0.01, 0.03], schedule: [cosine, constant]}
"""
WIDTH = 1400
"""Width of the window in pixels."""
MOST_BYTES = 150_000
"""Largest size of a picture."""
ALL_TEXT = """
const text = (root) => [...root.childNodes].map((one) =>
  one.nodeType === Node.TEXT_NODE ? one.data
  : (one.shadowRoot ? text(one.shadowRoot) : "") + (one.contentDocument ? text(one.contentDocument) : "") + text(one)
).join(" ");
return text(document.body);
"""
"""JavaScript that returns the text of a page with that of the components and frames within, where both keep theirs."""

PRESS = """
const word = arguments[0].toLowerCase();
const find = (root) => {
  for (const one of root.querySelectorAll("*")) {
    const inner = (one.shadowRoot && find(one.shadowRoot)) || (one.contentDocument && find(one.contentDocument));
    if (inner) return inner;
    if (one.childElementCount === 0 && one.textContent.trim().toLowerCase() === word) return one;
  }
  return null;
};
find(document).click();
"""
"""JavaScript that clicks on the element that has a text and nothing else, within components and frames too."""


def main() -> None:
    """Train, show and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PICTURES, help="folder to write to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "digits.yaml").write_text(EXPERIMENT)
        subprocess.run([RAYTRAIN, "tune", "digits.yaml", "--local", "-q"], cwd=place, check=True)
        made = show_tensorboard(place, options.output)
    for picture in made:
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes")  # noqa: T201
        if size > MOST_BYTES:
            sys.exit(f"{picture} is larger than {MOST_BYTES:,} bytes")


def show_tensorboard(place: Path, output: Path) -> list[Path]:
    """Write the pictures of TensorBoard: the table of HParams, its parallel coordinates, and images of mistakes."""
    program = str(Path(sys.executable).parent / "tensorboard")
    table, parallel, images = (output / f"tensorboard-{name}.png" for name in ("table", "parallel", "images"))
    command = [program, "--logdir", "runs/digits/trials", "--port", "0", "--load_fast=false"]
    with served(command, place) as address, browser(WIDTH) as page:
        page.get(f"{address}#hparams")
        says(page, "Result/test_accuracy", "schedule")
        photograph(page, table, height=430)
        press(page, "PARALLEL COORDINATES VIEW")
        photograph(page, parallel, height=740)
        page.get(f"{address}#images")
        says(page, "Mistakes/Test")
        photograph(page, images, height=700)
    return [table, parallel, images]


@contextmanager
def served(command: Sequence[str], place: Path) -> Generator[str]:
    """Give the address that a server prints when it listens; it ends with the block."""
    server = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout
    try:
        yield next(f"{found[0]}/" for line in server.stdout if (found := re.search(r"http://[\w.]+:\d+", line)))
    finally:
        server.terminate()
        server.wait()


def press(page: Any, word: str) -> None:
    """Click on what has some text."""
    page.execute_script(PRESS, word)
    time.sleep(2)


def says(page: Any, *words: str) -> None:
    """Wait until a page says all of these words."""
    wait(lambda: all(word in page.execute_script(ALL_TEXT) for word in words), page)
    time.sleep(5)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
