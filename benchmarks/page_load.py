"""How long a page of a run takes to open in Chromium: until its table shows, and until it answers.

Needs chromium, chromedriver and selenium: `make browser-tools`.
"""

import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
TIMES = 3
"""How often a page is opened, each time in a new browser: the median counts."""
ANSWERS = """
const done = arguments[0], drawn = () => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => {
  const table = document.querySelector("table.ranking");
  const seen = performance.getEntriesByName("first-contentful-paint")[0];
  const times = [(seen ? seen.startTime : performance.now()) / 1000, performance.now() / 1000];
  done(table && table.getBoundingClientRect().height ? [...times, table.rows.length] : null);
})));
const wait = () => (document.documentElement.classList.contains("scripts") ? drawn() : setTimeout(wait, 5));
wait();
"""
"""Says after how many seconds the page showed something, and after how many its scripts and charts were done."""


@dataclass(frozen=True)
class Opened:
    """How a page opened.

    Attributes:
        shown_s: Seconds until the page showed something; the table is near its top.
        answers_s: Seconds until all scripts had run and the first charts were drawn: from then on it answers a click.
        busy_s: Seconds of processor time that the page's own thread took: other programs on the machine change it less.
        rows: Rows of the table, with its heading.
    """

    shown_s: float
    answers_s: float
    busy_s: float
    rows: int


def open_page(page: Path, *, times: int = TIMES) -> Opened | None:
    """Return the medians of how a page opens; None where there is no Chromium that can be driven."""
    if not (CHROMIUM and DRIVER):
        return None
    try:
        from selenium import webdriver
    except ImportError:
        return None
    found: list[tuple[float, float, float, int]] = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as profile:
            options = webdriver.ChromeOptions()
            options.binary_location = CHROMIUM
            for argument in (
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,900", f"--user-data-dir={profile}",
            ):  # fmt: skip
                options.add_argument(argument)
            browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
            try:
                browser.set_script_timeout(120)
                browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
                browser.get(page.as_uri())  # returns when all is loaded
                seen = browser.execute_async_script(ANSWERS)
                metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            finally:
                browser.quit()
        assert seen, f"{page} shows no table"
        busy = next(one["value"] for one in metrics if one["name"] == "TaskDuration")
        shown, answers, rows = seen
        found.append((shown, answers, busy, rows))
    shown, answers, busy, rows = (statistics.median(values) for values in zip(*found, strict=True))
    return Opened(shown, answers, busy, int(rows))
