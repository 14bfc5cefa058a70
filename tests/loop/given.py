"""What tests of the loop share beside what those of steering have."""

from __future__ import annotations

from datetime import timedelta

from tests.steering.given import START

WINDOW = 200
"""Rows."""

FAR = START + timedelta(days=30)

MOST = {
    "healthy": (3, 25),
    "alarm": (4, 25),
    "heal": (19, 45),
    "new version": (27, 45),
    "watch begins": (8, 30),
    "watch ends": (3, 34),
}
"""What happens in a window → calls of MLflow's client and statements of the state database that it may cost."""
