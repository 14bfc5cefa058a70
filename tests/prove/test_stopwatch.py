"""The README by a stopwatch: from an empty environment to a first heal on a table that a wheel brings along."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.prove.environments import environment, outside
from tests.prove.ledger import ROOT

GOAL_S, GOAL_LINES = 600.0, 20
OWN = """\
import joblib, torch
from sklearn.preprocessing import StandardScaler
from statsmodels.datasets import fair

rows = fair.load_pandas().data.sample(frac=1, random_state=0)
rows["affair"] = (rows.pop("affairs") > 0).astype(int)
train, held_out, tomorrow = rows[:2500], rows[2500:4500], rows[4500:]
held_out.to_parquet("held_out.parquet")
tomorrow.to_parquet("tomorrow.parquet")
scaler = StandardScaler().fit(train.drop(columns="affair"))
x = torch.tensor(scaler.transform(train.drop(columns="affair")), dtype=torch.float32)
y = torch.tensor(train.affair.to_numpy())
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
optimizer = torch.optim.AdamW(net.parameters(), 0.01)
for _ in range(150):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
torch.save(net.state_dict(), "net.pt")
joblib.dump(scaler, "scaler.joblib")
"""
"""What the reader has before they begin: a network, its scaler, and labelled rows. It is not counted."""
IMPORTS = """\
import joblib
import torch
"""
NETWORK = """\
    network = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    network.load_state_dict(torch.load("net.pt"))
    preprocess = joblib.load("scaler.joblib")
"""
DECLARED = "declare: {units: {yrs_married: {years: 1, months: 12}}}\n"
REPLAY = """\
import pandas as pd
import selfheal
rows = pd.read_parquet("tomorrow.parquet").reset_index(drop=True)
rows.loc[622:, "yrs_married"] *= 12
times = pd.date_range("2026-03-01", periods=len(rows), freq=pd.Timedelta("1h") / 622, tz="UTC")
with selfheal.follow("affairs") as follower:
    follower.predict_proba(rows, event_times=times)
"""
"""What the reader writes: three windows, of which two have the years in months."""


def lines(*texts: str) -> int:
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


def fill(factory: Path) -> None:
    """Name the network and its preprocessing where the factory says so."""
    text = factory.read_text().replace("import pandas", f"{IMPORTS}import pandas", 1)
    before, _, after = text.partition("    raise NotImplementedError")
    factory.write_text(f"{before}{NETWORK}    return{after.partition('    return')[2]}")


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_from_an_empty_environment_to_a_first_heal(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    def timed(what: str, act: Any) -> Any:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        found = act()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        told.append({"command": what, "seconds": time.monotonic() - began, "cpu": cpu})
        print(f"{told[-1]['seconds']:6.1f} s {cpu:6.1f} CPU s  {what}", flush=True)
        return found

    folder = tmp_path / "mine"
    folder.mkdir()
    python = timed("uv pip install .[worker]", lambda: environment(tmp_path / "env", "statsmodels", extras="[worker]"))

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=outside(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def selfheal(*arguments: str) -> str:
        command = [str(python.with_name("selfheal")), *arguments]
        return str(timed(f"selfheal {' '.join(arguments)}", lambda: run(*command)))

    run(str(python), "-c", OWN)
    selfheal("init", "affairs", "--reference", "held_out.parquet", "--target", "affair")
    fill(folder / "affairs_model.py")
    policy = folder / "rules" / "affairs.yaml"
    policy.write_text(policy.read_text() + DECLARED)
    assert "affairs: can be adopted" in selfheal("check", "affairs")
    adopted = selfheal("adopt", "affairs")
    assert "version 1 (identity adapter) serves" in adopted and "WARNING" not in adopted
    timed("python replay.py", lambda: run(str(python), "-c", REPLAY))
    healed = selfheal("monitor", "affairs")
    assert "promoted v2: sensor, yrs_married: months → years" in healed and "WARNING" not in healed
    assert "settled by flow" in selfheal("status", "affairs")

    written = lines(IMPORTS, NETWORK, DECLARED, REPLAY)
    place = ROOT / "build" / "prove" / "stopwatch.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"commands": told, "lines": written}, indent=1) + "\n")
    total, cpu = (sum(one[key] for one in told) for key in ("seconds", "cpu"))
    print(f"{total:.0f} s, {cpu:.0f} CPU s, {written} lines")
    assert written <= GOAL_LINES and cpu <= GOAL_S, (
        "on a busy machine the seconds are not the reader's, CPU seconds are"
    )
