"""How long a stage that a person moves in MLflow takes until the service answers by it, seen from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.steering.conftest import adopted, copied
from tests.steering.given import NAME, workspace_at

WAITS = 120.0


@contextmanager
def service(home: Path) -> Iterator[str]:
    """``selfheal serve`` as a user starts it, with its helper; where it is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "selfheal.cli", "serve", NAME, "--port", str(port)]
    environ = os.environ | {"SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules")}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        process.terminate()
        process.wait(60)


def until(url: str, version: int) -> None:
    """Ask until an answer is by this version.

    Raises
    ------
    TimeoutError
    """
    body = json.dumps({"inputs": {"temperature": [80.0], "dew": [75.0], "wind": [3.0]}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    end = time.monotonic() + WAITS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if json.load(answer)["model_version"] == version:
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"no answer by version {version} within {WAITS:g} s")


def run() -> list[dict[str, Any]]:
    """The first move, made when the first request is answered and the helper has just been started; and the next."""
    took = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        home = copied(adopted(Path(scratch) / "adopted"), Path(scratch) / "home")
        registry = workspace_at(home).registry
        with service(home) as url:
            until(url, 1)
            for version in (2, 3):
                began = time.monotonic()
                registry.transition(NAME, version, "Production", archive_others=True)
                until(url, version)
                took.append(time.monotonic() - began)
    names = ("the first stage change after a start", "the next stage change")
    goals = (("max", 10.0), ("max", 3.0))
    return [{"name": n, "value": t, "unit": "s", "goal": g} for n, t, g in zip(names, took, goals, strict=True)]
