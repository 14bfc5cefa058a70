"""What it costs to ask for help or to import the library: both are on every user's first minute."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any


def cpu_seconds(*argv: str, runs: int = 5) -> float:
    """User and system seconds of the command and its children: the least of a few runs."""
    spent = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def run() -> list[dict[str, Any]]:
    """``selfheal --help`` and ``import selfheal``, beside a bare interpreter."""
    python = sys.executable
    bare = cpu_seconds(python, "-c", "pass")
    return [
        {
            "name": "selfheal --help",
            "value": cpu_seconds(python, "-m", "selfheal.cli", "--help"),
            "unit": "CPU s",
            "goal": ("max", 0.5),
        },
        {
            "name": "import selfheal",
            "value": cpu_seconds(python, "-c", "import selfheal"),
            "unit": "CPU s",
            "peer": "python -c pass",
            "peer_value": bare,
        },
    ]
