"""Strict types, as `make types` checks them: here so that they share the cores with the other checks."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.xdist_group("types")
def test_strict_types(root: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
