"""The demo's own home: nothing that the environment names is touched, and nothing heavy is imported here."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from selfheal.settings import Settings

MODELS = ("rain", "fraud")

#: One thread per process: the demo runs several on two cores, and thread pools that wait for each other made the
#: training of its two small models six times as dear (22 against 3.6 CPU seconds).
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_ENVIRONMENT = {
    **dict.fromkeys(_THREADS, "1"),
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # what a flow run says is kept for Prefect's pages, and not told between the lines of the demo
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "MPLBACKEND": "Agg",
    "SELFHEAL_AUTH": "off",  # keys are for what somebody else asks
}


def policies() -> Path:
    """The folder of the policies that the demo starts from: beside the package in a checkout, inside it in a wheel."""
    inside = Path(__file__).parent / "rules"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "rules"


def free_home(place: Path, *, keep: bool) -> Path:
    """``demo`` below ``place``; with ``keep`` the first of ``demo``, ``demo-2``, ``demo-3``, ... that is not there."""
    home, number = place / "demo", 2
    while keep and home.exists():
        home, number = place / f"demo-{number}", number + 1
    return home


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
    """Make this process and its children use the demo's places; call it before anything heavy is imported."""
    os.environ.update(_ENVIRONMENT | settings.environ())
    os.environ.pop("PREFECT_API_URL", None)


def log_to_file(settings: Settings) -> None:
    """Send selfheal's own log lines of this process to ``logs/demo.log``; the acts show those that matter."""
    file = settings.home / "logs" / "demo.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("selfheal")
    logger.addHandler(handler)
    logger.propagate = False
