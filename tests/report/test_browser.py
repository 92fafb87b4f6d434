"""The report in a real browser, from a file and without a network: skipped where there is no Chromium."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raytrain.analysis.record import read_record
from raytrain.report.page import write_report

selenium = pytest.importorskip("selenium.webdriver")
CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),  # a busy machine takes a minute to start a browser
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver; `make browser-tools`"),
]

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(make_run_once: Any) -> str:
    """Return the address of the report of a made-up grid."""
    folder = make_run_once(
        grid={"lr": [0.1, 0.2, 0.3], "schedule": ["cosine", "constant"]},
        ends={1: "stopped", 2: "diverged"},
        asha={},
        track_test=True,
    )
    write_report(read_record(folder))
    return f"file://{folder}/report.html"


@pytest.fixture(scope="module")
def long_report(make_run_once: Any) -> str:
    """Return the address of a report of more rows than a page shows at first."""
    rates = [round(0.001 * step, 3) for step in range(1, 204)]
    folder = make_run_once("long", grid={"lr": rates}, recipe={"epochs": 1})
    write_report(read_record(folder))
    return f"file://{folder}/report.html"


@pytest.fixture(scope="module")
def browser_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], Any]]:
    """Return a function that returns a browser with scripts, or without; each is started once."""
    started: dict[bool, Any] = {}

    def start(scripts: bool) -> Any:
        options = selenium.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,900",
            f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        return selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))

    def browser(scripts: bool) -> Any:
        if scripts not in started:
            started[scripts] = start(scripts)
        return started[scripts]

    yield browser
    for one in started.values():
        one.quit()


@pytest.fixture
def open_page(report: str, browser_of: Callable[[bool], Any]) -> Open:
    """Return a function that opens the report anew, in a window or on a phone of some width."""

    def open_(*, phone: int | None = None, scripts: bool = True) -> Any:
        browser = browser_of(scripts)
        browser.get("about:blank")
        browser.get_log("browser")  # what another test's page has said
        if phone:  # a window cannot be made so small
            metrics = {"width": phone, "height": 900, "deviceScaleFactor": 2, "mobile": True}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        else:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.get(report)
        return browser

    return open_


def until(browser: Any, condition: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 50, poll_frequency=0.05).until(lambda _: condition())


def find(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def shown_rows(browser: Any) -> int:
    """Return how many rows of the ranking can be seen, asked at once: one by one takes seconds."""
    seen = "row.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) && row.offsetHeight > 0"
    rows = "[...document.querySelectorAll('table.ranking tbody tr')]"
    return browser.execute_script(f"return {rows}.filter(row => {seen}).length")


def test_a_click_on_a_legend_entry_hides_its_curve(open_page: Open) -> None:
    browser = open_page()
    entries = until(browser, lambda: find(browser, '[data-chart="accuracy"] .legendtoggle'))

    def visible() -> int:
        script = (
            "return document.querySelector('[data-chart=accuracy] .plot').data.filter(t => t.visible !== 'legendonly')"
        )
        return len(browser.execute_script(script))

    before = visible()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", entries[0])
    selenium.ActionChains(browser).move_to_element(entries[0]).click().perform()
    until(browser, lambda: visible() == before - 1)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_click_on_a_heading_sorts_the_table_and_keeps_unknown_values_below(open_page: Open) -> None:
    browser = open_page()

    def column(heading: str) -> list[str]:
        names = [th.text.rstrip(" ↑↓") for th in find(browser, "table.ranking thead th")]
        cells = [row.find_elements("css selector", "td") for row in find(browser, "table.ranking tbody tr")]
        return [row[names.index(heading)].text for row in cells]

    button = next(b for b in find(browser, "table.ranking thead button") if b.text.startswith("lr"))
    for ascending in (True, False):
        button.click()
        rates = [float(text) for text in column("lr")]
        assert rates == sorted(rates, reverse=not ascending)
    button = next(b for b in find(browser, "table.ranking thead button") if b.text.startswith("test accuracy"))
    button.click()
    accuracies = column("test accuracy %")
    assert accuracies[-2:] == ["–", "–"]
    known = [float(text) for text in accuracies[:-2]]
    assert known == sorted(known)


def test_a_click_on_a_row_brings_out_its_curves_everywhere_and_another_one_ends_it(open_page: Open) -> None:
    browser = open_page()
    until(browser, lambda: find(browser, '[data-chart="accuracy"] .legendtoggle'))
    row = find(browser, "table.ranking tbody tr")[1]
    label = row.get_attribute("data-label")
    script = "return Object.fromEntries(document.querySelector('[data-chart=accuracy] .plot').data.map(t => [t.meta, t.opacity]))"  # noqa: E501

    def opacities() -> dict[str, float]:
        return {name: value for name, value in browser.execute_script(script).items() if name in labels}

    labels = {one.get_attribute("data-label") for one in find(browser, "table.ranking tbody tr")}
    row.find_elements("css selector", "td")[2].click()
    until(browser, lambda: opacities()[label] == 1 and {*opacities().values()} == {1, 0.12})
    assert [one.get_attribute("data-label") for one in find(browser, ".parallel g.marked")] == [label]
    row.find_elements("css selector", "td")[2].click()
    until(browser, lambda: {*opacities().values()} == {1})
    assert find(browser, ".marked") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_rows_are_brought_out_and_columns_sorted_without_a_mouse(open_page: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = open_page()
    until(browser, lambda: find(browser, '[data-chart="accuracy"] .legendtoggle'))

    def press(*keys: str) -> Any:
        for key in keys:
            selenium.ActionChains(browser).send_keys(key).perform()
        return browser.switch_to.active_element

    heading = find(browser, "table.ranking thead th:last-child")[0]
    browser.execute_script("arguments[0].querySelector('button').focus()", heading)
    press(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    press(Keys.SPACE)
    assert heading.get_attribute("aria-sort") == "descending"
    rows = find(browser, "table.ranking tbody tr")
    assert press(Keys.TAB) == rows[0]
    assert press(Keys.ARROW_DOWN) == rows[1]
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", rows[1]) == "solid"
    label = rows[1].get_attribute("data-label")
    press(Keys.ENTER)
    marked = [one.get_attribute("data-label") for one in find(browser, ".marked[aria-current]")]
    assert marked == [label, label]  # the row, and its line among the parallel coordinates
    press(Keys.SPACE)
    assert find(browser, ".marked, [aria-current]") == []


def test_a_long_table_shows_its_first_rows_and_a_button_for_the_others(open_page: Open) -> None:
    browser = open_page()
    make = """
        const table = document.querySelector("table.ranking");
        const row = table.tBodies[0].rows[0];
        for (let n = 0; n < 300; n++) table.tBodies[0].append(row.cloneNode(true));
        page(table);
        return [...table.tBodies[0].rows].filter((one) => one.offsetParent !== null).length;
    """
    assert browser.execute_script(make) == 200
    (button,) = find(browser, ".more")
    assert button.text == "Show all 306 rows"
    browser.execute_script("arguments[0].click()", button)
    assert shown_rows(browser) == 306
    assert find(browser, ".more") == []


def test_a_button_shows_another_split(open_page: Open) -> None:
    browser = open_page()
    until(browser, lambda: find(browser, '[data-chart="accuracy"] .legendtoggle'))
    button = next(b for b in find(browser, '[data-chart="accuracy"] .switch button') if b.text == "test")
    button.click()
    title = "return document.querySelector('[data-chart=accuracy] .plot').layout.yaxis.title.text"
    until(browser, lambda: browser.execute_script(title) == "test accuracy %")
    assert button.get_attribute("aria-pressed") == "true"


def test_a_phone_scrolls_tables_and_not_the_page(open_page: Open) -> None:
    browser = open_page(phone=390)
    browser.execute_script("document.getElementById('curves').scrollIntoView()")
    until(browser, lambda: find(browser, '[data-chart="accuracy"] .legendtoggle'))
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390
    boxes = """return [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)
        .map(box => box.getAttribute('aria-label'))"""
    wide = {*browser.execute_script(boxes)}
    assert wide & {"Ranking", "Parallel coordinates", "Confusion matrix"} == set()  # two fields, and ten classes


def test_charts_fit_the_paper_and_go_back_to_the_window(open_page: Open) -> None:
    browser = open_page()
    until(browser, lambda: find(browser, '[data-chart="accuracy"] .legendtoggle'))

    def widths() -> list[float]:
        script = (
            "return [...document.querySelectorAll('.plot .main-svg')].map(svg => svg.getBoundingClientRect().width)"
        )
        return browser.execute_script(script)

    before = widths()
    assert max(before) > 1000
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    until(browser, lambda: len(widths()) > len(before))  # those further down, too
    until(browser, lambda: max(widths()) <= 690)
    charts = "return Object.fromEntries([...document.querySelectorAll('.plot')].map(p => [p.parentNode.dataset.chart, p.layout.yaxis.range]))"  # noqa: E501
    low, high = browser.execute_script(charts)["cost"]
    assert 40 < low < high < 110
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    until(browser, lambda: max(widths()) > 1000)


def test_without_scripts_the_table_and_static_curves_stay(open_page: Open) -> None:
    browser = open_page(scripts=False)
    assert len(find(browser, "table.ranking tbody tr")) == 6
    (svg,) = find(browser, ".static svg")
    assert svg.is_displayed()
    assert svg.size["width"] > 300
    assert not any(chart.is_displayed() for chart in find(browser, ".chart"))


@pytest.mark.parametrize(("scripts", "shown"), [(True, 200), (False, 203)])
def test_a_report_of_more_rows_than_a_page_shows_all_of_them_without_scripts(
    long_report: str, browser_of: Callable[[bool], Any], scripts: bool, shown: int
) -> None:
    browser = browser_of(scripts)
    browser.get(long_report)
    assert shown_rows(browser) == shown
    if scripts:
        (button,) = find(browser, ".more")
        button.click()
        assert shown_rows(browser) == 203
