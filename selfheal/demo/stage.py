"""The stage of the demo: a home of its own, two scoring services, the registry, and flows on an ephemeral server.

Nothing here is special to the demo but the order: a user's model is adopted, served and monitored by the same calls.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.demo import streams
from selfheal.demo.replay import Client, Ledger, Rows, served_version, traffic, wait_for
from selfheal.errors import UnavailableError
from selfheal.settings import Settings

if TYPE_CHECKING:
    from selfheal.lifecycle import Workspace
    from selfheal.model import MonitoredModel

MODELS = ("rain", "fraud")
_START_SECONDS = 90.0
#: DESIGN.md's promise: a settled change is served within 2 s; the reconciler settles a person's change within 5 s.
SWAP_SECONDS = 15.0
_QUIET_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
}


def policies() -> Path:
    """The folder of the policies that the demo starts from: beside the package in a checkout, inside it in a wheel."""
    inside = Path(__file__).parent / "rules"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "rules"


def demo_settings(home: Path) -> Settings:
    """Settings of a demo that keeps everything below ``home`` whatever the environment names."""
    return Settings.from_env({"SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules")})


def clear(settings: Settings) -> None:
    """Empty the demo's home and lay fresh policies into it."""
    shutil.rmtree(settings.home, ignore_errors=True)
    settings.rules.mkdir(parents=True)
    for name in MODELS:
        shutil.copy(policies() / f"{name}.yaml", settings.rules)


def settle_environment(settings: Settings) -> None:
    """Make this process and its children use the demo's places, before anything heavy is imported."""
    os.environ.update(_QUIET_ENVIRONMENT | settings.environ())
    os.environ.pop("PREFECT_API_URL", None)


@dataclass
class Cast:
    """One model on the stage: its frozen base, its stream, its service and the client that replays the stream."""

    model: MonitoredModel
    stream: streams.Stream
    address: tuple[str, int]
    client: Client
    process: subprocess.Popen[bytes]


@dataclass
class Stage:
    """What the acts play on.

    Attributes
    ----------
    settings, workspace : the demo's places and the open table and registry.
    ledger : of all requests to both services.
    cast : by model name.
    """

    settings: Settings
    workspace: Workspace
    ledger: Ledger = field(default_factory=Ledger)
    cast: dict[str, Cast] = field(default_factory=dict)

    def enter(self, name: str, model: MonitoredModel, stream: streams.Stream) -> None:
        """Start an adopted model's scoring service; :meth:`ready` waits for it."""
        address = ("127.0.0.1", _free_port())
        process = _serve(name, address[1], self.settings)
        self.cast[name] = Cast(model, stream, address, Client(address, self.ledger), process)

    def ready(self) -> None:
        """Wait until every service answers."""
        for name, member in self.cast.items():
            try:
                wait_for(member.address, _START_SECONDS)
            except TimeoutError as error:
                raise UnavailableError(f"{error}; its log is {_log(name, self.settings)}") from error

    def close(self) -> None:
        """Stop the services."""
        for member in self.cast.values():
            member.client.close()
            member.process.terminate()
        for member in self.cast.values():
            try:
                member.process.wait(10)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()

    def send(self, name: str, slice_: streams.Slice) -> None:
        """Replay rows as traffic."""
        self.cast[name].client.send(slice_.rows)

    def watched(self, name: str, until: datetime, again: Rows) -> list[dict[str, Any]]:
        """Run the monitor flow while clients go on asking (for ``again``); the records of the windows it closed."""
        from flows.monitor import monitor

        with self.asking(name, again):
            monitor(name, until)
        raise NotImplementedError

    @contextmanager
    def asking(self, name: str, rows: Rows) -> Iterator[None]:
        """Keep traffic up while the block runs."""
        with traffic(self.cast[name].address, self.ledger, rows):
            yield

    def served(self, name: str) -> int | None:
        """The version that the service answers with now."""
        return served_version(self.cast[name].address)


def _serve(name: str, port: int, settings: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "selfheal.cli", "serve", name, "--port", str(port), "--event-clock"]
    log = _log(name, settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _log(name: str, settings: Settings) -> Path:
    return settings.home / "logs" / f"serve-{name}.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_background(work: Callable[[], None]) -> threading.Thread:
    """Start ``work`` in a daemon thread (imports, mostly, while other processes start)."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
