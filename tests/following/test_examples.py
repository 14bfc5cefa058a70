"""The examples of docs/examples run: in jobs, beside plain MLflow, and a whole loop around a service of one's own."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
import yaml

from selfheal.loop import monitor, status
from selfheal.steering import Workspace, promote
from selfheal.table import WindowRef
from tests.log.given import put
from tests.log.test_same import quick
from tests.serving.test_swap import until
from tests.steering.given import NAME, POLICY, START, in_celsius, rows

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

N = 200


@pytest.fixture
def example(root: Path, here: Path, monkeypatch: pytest.MonkeyPatch):
    """Loads one by its name, as for the model of the adopted home."""
    monkeypatch.setenv("MODEL", NAME)
    monkeypatch.setenv("EVENT_CLOCK", "yes")

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, root / "docs" / "examples" / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The app on loopback, by uvicorn."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            assert until(lambda: server.started)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)


def post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def end(index: int) -> datetime:
    """Of a window."""
    return START + timedelta(seconds=N * (index + 1))


def logged(ws: Workspace) -> int:
    """How many rows of windows are in the log."""
    always = WindowRef(NAME, 0, START - timedelta(days=1), START + timedelta(days=1), 0, 1, False)
    return int(ws.table.read(always).frame.index.str.startswith("r").sum())


def window(frame: pd.DataFrame, index: int) -> dict[str, Any]:
    """A request with a window's rows, each a second after the one before."""
    first = index * N
    times = pd.date_range(START, periods=first + len(frame), freq="1s")[first:]
    return {
        "rows": frame.drop(columns="y").to_dict("records"),
        "ids": [f"r{first + k}" for k in range(len(frame))],
        "times": [at.isoformat() for at in times],
    }


def test_a_service_of_ones_own_is_watched_healed_and_swaps(ws, example) -> None:
    """Its log is read, a drift found, healed and promoted; it serves that soon, and no request fails meanwhile."""
    put(ws, quick(yaml.safe_load(POLICY)))
    app = example("fastapi_service").app
    celsius = [in_celsius(rows(N, 206 + k), "temperature", "dew") for k in range(2)]
    stop, answers = threading.Event(), []
    with running(app) as url:
        follower = app.state.follower

        def ask() -> None:
            body = {"rows": window(rows(3, 1), 0)["rows"], "times": [START.isoformat()] * 3}
            while not stop.wait(0.02):
                answers.append(post(f"{url}/score", body))

        def sent(frame: pd.DataFrame, index: int) -> Any:
            code, answer = post(f"{url}/score", window(frame, index))
            assert code == 200, answer
            assert until(lambda: logged(ws) == (index + 1) * N)
            return answer

        for k in range(2):
            sent(rows(N, 100 + k), k)
        assert [c.decision.kind for c in monitor(ws, NAME, end(1))] == ["stable", "stable"]
        before = sent(celsius[0], 2)
        users = threading.Thread(target=ask)
        (cycle,) = monitor(ws, NAME, end(2))
        assert cycle.heal.promoted and set(cycle.heal.words) == {"temperature: °C → °F", "dew: °C → °F"}
        users.start()
        assert until(lambda: follower.version == cycle.heal.version)
        after = post(f"{url}/score", window(celsius[0], 2))[1]
        assert (before["version"], after["version"]) == (1, cycle.heal.version)
        truth = celsius[0].y.to_numpy()
        right = [np.mean(np.argmax(a["probabilities"], axis=1) == truth) for a in (before, after)]
        assert right[0] < 0.7 < 0.9 < right[1]

        promote(ws, NAME, 1, "a person")
        assert until(lambda: follower.version == 1)
        asked = len(answers)
        assert until(lambda: len(answers) > asked + 1)
        stop.set()
        users.join(10)
        assert {code for code, _ in answers} == {200}
        assert post(f"{url}/score", {"rows": [{"temperature": 60.0}]})[0] == 400
        assert post(f"{url}/score", {"rows": []})[0] == 400
        with urllib.request.urlopen(f"{url}/health", timeout=10) as response:
            assert json.loads(response.read()) == {"version": 1, "trouble": ""}
    assert status(ws, NAME)["production"]["version"] == 1


def test_a_polars_job_writes_what_the_loop_can_read(ws, example, tmp_path: Path, monkeypatch) -> None:
    job = example("polars_batch")
    monkeypatch.setattr(job, "PIECE", 150)
    frame = rows(400, 5).assign(ts=pd.date_range(START, periods=400, freq="1s"))
    frame.to_parquet(tmp_path / "rows.parquet")
    assert job.main(str(tmp_path / "rows.parquet"), str(tmp_path / "scored")) == 400
    log = {"from": str(tmp_path / "scored"), "columns": {"prediction_id": "prediction_id", "event_time": "ts"}}
    log["columns"] |= {"probabilities": ["p_0", "p_1"], "version": "model_version"}
    put(ws, quick(yaml.safe_load(POLICY)) | {"log": log, "monitor": {"window": "200s", "min_rows": 100}})
    found = pd.read_parquet(tmp_path / "scored")
    np.testing.assert_allclose(found.p_1, ws.registry.load(NAME).predict_proba(frame)[:, 1], atol=1e-6)
    assert set(found.model_version) == {1} and found.prediction_id.is_unique
    assert [c.ref.rows for c in monitor(ws, NAME, end(2))] == [200, 200]


def test_plain_mlflow_needs_nothing_of_ours(ws, example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows(50, 5).drop(columns="y")
    frame.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ws.settings.tracking_uri)
    found = example("mlflow_pyfunc").main(str(tmp_path / "rows.parquet"))
    np.testing.assert_allclose(found.to_numpy(), ws.registry.load(NAME).predict_proba(frame), atol=1e-6)
