"""A page of `raytrain view` in a real browser that renews itself: skipped where there is no Chromium."""

import asyncio
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raytrain.storage.folder import Folder
from raytrain.view.server import serve
from raytrain.view.watch import Runs

selenium = pytest.importorskip("selenium.webdriver")
CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
TRIALS = 201
"""One more than the rows that a page shows at first."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),  # a busy machine takes a minute to start a browser
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver; `make browser-tools`"),
]


@pytest.fixture(scope="module")
def folder(make_run_once: Any) -> Folder:
    """Return a made-up run with more trials than a page shows at first, most of which wait."""
    rates = [round(0.001 * place, 3) for place in range(1, TRIALS + 1)]
    waiting = dict.fromkeys(range(3, TRIALS), "waiting")
    return make_run_once(grid={"lr": rates}, ends=waiting, track_test=True)


@pytest.fixture(scope="module")
def address(folder: Folder) -> Iterator[str]:
    """Yield the address of the run's page."""
    ready: queue.Queue[str] = queue.Queue()
    loop = asyncio.new_event_loop()
    serving = loop.create_task(serve(Runs(folder.parent), port=0, ready=ready.put))

    def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield f"{ready.get(timeout=60)}run/{folder.name}/"
    loop.call_soon_threadsafe(serving.cancel)
    thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):  # fmt: skip
        options.add_argument(argument)
    started = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield started
    started.quit()


@pytest.fixture
def renew(folder: Folder, browser: Any, address: str) -> Callable[[], None]:
    """Open the page of the run without its last trial's end, and return a function that writes it and waits."""
    trials = folder.read("trials.jsonl")
    *before, last = trials.splitlines(keepends=True)
    folder.write("trials.jsonl", b"".join(before))
    browser.get("about:blank")
    browser.get(address)
    version = "return document.body.dataset.version"

    def renew() -> None:
        seen = browser.execute_script(version)
        folder.append("trials.jsonl", last)
        until(browser, lambda: browser.execute_script(version) != seen)
        until(browser, lambda: find(browser, "#live")[0].text.startswith("Updated at "))

    return renew


def until(browser: Any, condition: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 50, poll_frequency=0.05).until(lambda _: condition())


def find(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def shown_rows(browser: Any) -> int:
    rows = "[...document.querySelector('table.ranking').tBodies[0].rows]"
    return browser.execute_script(f"return {rows}.filter(row => row.offsetParent !== null).length")


def focused(browser: Any) -> str:
    return browser.execute_script("return document.activeElement.textContent.trim()")


def test_a_page_that_is_renewed_keeps_its_table_unfolded_its_place_and_the_focus(
    browser: Any, renew: Callable[[], None]
) -> None:
    (more,) = find(browser, ".more")
    assert more.text == f"Show all {TRIALS} rows"
    browser.execute_script("arguments[0].click()", more)
    assert shown_rows(browser) == TRIALS
    browser.execute_script("document.getElementById('curves').scrollIntoView()")
    buttons = until(browser, lambda: find(browser, '[data-chart="accuracy"] .switch button'))
    (button,) = (one for one in buttons if one.text == "test")
    browser.execute_script("arguments[0].focus({preventScroll: true})", button)
    place, name = browser.execute_script("return scrollY"), focused(browser)
    renew()
    assert shown_rows(browser) == TRIALS
    assert find(browser, ".more") == []
    assert browser.execute_script("return scrollY") == place > 0
    assert focused(browser) == name == "test"


@pytest.mark.parametrize("selector", [".more", "summary"])
def test_a_page_that_is_renewed_keeps_the_focus_on(browser: Any, renew: Callable[[], None], selector: str) -> None:
    last = until(browser, lambda: find(browser, selector))[-1]
    browser.execute_script("arguments[0].focus()", last)
    name = focused(browser)
    renew()
    assert focused(browser) == name
    assert find(browser, selector)[-1] == browser.switch_to.active_element
    assert shown_rows(browser) == 200
