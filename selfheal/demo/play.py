"""Plays the demo from an empty home to the table at its end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from selfheal.demo.display import Display
from selfheal.demo.home import clear, demo_settings, free_home, log_to_file, settle_environment
from selfheal.demo.results import Report
from selfheal.settings import Settings

if TYPE_CHECKING:
    from selfheal.demo.stage import Stage


def play(json_file: Path | None = None, keep: bool = False) -> int:
    """See :func:`selfheal.demo.run`."""
    began = time.monotonic()
    display = Display()
    display.title()
    settings = demo_settings(free_home(Settings.from_env().home, keep=keep))
    clear(settings)
    settle_environment(settings)
    log_to_file(settings)
    with _ended_by_signals(), _staged(settings, display) as stage:
        report = _acts(stage, display, began)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    display.summary(report, settings.home)
    return 1 if report.missing else 0


def _acts(stage: Stage, display: Display, began: float) -> Report:
    from selfheal.demo.acts import ACTS, perform

    results = []
    for number, act in enumerate(ACTS, start=1):
        display.act(number, act.name, act.story)
        results.append(perform(stage, display, act))
        display.done(results[-1])
    with display.step("comparing every answer with what its version says"):
        requests = stage.requests()
    return Report(tuple(results), requests, time.monotonic() - began)


@contextmanager
def _staged(settings: Settings, display: Display) -> Iterator[Stage]:
    """Train and adopt both models, and serve them.

    On two cores the order is what makes it quick: what heals are forked from shares the imports of this process, and
    so comes before any thread; Prefect's server and the service are started when a core is free for them and before
    they are needed, and further imports are done meanwhile.
    """
    display.say("importing what heals need, once for all processes")  # a spinner would be a thread
    from selfheal.loop.child import warm

    warm(here=True)
    with display.step("starting Prefect's server; training two small models and adopting them into MLflow"):
        server = _prefect_server()
        from selfheal.demo import models, streams
        from selfheal.demo.stage import Stage
        from selfheal.registry import adopt
        from selfheal.steering import open_workspace

        stage = Stage(settings, open_workspace(settings))
    try:
        with display.step("training and adopting 'rain'"):
            rain = models.rain_model(settings.rules / "rain.yaml")
            adopt("rain", rain, settings)
            stage.enter("rain", rain, streams.rain())
        with display.step("training and adopting 'fraud', starting the scoring service of both"):
            fraud = models.fraud_model(settings.rules / "fraud.yaml")
            adopt("fraud", fraud, settings)
            stage.enter("fraud", fraud, streams.fraud())
            stage.serve()
        with display.step("importing Evidently, waiting for the servers"):
            for name in ("flows.monitor", "selfheal.drift.report.metrics"):
                import_module(name)
            server.join()
            stage.ready()
        yield stage
    finally:
        stage.close()


def _prefect_server() -> threading.Thread:
    """Prefect's ephemeral server, starting in its own process; the thread ends when it answers."""
    from flows.runs import reach_server

    def reach() -> None:
        # where it fails, the first flow run tries again and says why
        with suppress(Exception):
            reach_server()

    thread = threading.Thread(target=reach, name="prefect", daemon=True)
    thread.start()
    return thread


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A SIGTERM ends the demo as Ctrl-C does: the services are stopped too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
