"""`selfheal up`: scoring, MLflow, Prefect and the schedules of every adopted model, until it is stopped.

A remote MLflow (MLFLOW_TRACKING_URI over http) or Prefect (PREFECT_API_URL) is used, not started.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from selfheal.errors import BusyError, InputError, UnavailableError
from selfheal.settings import Settings
from selfheal.up import services
from selfheal.up.supervisor import POLL_SECONDS, Service, Supervisor

if TYPE_CHECKING:
    from selfheal.table import InferenceTable

SERVERS_SECONDS = 240.0
"""Patience with the two servers' start: 25 to 35 s each on a loaded two-core box; beyond this it is said, not fatal."""

MODELS_EVERY = 10
"""Looks at the list of adopted models: every this many ticks, i.e. 2 s."""


def up(settings: Settings, host: str, port: int, say: Callable[[str], None]) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP; then end all of it.

    Parameters
    ----------
    host, port
        Interface of everything; port of the first scoring service, the others follow.

    Raises
    ------
    BusyError
        If another one runs on the same home.
    RefusedError
        Other machines may reach ``host``, and no keys are set.
    """
    from selfheal.serving.keys import keys_for

    keys_for(host, os.environ)  # what every scoring service would refuse is refused at once
    with home_lock(settings.home), stopping() as stopped:
        from selfheal.table import InferenceTable

        run = Run(settings, InferenceTable(settings.database_url), host, port, say, stopped)
        try:
            run.until_stopped()
        finally:
            say("stopping")
            run.end()
            say("stopped   nothing is left running")


class Run:
    """One run of `selfheal up`: which services there are, and where."""

    def __init__(
        self,
        settings: Settings,
        table: InferenceTable,
        host: str,
        port: int,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> None:
        self.settings, self.table, self.host, self.port, self.say = settings, table, host, port, say
        self.stopped = stopped
        self.supervisor = Supervisor(settings.home / "logs", say)
        self.models: list[str] = []
        self.urls: dict[str, str] = {}
        self.ports: list[int] = []
        self.lost: Service | None = None

    def until_stopped(self) -> None:
        """Servers first, then everything that needs them, then watch over all of it."""
        self.say(f"home      {self.settings.home}")
        waiting = self._servers()
        if not self.supervisor.wait_ready(waiting, SERVERS_SECONDS, self.stopped) and not self.stopped():
            self.say(f"waiting   {', '.join(waiting)}: not ready after {SERVERS_SECONDS:g} s; going on without")
        ticks = 0
        while not self.stopped():
            if ticks % MODELS_EVERY == 0:
                self._follow_models(first=ticks == 0)
                self._start_lost_mlflow()
            self.supervisor.tick()
            ticks += 1
            self.supervisor.sleep(POLL_SECONDS)

    def end(self) -> None:
        """The schedules first, so that they can pause their deployments, then the rest."""
        if "schedules" in self.supervisor.children:
            self.supervisor.stop("schedules")
        self.supervisor.stop()
        with suppress(FileNotFoundError):
            note(self.settings.home).unlink()

    def _port(self, wanted: int) -> int:
        self.ports.append(services.free_port(self.host, wanted, self.ports))
        return self.ports[-1]

    def _servers(self) -> list[str]:
        settings, started = self.settings, []
        if is_embedded(settings):
            server = services.mlflow_server(settings, self.host, self._port(services.MLFLOW_PORT))
            self.urls["mlflow"] = server.ready_line
            try:
                refuse_lost_store(settings, self.table)
                started.append(server)
            except UnavailableError as error:
                self.say(f"waiting   {server.name:<18} {error}")
                self.lost = server
        else:
            self.say(f"uses      {'MLflow':<18} {without_password(settings.tracking_uri)}")
        if settings.prefect_api_url is None:
            server = services.prefect_server(settings, self.host, self._port(services.PREFECT_PORT))
            started.append(server)
            self.urls["prefect"] = server.ready_line
        else:
            self.say(f"uses      {'Prefect':<18} {without_password(settings.prefect_api_url)}")
        if started:
            self.say(f"starting  {', '.join(server.name for server in started)}")
        for server in started:
            self.supervisor.start(server)
        return [server.name for server in started]

    def _start_lost_mlflow(self) -> None:
        """Once the store is back; scoring and the schedules went on without."""
        if self.lost is not None:
            with suppress(UnavailableError):
                refuse_lost_store(self.settings, self.table)
                self.supervisor.start(self.lost)
                self.lost = None

    def _follow_models(self, first: bool) -> None:
        """Start what an adoption asks for, also one that happens while this runs."""
        models = self.table.models()
        if first and not models:
            self.say("waiting   no model is adopted yet; selfheal adopt NAME FACTORY, and it is served from then on")
        if models == self.models:
            return
        for name in sorted(set(models) - set(self.models)):
            service = services.scoring(self.settings, name, self.host, self._port(self.port))
            self.urls[f"scoring {name}"] = service.ready_line
            self.supervisor.start(service)
        if "schedules" in self.supervisor.children:
            self.supervisor.stop("schedules")
        api = self.settings.prefect_api_url or f"{self.urls['prefect']}/api"
        self.supervisor.start(services.schedules(self.settings, api, models))
        self.models = models
        note(self.settings.home).write_text(json.dumps({"pid": os.getpid(), "urls": self.urls}, indent=2))


def refuse_lost_store(settings: Settings, table: InferenceTable) -> None:
    """Let no MLflow server make an empty store where models were adopted into one.

    Raises
    ------
    UnavailableError
        The embedded store is not there, or the database that would say whether there was one.
    """
    from selfheal.registry.door import Door

    Door(settings).refuse_lost(table.served())


def is_embedded(settings: Settings) -> bool:
    """Whether the MLflow store is a file that a server of ours may open."""
    return settings.tracking_uri.startswith("sqlite:")


def without_password(url: str) -> str:
    """``scheme://user:secret@host`` with the secret masked."""
    head, at, tail = url.rpartition("@")
    return f"{head[: head.rindex(':')]}:***@{tail}" if at and ":" in head.partition("//")[2] else url


def note(home: Path) -> Path:
    """Where a running `selfheal up` notes its URLs."""
    return home / "up.json"


def running(home: Path) -> dict[str, Any] | None:
    """The note of the `selfheal up` that runs on ``home``; None when none does."""
    try:
        with home_lock(home):
            return None
    except BusyError:
        with suppress(OSError, ValueError):
            return dict(json.loads(note(home).read_text()))
        return {}


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """Hold the home's lock. The operating system frees it when this process ends, however it ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "up.lock").open("a+")
    except OSError as error:
        raise InputError(
            f"SELFHEAL_HOME {str(home)!r} cannot be written: {error.strerror}; name another one"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "?"
            raise BusyError(
                f"another `selfheal up` (process {pid}) runs on {home}; stop it first, or set SELFHEAL_HOME"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop; the handlers that were there come back afterwards."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


__all__ = ["Run", "home_lock", "is_embedded", "note", "refuse_lost_store", "running", "services", "stopping", "up"]
