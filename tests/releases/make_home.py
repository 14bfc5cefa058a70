"""Made ``home-0.1.0.tar.gz``: a home in use, by the last release before the state database had a version.

Run in a checkout of that release (commit f8f856c) at ``/srv/selfheal/checkout``, with its root on PYTHONPATH. The home
is made at HOME, an absolute path that MLflow writes down: who unpacks it elsewhere says so in ``mlflow.db``.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from selfheal.loop import monitor
from selfheal.registry.adoption import adopt_model
from selfheal.steering import promote
from selfheal.steering.models import serving_model
from tests.steering.given import HEALS, NAME, POLICY, START, in_celsius, rows, send, toy, workspace_at

HOME = Path("/srv/selfheal/home")
N = 200
HEALTHY = 6


def main() -> None:
    """Adopt, six healthy windows, labels; °C come and are healed; a person goes back and forth."""
    out = Path(__file__).resolve().with_name("home-0.1.0.tar.gz")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    os.chdir(HOME)  # MLflow's default experiment names the working directory
    ws = workspace_at(HOME)
    (HOME / "rules" / f"{NAME}.yaml").write_text(POLICY)
    adopt_model(NAME, toy(), ws.registry, ws.table)
    window = 0
    for window in range(HEALTHY):
        frame = rows(N, 100 + window)
        ids = send(ws, frame, window * N)
        ws.table.add_labels(NAME, ids[:20], frame["y"].tolist()[:20], datetime.now(UTC))
    until = START + timedelta(days=30)
    monitor(ws, NAME, until)
    for window in range(HEALTHY, HEALTHY + 3):
        send(ws, in_celsius(rows(N, 200 + window), "temperature", "dew"), window * N)
        cycle = monitor(ws, NAME, until)[-1]
    assert ws.table.pointer(NAME).version == 2 and cycle.watch.verdict == "better", cycle.record
    promote(ws, NAME, 1, "ann")
    promote(ws, NAME, 2, "ann")
    model, _ = serving_model(ws, NAME)
    asked = in_celsius(rows(20, 999), "temperature", "dew")[list(model.features)]
    answers = {"rows": asked.to_dict("list"), "probabilities": model.predict_proba(asked).tolist()}
    (HOME / "answers.json").write_text(json.dumps(answers))
    (HOME / "adapter.safetensors").write_bytes(toy().with_adapter(HEALS[0]).adapter.to_bytes())
    ws.table.close()
    for page in HOME.glob("mlartifacts/**/*.html"):  # Evidently's pages, megabytes each, that nothing reads again
        page.unlink()
    for name in ("mlflow.db", "selfheal.db"):
        connection = sqlite3.connect(HOME / name)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        connection.close()
        for rest in HOME.glob(f"{name}-*"):
            rest.unlink()
    with tarfile.open(out, "w:gz") as archive:
        archive.add(HOME, arcname="home")
    sys.stdout.write(f"{out}: {out.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
