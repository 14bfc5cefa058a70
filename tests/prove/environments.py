"""Environments of their own, for what the checkout's does not have: built by uv from where pip would take packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.prove.ledger import ROOT

_PLACES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
}
"""What pip calls a place of packages, and uv."""


def environment(folder: Path, *packages: str, extras: str = "") -> Path:
    """Its interpreter: an environment with these packages and the checkout as it is, with the torch of this one.

    Parameters
    ----------
    extras
        Of the checkout's, as ``[worker]``.
    """
    uv, python = [sys.executable, "-m", "uv"], folder / "bin" / "python"
    environ = {**os.environ, **_places()}
    subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
    pinned = f"torch=={torch.__version__.partition('+')[0]}"
    install = [*uv, "pip", "install", "-q", "--python", str(python), pinned, *packages]
    subprocess.run([*install, f"{ROOT}{extras}"], check=True, env=environ, cwd=folder)
    return python


def _places() -> dict[str, str]:
    """Where pip is told to look, in uv's variables; what is set for uv already stays."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    told = {key.rpartition(".")[2]: value.strip("'\"") for key, _, value in (line.partition("=") for line in listed)}
    found = {ours: told[theirs] for theirs, ours in _PLACES.items() if theirs in told and ours not in os.environ}
    return found | {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # of all places the newest, as pip does


def outside(**more: str) -> dict[str, str]:
    """The variables of a process that sees none of the checkout but what is installed."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    return kept | more
