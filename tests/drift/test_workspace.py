"""Evidently's own pages get every window: lines that go on, one run a window, and no wait for a server that hangs."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from watchdog.utils import BaseThread

from selfheal.drift.report import report
from selfheal.drift.report.runs import WindowRun
from selfheal.drift.signals import Signal
from selfheal.errors import UnavailableError
from tests.drift.test_report import rows

pytestmark = pytest.mark.xdist_group("loop")  # Evidently is loaded once

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def workspace():
    """The module, with nothing known of any workspace."""
    report(rows(9, 1), rows(9, 2))  # Evidently warns while it is imported; the door sees to that
    from selfheal.drift.report import workspace as found

    yield found
    found._opened.clear()
    found._failed.clear()


def published(place: str, window: int, decision: str = "stable") -> None:
    said = [Signal("data", False, "marginal", 0.5 + window, 1.0 + window / 10, f"window {window}")]
    made = report(rows(300, 1), rows(200 - window, 2 + window), said)
    at = START + timedelta(hours=window)
    run = WindowRun("toy", window, f"window {window}: {decision}", at, (decision,), {"window": str(window)})
    made.pages.publish(place, run)


def asked(url: str):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


def evidently(folder: Path) -> uvicorn.Server:
    """Evidently's own server over a folder."""
    with warnings.catch_warnings():  # its parts' names of older releases
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently.ui.service.app import create_app, get_config

        app = create_app(get_config(workspace=str(folder)))
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    server.config.port = bound.getsockname()[1]
    return server


def test_windows_are_runs_of_one_project_whose_lines_go_on(tmp_path: Path, workspace) -> None:
    folder = tmp_path / "evidently"
    for window in (0, 1, 1):  # the second came again after a crash
        published(str(folder), window)
    server = evidently(folder)
    url = f"http://127.0.0.1:{server.config.port}"
    try:
        published(url, 2, "alarm")
        published(url, 3)
        (project,) = asked(f"{url}/api/projects/")
        assert project["name"] == "toy"
        runs = asked(f"{url}/api/projects/{project['id']}/reports")
        assert sorted(run["name"] for run in runs) == [
            "window 0: stable", "window 1: stable", "window 2: alarm", "window 3: stable",
        ]  # fmt: skip
        (series,) = _series(url, project["id"], {"metric": "evidently:metric_v2:SelfhealSignal"})
        assert series["values"] == [0.5, 1.5, 2.5, 3.5] and series["params"] == {"signal": "data"}
        drift = _series(url, project["id"], {"metric": "evidently:metric_v2:ValueDrift"})
        assert {len(one["values"]) for one in drift} == {4} and len(drift) == 5
        panels = asked(f"{url}/api/v2/dashboards/{project['id']}")["panels"]
        assert panels[0]["title"] == "Signals" and len(panels) == 3
    finally:
        server.should_exit = True
        for thread in threading.enumerate():  # Evidently's, which watch the folder for as long as it is there
            if isinstance(thread, BaseThread):
                thread.stop()
                thread.join(20)


def _series(url: str, project: str, wanted: dict) -> list[dict]:
    body = json.dumps({"series_filter": [{"tags": [], "metadata": {}, "metric_labels": {}, **wanted}]}).encode()
    request = urllib.request.Request(f"{url}/api/v2/snapshots/{project}/data_series_batch", body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())["series"]


def test_a_server_that_never_answers_costs_one_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace) -> None:
    monkeypatch.setattr(workspace, "TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"http://ada:secret@127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=r"no run in the Evidently workspace 127.0.0.1:\d+: ReadTimeout"):
            published(place, 0)
        silent.close()
        with pytest.raises(UnavailableError, match="not tried again for 60 s"):
            published(place, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="no run in"):
        published(str(tmp_path / "file"), 0)
