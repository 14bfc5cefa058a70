"""Thin Prefect recipes over :mod:`selfheal.loop` and :mod:`selfheal.steering`: the one door to Prefect.

Prefect reads its environment when it is imported, so what selfheal wants of it is said here, before any module of this
package imports it. What the caller has set stays.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from selfheal.settings import Settings

DEFAULTS = {
    "PREFECT_HOME": str(Settings.from_env().prefect_home),
    # Prefect's own 20 s is too short for a loaded machine
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}

for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)

with suppress(OSError):  # who needs it will say so; Prefect itself makes the last folder only
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
