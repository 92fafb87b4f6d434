"""Make the pictures of the documents: terminal, report and live page, from a run of some seconds.

    .venv/bin/python docs/screenshots.py      # after `make browser-tools`

It trains twelve small networks on the digits in a temporary folder and writes docs/pictures/*.svg and *.png, and
docs/report.png.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from selenium import webdriver

from raytrain.analysis.record import read_record
from raytrain.analysis.wording import footer
from raytrain.report import table
from raytrain.runs.folder import open_run

PICTURES = Path(__file__).parent / "pictures"
REPORT = Path(__file__).parent / "report.png"
RAYTRAIN = str(Path(sys.executable).parent / "raytrain")
EXPERIMENT = """
recipe: {arch: resnet9, width: 4, dataset: digits, image_size: 8, epochs: 8, batch_size: 64, optimizer: adam}
grid:
  lr: [0.003, 0.01, 0.03]
  schedule: [cosine, constant]
  mix: [none, mixup]
asha: {grace_period: 0.5}
"""
MOST_BYTES = 200_000
"""Largest size of a picture."""
COLOURS = 256
"""Colours of a PNG: charts and text need no more, and it is a third as large."""


def main() -> None:
    """Train, look and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURES, help="folder to write to")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    report = REPORT if output == PICTURES else output / REPORT.name
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "digits.yaml").write_text(EXPERIMENT)
        run = subprocess.Popen([RAYTRAIN, "tune", "digits.yaml", "--local", "-q"], cwd=place, stdout=subprocess.DEVNULL)
        try:
            with browser(1400) as page, served(place) as address:
                log = place / "runs/digits/trials.jsonl"
                while run.poll() is None and not (log.exists() and log.read_text().count("\n") >= 4):
                    time.sleep(0.5)
                page.get(address)
                links = wait(lambda: page.find_elements("css selector", "main a"), page)
                page.get(links[0].get_attribute("href"))
                wait(lambda: page.find_elements("css selector", '[data-chart="accuracy"] .legendtoggle'), page)
                photograph(page, output / "live.png", height=1000)
        finally:
            run.wait()
        for width in (80, 160):
            (output / f"results-{width}.svg").write_text(terminal(place / "runs", width))
        for width, height, picture in ((1400, 2100, report), (400, 1600, output / "report-400.png")):
            with browser(width) as page:
                page.get(f"file://{place}/runs/digits/report.html")
                wait(lambda page=page: page.find_elements("css selector", "html.scripts"), page)
                photograph(page, picture, height=height)
    for picture in (report, *sorted(output.glob("*.*"))):
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes")  # noqa: T201
        if size > MOST_BYTES:
            sys.exit(f"{picture} is larger than {MOST_BYTES:,} bytes")


def terminal(out: Path, width: int) -> str:
    """Return what `raytrain results` prints in a terminal of some width, as SVG."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    ranking = read_record(open_run("digits", out=str(out))).ranking
    console.print("[bold]$ raytrain results digits[/bold]", highlight=False)
    console.print(table.terminal_table(ranking, width=width), crop=False)
    for line in (*footer(ranking), "How to read the table: raytrain results digits --explain"):
        console.print(line, markup=False, highlight=False)
    svg = console.export_svg(title=f"{width} columns", theme=MONOKAI, unique_id=f"columns-{width}")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # its fonts would come from another site


@contextmanager
def served(place: Path) -> Generator[str]:
    """Give the address at which `raytrain view` serves the runs of a folder."""
    view = subprocess.Popen([RAYTRAIN, "view"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert view.stdout
    try:
        yield next(found[0] for line in view.stdout if (found := re.search(r"http://\S+", line)))
    finally:
        view.terminate()
        view.wait()


@contextmanager
def browser(width: int) -> Generator[Any]:
    """Give Chromium with a window of some width, or a phone of 400 pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
        made.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield made
    finally:
        made.quit()


def wait(condition: Any, page: Any) -> Any:
    """Return what a condition gives as soon as it gives something."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(page, 300).until(lambda _: condition())


def photograph(page: Any, path: Path, *, height: int) -> None:
    """Write the upper part of a page, of some height in pixels, as a PNG of few colours."""
    width = page.execute_script("return innerWidth")
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(5)  # charts that have come into view are drawn
    picture = Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
