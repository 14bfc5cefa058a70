"""Strict types, as `make types` checks them: here so that they share the cores with the other checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.xdist_group("types")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process keeps all groups together")
def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@types"), "xdist scatters what shares a server or a fork server"


@pytest.mark.xdist_group("types")
def test_strict_types(root: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
