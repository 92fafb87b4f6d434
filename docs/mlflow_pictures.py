"""Make the pictures of MLflow with a run of some seconds.

    python3 -m venv pages && pages/bin/pip install mlflow       # the extra raytrain[mlflow] brings no web pages
    .venv/bin/python docs/mlflow_pictures.py --mlflow pages/bin/mlflow      # after `make browser-tools`

It trains six small networks on the digits in a temporary folder, sends them with `raytrain log` to a SQLite file, shows
that with MLflow's own server, and writes docs/pictures/mlflow-*.png.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from screenshots import MOST_BYTES, PICTURES, RAYTRAIN, browser, photograph, wait

EXPERIMENT = """
recipe: {arch: resnet9, width: 4, dataset: digits, image_size: 8, epochs: 6, batch_size: 64, optimizer: adam}
grid: {lr: [0.003, 0.01, 0.03], schedule: [cosine, constant]}
"""
STORE = "sqlite:///mlflow.db"
PATIENCE = 300
"""Seconds in which the server must answer; on a busy machine it takes half a minute."""
ALONE = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Environment of a server that asks nothing of other sites and starts no processes for jobs."""
WIDTH = 1400
"""Width of the window in pixels."""
HIDDEN = ("Dataset", "Source", "Models")
"""Columns that MLflow shows and that are empty, or the same in each row."""
SHOWN = ("val_accuracy", "test_accuracy", "test_loss", "lr", "schedule")
"""Columns to show: metrics and parameters."""
CLOSE = '[data-component-id="mlflow.assistant.chat_panel.close"]'
"""Selector of the button that closes the panel of MLflow's assistant, which opens by itself."""
NO_TOOLBARS = "document.head.append(Object.assign(document.createElement('style'), {textContent: arguments[0]}))"
"""JavaScript that adds a style. A browser without a mouse shows the toolbar of each chart, on top of its curves."""


def main() -> None:
    """Train, send, show and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PICTURES, help="folder to write to")
    beside = Path(sys.executable).parent / "mlflow"
    parser.add_argument("--mlflow", type=Path, default=beside, help="program `mlflow` of the full package")
    options = parser.parse_args()
    if not options.mlflow.exists():
        sys.exit(f"no program {options.mlflow}: install the package mlflow, and name its program with --mlflow")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "digits.yaml").write_text(EXPERIMENT)
        subprocess.run([RAYTRAIN, "tune", "digits.yaml", "--local", "-q"], cwd=place, check=True)
        send = [RAYTRAIN, "log", "digits", "--to", "mlflow", "--tracking-uri", STORE]
        subprocess.run(send, cwd=place, check=True)
        with served(options.mlflow.absolute(), place) as address, browser(WIDTH) as page:
            made = show_mlflow(page, address, options.output)
    for picture in made:
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes")  # noqa: T201
        if size > MOST_BYTES:
            sys.exit(f"{picture} is larger than {MOST_BYTES:,} bytes")


@contextmanager
def served(program: Path, place: Path) -> Generator[str]:
    """Give the address at which MLflow serves the store of a folder; the server ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [program, "server", "--backend-store-uri", STORE, "--host", "127.0.0.1", "--port", str(port)]
    with (place / "server.log").open("w") as log:  # a file: a pipe that nobody reads stops the server when it is full
        server = subprocess.Popen(
            [*command, "--workers", "1"], cwd=place, stdout=log, stderr=subprocess.STDOUT, env=os.environ | ALONE
        )
        try:
            end = time.monotonic() + PATIENCE
            while not answers(f"{address}/health"):
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit(f"MLflow did not start in {PATIENCE} s:\n{(place / 'server.log').read_text()}")
                time.sleep(1)
            yield address
        finally:
            server.terminate()
            server.wait()


def answers(address: str) -> bool:
    """Say whether a server answers."""
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


def show_mlflow(page: Any, address: str, output: Path) -> list[Path]:
    """Write the pictures of MLflow: the table of runs, the page of the chosen trial, and its curves."""
    table, trial, curves = (output / f"mlflow-{name}.png" for name in ("table", "trial", "curves"))
    found = ask(f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits")
    experiment = found["experiment"]["experiment_id"]
    chosen = {"experiment_ids": [experiment], "filter": "tags.`raytrain.chosen` = 'true'"}
    run = ask(f"{address}/api/2.0/mlflow/runs/search", chosen)["runs"][0]["info"]["run_id"]
    runs = f"{address}/#/experiments/{experiment}/runs"
    page.get(runs)
    says(page, "6 matching runs", "resnet9-adam-lr0.03-cosine")
    wait(lambda: page.find_elements("css selector", CLOSE), page)[0].click()
    press(page, "//button[normalize-space()='Columns']")
    for column in (*HIDDEN, *SHOWN):
        press(page, f"//*[@role='dialog']//*[@title='{column}']")
    press(page, "//button[normalize-space()='Columns']")
    wait(lambda: page.find_elements("xpath", "//*[@role='gridcell'][normalize-space()='constant']"), page)
    photograph(page, table, height=540)
    page.get(f"{runs}/{run}")
    says(page, "Metrics (16)", "test_accuracy", "raytrain.chosen", "weight_decay")
    photograph(page, trial, height=1300)
    page.get(f"{runs}/{run}/model-metrics")
    page.execute_script(NO_TOOLBARS, ".modebar { display: none !important }")
    wait(lambda: len(page.find_elements("css selector", ".js-plotly-plot .scatterlayer .trace")) >= 6, page)
    photograph(page, curves, height=1000)
    return [table, trial, curves]


def ask(address: str, question: dict[str, Any] | None = None) -> Any:
    """Return what MLflow's REST interface answers."""
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def press(page: Any, path: str) -> None:
    """Click on what an XPath finds, as soon as it is there."""
    page.execute_script("arguments[0].click()", wait(lambda: page.find_elements("xpath", path), page)[0])
    time.sleep(1)


def says(page: Any, *words: str) -> None:
    """Wait until a page says all of these words."""
    wait(lambda: all(word in page.execute_script("return document.body.innerText") for word in words), page)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
