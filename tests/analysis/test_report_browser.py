"""The report in a real browser: no message on its console, no request, and a chart that answers."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.figures.base.numbers import Frame
from analysis.pipeline import MEASUREMENTS
from analysis.report.facts import gather
from analysis.report.page import render
from analysis.table import read_table
from ray_ssl.ledger import Ledger
from ray_ssl.storage import Storage
from tests.analysis.figure_tables import synthetic
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
MARKS = "return [...document.querySelectorAll('#lines .grid + text')].map((m) => [m.textContent, m.getAttribute('y')])"
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
    for turns, scale in ((0, float), (1, math.log10), (2, float)):
        marks = [(scale(float(text)), float(y)) for text, y in browser.execute_script(MARKS)]
        assert len(marks) >= 3
        (x0, y0), (x1, y1) = marks[0], marks[-1]
        assert [y for _, y in marks] == pytest.approx([y0 + (y1 - y0) * (x - x0) / (x1 - x0) for x, _ in marks]), turns
        browser.execute_script("document.querySelector('[name=decades]').click()")
    browser.execute_script("document.querySelector('[name=decades]').click()")
    assert browser.execute_script(LINES) == second
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
    set_width(browser, 660)  # on a phone it is a list, which does not scroll
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


@pytest.mark.parametrize("section", ["claims", "results"])
def test_on_a_phone_every_number_stands_in_the_window_with_its_title(browser: Any, section: str) -> None:
    set_width(browser, 390)
    script = """
const box = document.querySelector(`#${arguments[0]} .scroll`);
const cells = [...box.querySelectorAll("tbody td")].filter((cell) => cell.textContent);
const title = (cell) => getComputedStyle(cell, "::before").content.slice(1, -1);
const titles = [...box.querySelectorAll("thead th")].map((cell) => cell.textContent);
return [box.scrollWidth - box.clientWidth, Math.max(...cells.map((cell) => cell.getBoundingClientRect().right)),
  cells.every((cell) => title(cell) === titles[cell.cellIndex]), cells.length];
"""
    hidden, right, titled, count = browser.execute_script(script, section)
    assert hidden == 0 and right <= 390 and titled and count > 0


@pytest.mark.parametrize("width", [1280, 390])
def test_a_picture_opens_larger_and_closes_where_it_was(browser: Any, width: int) -> None:
    set_width(browser, width)
    measure = "return document.querySelector('figure img').getBoundingClientRect().width"
    browser.execute_script("document.querySelector('figure').scrollIntoView()")
    small = browser.execute_script(measure)
    browser.execute_script("document.querySelector('figure img').click()")
    assert max(width - 20, 56 * 16) <= browser.execute_script(measure) > 2 * small, "the window, but for a scroll bar"
    browser.execute_script("dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))")
    assert browser.execute_script(measure) == small
    assert abs(browser.execute_script("return document.querySelector('figure').getBoundingClientRect().top")) < 300


# ---- fifteen networks of three methods -------------------------------------------------------------------------------

METHODS = ("vicreg", "simclr", "supervised")
SHOWN = "return [...document.querySelectorAll('#networks :checked')].map((box) => box.value)"
LOOKS = """
return [...document.querySelectorAll("#networks :checked")].map(({ parentElement: label }) => {
  const swatch = label.querySelector("svg");
  const line = swatch.querySelector("line").getAttribute("stroke-dasharray");
  return [getComputedStyle(swatch).color, line, swatch.querySelector("path").getAttribute("d")];
})
"""
READ = "const one = document.getElementById(arguments[0]); return one.checkVisibility() && one.innerText"
POINTS = "return document.querySelectorAll('#lines path.marker').length"


def many() -> Frame:
    """Fifteen networks: a training curve without epoch 0, a metric of one layer, and a target of one frequent label."""
    rows = synthetic((2,), (8, 12, 16, 24, 32), (0,), levels=("class",), methods=METHODS)
    last = rows[(rows.layer_name == "representation") & (rows.metric == "linear_accuracy") & (rows.split == "test")]
    curve = last[last.epoch > 0].assign(metric="loss", level="none", split="train", layer=-1, layer_name="training")
    teacher = rows[rows.metric.isin(["linear_accuracy", "num_classes"])].assign(level="teacher-1.00")
    share = last.assign(metric="target_largest_share", level="teacher-1.00", value=0.538)
    information = last.assign(metric="mi_dv", level="none")
    return pd.concat([rows, curve, teacher, share, information], ignore_index=True)


@pytest.fixture(scope="module")
def large(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same browser at the report of `many`."""
    folder, before = tmp_path_factory.mktemp("many"), browser.current_url
    (folder / "report.html").write_text(render(gather(Ledger(Storage.at(folder))), many(), {}))
    browser.get((folder / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []
    browser.get(before)


def test_it_says_that_not_all_are_shown_and_shows_the_best_of_every_method(large: Any) -> None:
    set_width(large, 1280)
    assert large.execute_script(READ, "count") == (
        "8 of 15 networks shown, the best of each method first: choose more below"
    )
    table = many()
    at = table[(table.epoch == 20) & (table.layer_name == "representation") & (table.split == "test")
               & (table.metric == "linear_accuracy") & (table.level == "class")]  # fmt: skip
    best_two = at.sort_values("value", ascending=False).groupby("method").head(2)
    names = {f"{row.method}, depth 2, width {row.width}" for row in best_two.itertuples()}
    assert len(names) == 6 and names < set(large.execute_script(SHOWN))
    large.execute_script("document.getElementById('all').click()")
    assert large.execute_script(READ, "count") is False
    looks = large.execute_script(LOOKS)
    assert len(looks) == 15 == len({tuple(look) for look in looks})
    assert len({(dash, marker) for _, dash, marker in looks}) == 15, "without the colour, too"
    assert len({colour for colour, _, _ in looks[:8]}) == 8


def test_selectors_go_back_to_what_was_chosen(large: Any) -> None:
    chosen = """
const field = document.getElementById("controls").elements;
return ["metric", "level", "split", "from", "to"].map((name) => field[name].selectedOptions[0].text);
"""
    first = ["linear accuracy", "class", "test", "0", "20"]
    assert large.execute_script(chosen) == first
    choose(large, "metric", "loss")
    assert large.execute_script(chosen) == ["loss", "none", "train", "3", "20"]
    choose(large, "metric", "linear accuracy")
    assert large.execute_script(chosen) == first
    choose(large, "level", "teacher-1.00")
    choose(large, "from", "3")
    choose(large, "metric", "cdnv")
    assert large.execute_script(chosen) == ["cdnv", "class", "test", "3", "20"]
    choose(large, "metric", "linear accuracy")
    assert large.execute_script(chosen) == ["linear accuracy", "teacher-1.00", "test", "3", "20"]
    choose(large, "level", "class")
    choose(large, "from", "0")


def test_a_target_is_compared_with_always_guessing_its_most_frequent_label(large: Any) -> None:
    guess = "return document.querySelector('#lines .guess')?.textContent"
    assert large.execute_script(guess) == "chance"
    choose(large, "level", "teacher-1.00")
    assert large.execute_script(guess) == "most frequent label, 54 %"
    choose(large, "level", "class")


def test_by_layer_what_has_none_says_so_and_one_layer_is_points(large: Any) -> None:
    choose(large, "axis", "layer")
    choose(large, "metric", "loss")
    assert large.execute_script(LINES) == [] and large.execute_script(POINTS) == 0
    assert large.execute_script(READ, "remark").startswith("loss has no layers: ")
    choose(large, "metric", "mi dv")
    assert large.execute_script(LINES) == [] and large.execute_script(POINTS) == 15
    assert large.execute_script(READ, "remark").startswith("mi dv is shown in one layer of a network (representation)")
    choose(large, "metric", "linear accuracy")
    assert len(large.execute_script(LINES)) == 15 and large.execute_script(READ, "remark") is False
    choose(large, "axis", "epoch")
