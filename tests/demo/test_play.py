"""The whole demo, once: a process of its own, as a user runs it, but for the pages of its windows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ACTS = [
    "natural years", "metric units", "back again", "new pattern", "logger fault", "bad promotion", "calm",
    "new hygrometer",
]  # fmt: skip


def left_running(home: Path) -> list[list[str]]:
    """Command lines of processes whose environment names the demo's home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SELFHEAL_HOME", "").startswith(str(home)):
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found


@pytest.mark.xdist_group("prefect")
@pytest.mark.timeout(600)
def test_every_act_goes_as_it_must(home: Path, tmp_path: Path, root: Path, prefect: Path) -> None:
    file, database = tmp_path / "report.json", tmp_path / "prefect.db"
    shutil.copyfile(prefect, database)
    environ = os.environ | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}"}
    command = [sys.executable, "-m", "tests.pages", "demo", "--json", str(file)]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    acts = {act["name"]: act for act in report["acts"]}
    assert list(acts) == ACTS
    assert report["requests"]["failed"] == report["requests"]["mixed_versions"] == 0
    assert report["requests"]["sent"] > 100
    assert acts["metric units"]["diagnosis"] == "sensor"
    assert acts["metric units"]["changed_part"] == "input map"
    assert acts["new pattern"]["changed_part"] == "ReflexiveLayer"
    assert acts["new hygrometer"]["decision"] == "audit" and acts["new hygrometer"]["production_version"] == 3
    for name in ("metric units", "back again", "new pattern", "bad promotion", "new hygrometer"):
        shares = acts[name]["accuracy"]
        assert shares["after"] > shares["broken"] + 0.05, name
        assert shares["after"] > shares["constant"], name
    assert "selfheal ui" in done.stdout
    assert (home / "demo" / "mlflow.db").is_file(), "what it did can be looked at"
    assert left_running(home) == []
