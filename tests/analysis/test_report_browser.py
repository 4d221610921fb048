"""The report in a real browser: no message on its console, no request, and a chart that answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.pipeline import MEASUREMENTS
from analysis.report.facts import gather
from analysis.report.page import render
from analysis.table import read_table
from tests.analysis.report_sweeps import EVIL, fail, make_sweep

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not BROWSER or not DRIVER:
    pytest.skip("there is no chromium with its chromedriver", allow_module_level=True)

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="300"/>'
LINES = "return [...document.querySelectorAll('#lines .line')].map((line) => line.getAttribute('d'))"
TITLE = "return document.querySelector('#lines .title').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that has opened the report of a sweep with one failed trial."""
    folder: Path = tmp_path_factory.mktemp("report")
    ledger = make_sweep(folder)
    fail(ledger, EVIL)
    rows: Any = read_table(ledger.sweep.filesystem, ledger.sweep.path(MEASUREMENTS))
    (folder / "report.html").write_text(render(gather(ledger), rows, {"accuracy_by_epoch.svg": SVG}))
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get((folder / "report.html").as_uri())
    yield driver
    driver.quit()


def choose(browser: Any, control: str, value: str) -> None:
    script = """
const field = document.getElementById("controls").elements[arguments[0]];
field.value = [...field.options].find((option) => option.text === arguments[1]).value;
field.dispatchEvent(new Event("change", { bubbles: true }));
"""
    browser.execute_script(script, control, value)


def set_width(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_it_asks_nobody_and_complains_of_nothing(browser: Any) -> None:
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in urls) == 1
    assert browser.get_log("browser") == []


def test_the_chart_follows_what_is_chosen(browser: Any) -> None:
    assert browser.execute_script(TITLE) == "linear accuracy (%): class, test, representation"
    first = browser.execute_script(LINES)
    assert len(first) == 2, "two networks, each the mean over three seeds"
    choose(browser, "metric", "cdnv")
    second = browser.execute_script(LINES)
    assert browser.execute_script(TITLE) == "cdnv: class, test, representation" and second != first
    choose(browser, "level", "superclass")
    assert browser.execute_script(LINES) != second
    choose(browser, "axis", "layer")
    assert browser.execute_script(LINES)[1].count("L") == 3, "stem, two blocks and the representation"
    browser.execute_script("document.querySelector('[name=mean]').click()")
    assert len(browser.execute_script(LINES)) == 6
    browser.execute_script("document.querySelector('#networks input').click()")
    assert len(browser.execute_script(LINES)) == 3
    browser.execute_script("document.getElementById('none').click()")
    assert browser.execute_script(LINES) == []
    browser.execute_script("document.getElementById('all').click(); document.querySelector('[name=mean]').click()")
    choose(browser, "axis", "epoch")
    choose(browser, "to", "3")
    assert browser.execute_script(LINES)[0].count("L") == 1, "epochs 0 and 3 of 0, 3 and 20"
    choose(browser, "to", "20")
    assert browser.get_log("browser") == []


def test_the_arrow_keys_read_the_chart_out(browser: Any) -> None:
    press = """
const chart = document.getElementById("lines");
chart.focus();
chart.dispatchEvent(new KeyboardEvent("keydown", { key: arguments[0], cancelable: true }));
return [document.activeElement.id, document.getElementById("spoken").textContent];
"""
    focused, first = browser.execute_script(press, "ArrowRight")
    assert focused == "lines" and first.startswith("depth 1, width 16, epoch 0: ") and "mean of 3 seeds" in first
    assert browser.execute_script(press, "ArrowRight")[1].startswith("depth 1, width 16, epoch 3: ")
    assert browser.execute_script(press, "ArrowDown")[1].startswith("depth 2, width 16, epoch 3: ")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_never_wider_than_the_window(browser: Any, width: int) -> None:
    set_width(browser, width)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("section", ["claims", "results"])
def test_the_first_column_stays_while_a_table_scrolls(browser: Any, section: str) -> None:
    set_width(browser, 390)
    script = """
const box = document.querySelector(`#${arguments[0]} .scroll`);
box.scrollLeft = 100;
const lefts = [...box.querySelectorAll("th:first-child")].map((cell) => cell.getBoundingClientRect().left);
return [box.scrollLeft, box.getBoundingClientRect().left, ...new Set(lefts)];
"""
    scrolled, edge, *lefts = browser.execute_script(script, section)
    assert scrolled > 0 and lefts == [edge]


def test_the_numbers_shown_are_listed(browser: Any) -> None:
    browser.execute_script("document.getElementById('numbers').open = true")
    choose(browser, "metric", "linear accuracy")
    rows = browser.execute_script(
        "const rows = [...document.querySelectorAll('#numbers tr')];"
        "return rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert [row[0] for row in rows] == ["epoch", "0", "3", "20"]
    assert rows[0][1:] == ["depth 1, width 16", "depth 2, width 16"]
    assert all(cell.endswith(" %") for row in rows[1:] for cell in row[1:])
