"""The report of a model that lived: nothing is fetched, nothing from traffic is markup, every chart is drawn."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from selfheal.loop import pending
from selfheal.loop.plots import PLOT
from selfheal.loop.questions import FACT
from selfheal.report import tell, written
from selfheal.steering import freeze, promote
from tests.cli.test_commands import invoke
from tests.loop.conftest import home, template, ws
from tests.steering.given import NAME, START, rows, send

__all__ = ["home", "template", "ws"]

EVIL = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"
SIGNALS = ("data", "rules")


def cycle(index: int, version: int, height: float, **more: Any) -> dict[str, Any]:
    """The record of a window whose signals lie at `height` times their bounds."""
    signals = [{"name": s, "value": 2 * height, "bound": 2.0, "alarm": height > 1} for s in SIGNALS]
    return {
        "at": (START + timedelta(days=30, hours=index)).isoformat(), "version": version, "decision": "stable",
        "health": "healthy" if height <= 1 else "unhealthy", "reasons": ["data: 0.4 of it"], "labelled": 0,
        "swap": 0,
        "signals": signals, "drift": {"drift/temperature": height / 10, "drift/wind": 0.01}, "accuracy": None,
        "estimate": {"accuracy": [0.9, 0.8, 0.95], "held": None, "labels_say": None, "labelled": 0, "judged": None},
        "realised": {"accuracy": 0.91, "labelled": 200}, "data_fault": [], "heal": None, "watch": None, **more,
    }  # fmt: skip


def lived(ws, folder: Path) -> None:
    """Five windows: calm, a heal that was promoted and judged, a fault in the data, a question, a freeze."""
    for k in range(5):
        send(ws, rows(200, k), 200 * k)
    run = ws.registry.runs.start_heal_run(NAME, {"window": 1})
    (folder / PLOT).parent.mkdir(parents=True)
    (folder / PLOT).write_text("<svg xmlns='http://www.w3.org/2000/svg' width='90' height='40'><rect/></svg>")
    ws.registry.runs.log_files(run, folder)
    heal = {
        "decision": "promote", "diagnosis": "sensor", "version": 2, "promoted": True, "run_id": run, "window": 1,
        "words": ["temperature: °C → °F"], "reasons": [EVIL], "note": "", "failure": "",
        "candidates": [{"name": EVIL, "explained": True, "measure": "distance", "value": 0.25, "bound": None}],
    }  # fmt: skip
    judged = {
        "decision": "promote", "diagnosis": "sensor", "windows": [2], "labelled": 200, "without": 0.6, "with": 0.9,
        "level": 0.93, "right": True, "helped": True, "cost": 0,
    }  # fmt: skip
    broken = heal | {"decision": "failed", "failure": "ChildFailedError: {1}", "words": [], "reasons": []}
    records = [
        cycle(0, 1, 0.4, heal=broken | {"promoted": False, "version": None, "candidates": [], "run_id": ""}),
        cycle(1, 1, 30.0, decision="heal", heal=heal, judged=judged, reasons=[EVIL]),
        cycle(2, 2, 0.5),
        cycle(3, 2, 0.5, decision="data_fault", health="unhealthy", data_fault=[f"column {EVIL} is empty"]),
        cycle(4, 2, 0.6),
    ]
    for ref in pending(ws, NAME, START.replace(year=2027)):
        ws.table.record_cycle(NAME, ref.index, records[ref.index])
    promote(ws, NAME, 2, "flow", over=1, reason=f"sensor {EVIL}")
    asked = {
        "step": "asked", "window": 4, "start": "", "end": "", "version": None, "against": 2, "actor": "flow",
        "answers": {},
        "reasons": ["Did `dew` change from °F to °C?"], "options": ["yes", "no", "unknown"], "run_id": "",
        "evidence": {"dew": {"before": [30.0, 50.0, 70.0], "now": [-1.0, 10.0, 21.0], "after": [30.0, 50.0, 70.0]}},
        "manifest": ws.table.pointer(NAME).base_manifest,
    }  # fmt: skip
    ws.table.journal_note(NAME, FACT, asked, "asked", ws.clock())
    freeze(ws, NAME, "ann", f"an incident {EVIL}")


def test_the_page_says_what_happened_and_trusts_nothing(ws, tmp_path):
    lived(ws, tmp_path / "plots")
    text = written(tell(ws, NAME))
    body = text.split("<body>")[1]
    told = re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)
    for words in (
        "windows healthy</span><b>3 of 5", "accuracy by labels</span><b>0.910", "Frozen by ann", "A question waits",
        "Did `dew` change from °F to °C?", "selfheal audit toy [--yes | --no | --unknown] --as NAME",
        "undone, by version 2, which was promoted", "diagnoses: 1 right, 0 wrong, 0 open, of 1 judged by labels",
        "200 labels since: the diagnosis was right; accuracy 0.600 as it was, 0.900 with the version that was made",
        "data:image/svg+xml;base64,", "Faults in the data", "promoted", "<b>the heal failed: ChildFailedError: {1}</b>",
    ):  # fmt: skip
        assert words in told, words
    assert "<img src=x" not in text and "<script>document" not in text
    outside = set(re.findall(r"<[a-z][^>]* (?:src|href|action)=[\"']?([^\"' >]+)", told))
    assert all(address.startswith("data:") for address in outside), outside
    done = invoke(ws.settings.home.parent, "report", NAME, "--out", str(tmp_path / "toy.html"))
    assert done.exit_code == 0 and f"{tmp_path / 'toy.html'}: 4." in done.output.replace("\n", ""), done.output
    assert invoke(ws.settings.home.parent, "report", "tyo").exit_code == 2


def test_of_a_model_that_nothing_happened_to(ws):
    text = written(tell(ws, NAME))
    assert "No window was handled yet" in text and 'id="course"' not in text


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a screen."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        pytest.skip("no chromium with its chromedriver on the path: apt install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found
    for each in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
    ):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver, log_output=subprocess.DEVNULL)
    made = webdriver.Chrome(options=options, service=service)
    yield made
    made.quit()


@pytest.mark.browser
def test_a_browser_draws_it_without_fetching_anything(ws, tmp_path, browser):
    lived(ws, tmp_path / "plots")
    (tmp_path / "toy.html").write_text(written(tell(ws, NAME)), "utf-8")
    browser.get((tmp_path / "toy.html").as_uri())
    assert browser.title == f"{NAME}: selfheal"
    drawn = "[...document.querySelectorAll('.plotly-graph-div')].map(d => [d.id, d.querySelectorAll('path').length])"
    charts = dict(browser.execute_script(f"return {drawn}"))
    assert set(charts) == {"course", "gains", "columns"} and min(charts["course"], charts["gains"]) > 10, charts
    assert browser.execute_script("return document.querySelector('img').naturalWidth") == 90
    assert browser.execute_script("return performance.getEntriesByType('resource').length") <= 1, "the drawing alone"
    wide = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1], "nothing has to be scrolled sideways"
    assert browser.get_log("browser") == []
