"""People steer in MLflow's pages: a browser moves an alias on the default one and a stage on the classic one."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from selfheal.serving import ServingConfig
from selfheal.serving.reconciler import EVERY_S, Rounds
from selfheal.steering.workspace import Workspace
from selfheal.up import services
from tests.serving.conftest import running
from tests.steering.conftest import home, template, ws
from tests.steering.given import NAME

__all__ = ["home", "template", "ws"]

SERVED_S = 2.0
"""From the settled change to an answer by it."""


def until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return found


@contextmanager
def mlflow(ws: Workspace) -> Iterator[str]:
    """MLflow's pages over the store of a home, as ``selfheal up`` starts them."""
    host = "127.0.0.1"
    service = services.mlflow_server(ws.settings, host, services.free_port(host, services.MLFLOW_PORT + 300))
    with subprocess.Popen(service.argv, env={**os.environ, **service.environ}) as process:
        try:
            until(service.ready, 240, "MLflow's server")
            yield service.ready_line
        finally:
            process.terminate()


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1400"):
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={profile}")
    with webdriver.Chrome(options=options) as opened:
        yield opened


@contextmanager
def settling(ws: Workspace) -> Iterator[None]:
    """The helper's rounds, as beside a service."""
    rounds, stop = Rounds(ws, NAME), threading.Event()

    def go_on() -> None:
        while not stop.wait(EVERY_S):
            rounds.go()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Page:
    """The page of a version, and what one clicks there."""

    def __init__(self, opened: Any, url: str) -> None:
        self.opened, self.url = opened, url

    def visit(self, version: int) -> None:
        self.opened.get("about:blank")
        self.opened.get(f"{self.url}/#/models/{NAME}/versions/{version}?workflowType=machine_learning")
        self.wait("//*[contains(text(), 'Registered At')]")

    def wait(self, path: str) -> Any:
        from selenium.webdriver.support import expected_conditions
        from selenium.webdriver.support.ui import WebDriverWait

        seen = expected_conditions.element_to_be_clickable(("xpath", path))
        return WebDriverWait(self.opened, 60).until(seen)

    def click(self, path: str) -> None:
        self.wait(path).click()

    def give_alias(self, alias: str) -> None:
        self.click("//button[contains(@data-component-id, 'aliaseditor')]")
        self.wait("//*[@role='dialog']//input[@role='combobox']").send_keys(f"{alias}\n")
        self.click("//*[@role='dialog']//button[starts-with(., 'Save')]")

    def to_production(self) -> None:
        self.click("//button[contains(@data-component-id, 'modelsnextuitoggleswitch')]")
        self.click("//*[@role='dialog']//button[normalize-space()='Disable']")
        self.click("//*[contains(@class, 'stage-transition-dropdown')] | //*[@data-testid='descriptions-item-content']"
                   "//*[normalize-space()='Staging']")  # fmt: skip
        self.click("//*[@role='menuitem' and contains(., 'Production')]")
        self.click("//*[@role='dialog']//button[normalize-space()='OK' or contains(., 'Confirm')]")


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_an_alias_and_a_stage_moved_in_a_browser_are_served(ws: Workspace, tmp_path: Path) -> None:
    config = ServingConfig(NAME, ws.settings.database_url, ws.settings.cache)
    with mlflow(ws) as url, browser(tmp_path / "profile") as opened, settling(ws), running(config) as service:
        until(lambda: ws.registry.aliases(NAME).get("challenger"), 60, "the first look")
        page = Page(opened, url)

        def served(version: int) -> float:
            """Seconds from the settled change to a service that says so."""
            until(lambda: service.get("/version")["model_version"] == version, 60, f"version {version}")
            answered, pointer = datetime.now(UTC), ws.table.pointer(NAME)
            assert pointer is not None and pointer.version == version
            return (answered - pointer.settled_at).total_seconds()

        page.visit(3)
        page.give_alias("champion")
        assert served(3) <= SERVED_S
        page.visit(2)
        page.to_production()
        assert served(2) <= SERVED_S
    settled = [e.intent["change"] for e in ws.table.journal(NAME) if e.kind == "manual"]
    assert [(change["to"], change["actor"]) for change in settled] == [(3, "person (MLflow)"), (2, "person (MLflow)")]
    assert "alias 'champion' was moved to version 3" in settled[0]["reason"]
