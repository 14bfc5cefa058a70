"""What needs packages of its own (BentoML, Spark, category_encoders), and MLflow's own server."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfheal.steering import Workspace, promote
from selfheal.up.services import free_port
from tests.following.test_examples import post
from tests.prove.environments import environment, outside
from tests.prove.test_pages import SERVED_S, until
from tests.steering.conftest import home, template, ws
from tests.steering.given import NAME, rows

__all__ = ["home", "template", "ws"]


def ready(url: str, asked: str = "readyz") -> bool:
    try:
        with urllib.request.urlopen(f"{url}/{asked}", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextmanager
def bentoml(ws: Workspace, root: Path, folder: Path) -> Iterator[str]:
    """The example's address, as ``bentoml serve`` runs it."""
    python = environment(folder / "env", "bentoml")
    shutil.copy(root / "docs" / "examples" / "bentoml_service.py", folder)
    port = free_port("127.0.0.1", 18300)
    places = {"SELFHEAL_HOME": str(ws.settings.home), "BENTOML_HOME": str(folder / "bento")}
    environ = outside(MODEL=NAME, BENTOML_DO_NOT_TRACK="1", **places)
    command = [str(python), "-m", "bentoml", "serve", "bentoml_service:Score", "--host", "127.0.0.1"]
    out, url = folder / "out.txt", f"http://127.0.0.1:{port}"
    with out.open("w") as sink:
        service = subprocess.Popen(
            [*command, "--port", str(port)], env=environ, cwd=folder, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: ready(url), 240, "BentoML")
        yield url
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)
        print(out.read_text()[-3000:])


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_a_bentoml_service_follows(ws: Workspace, root: Path, tmp_path: Path) -> None:
    """It serves what is promoted within two seconds, fails no request, and what it answers is logged."""
    frame = rows(50, 5).drop(columns="y")
    answers: list[tuple[int, Any]] = []
    times: list[datetime] = []
    stop = threading.Event()
    with bentoml(ws, root, tmp_path) as url:

        def ask() -> None:
            while not stop.wait(0.02):
                answers.append(post(f"{url}/score", {"rows": frame.to_dict("records")}))
                times.append(datetime.now(UTC))

        users = threading.Thread(target=ask)
        users.start()
        until(lambda: len(answers) > 5, 60, "answers")
        promote(ws, NAME, 2, "a person")
        until(lambda: answers[-1][1].get("version") == 2, 60, "version 2")
        stop.set()
        users.join(30)
        refused = post(f"{url}/score", {"rows": [{"temperature": 1.0}]})
    assert {code for code, _ in answers} == {200}
    pointer = ws.table.pointer(NAME)
    assert pointer is not None
    first = next(k for k, (_, answer) in enumerate(answers) if answer["version"] == 2)
    took = (times[first] - pointer.settled_at).total_seconds()
    assert took <= SERVED_S
    assert refused[0] == 400 and "column 'dew' is missing" in str(refused[1])
    for version in (1, 2):
        found = next(a["probabilities"] for _, a in answers if a["version"] == version)
        expected = ws.registry.load(NAME, version=version).predict_proba(frame)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with closing(sqlite3.connect(ws.settings.home / "selfheal.db")) as connection:
        (logged,) = connection.execute(f"SELECT count(*) FROM predictions_{NAME}").fetchone()
    assert logged == sum(len(a["ids"]) for _, a in answers)
    print(f"version 2 was served {took:.2f} s after it was settled; {len(answers)} requests, none failed")


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_a_spark_job_scores_by_mlflow_alone(ws: Workspace, root: Path, tmp_path: Path) -> None:
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    python = environment(tmp_path / "env", "pyspark")
    frame = rows(500, 5).drop(columns="y")
    frame.to_parquet(tmp_path / "rows.parquet")
    environ = outside(
        MODEL=NAME, MLFLOW_TRACKING_URI=ws.settings.tracking_uri, PYSPARK_PYTHON=str(python), SPARK_LOCAL_IP="127.0.0.1"
    )
    script = root / "docs" / "examples" / "spark_udf.py"
    command = [str(python), str(script), str(tmp_path / "rows.parquet"), str(tmp_path / "scored")]
    subprocess.run(command, check=True, env=environ, cwd=tmp_path)
    found = pd.read_parquet(tmp_path / "scored").sort_values("temperature")
    proba = np.array([[row["0"], row["1"]] for row in found["scores"]])
    expected = ws.registry.load(NAME).predict_proba(found)
    assert len(found) == 500
    np.testing.assert_allclose(proba, expected, atol=1e-6)


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_mlflows_own_server_answers_as_the_model(ws: Workspace, tmp_path: Path) -> None:
    """With nothing of ours in the command; raw units in, a probability by the name of each class out."""
    frame, port = rows(20, 5).drop(columns="y"), free_port("127.0.0.1", 18400)
    bin_ = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    environ = {**os.environ, "MLFLOW_TRACKING_URI": ws.settings.tracking_uri, "PATH": bin_}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}/Production"]
    command += ["-h", "127.0.0.1", "-p", str(port), "--env-manager", "local"]
    with (tmp_path / "out.txt").open("w") as sink:
        # its workers are children that it does not tell of the end
        server = subprocess.Popen(
            command, env=environ, cwd=tmp_path, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until(lambda: ready(f"http://127.0.0.1:{port}", "ping"), 240, "MLflow's server")
        code, answer = post(f"http://127.0.0.1:{port}/invocations", {"dataframe_records": frame.to_dict("records")})
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(60)
        print((tmp_path / "out.txt").read_text()[-2000:])
    assert code == 200, answer
    found = pd.DataFrame(answer["predictions"])
    np.testing.assert_allclose(found[["0", "1"]], ws.registry.load(NAME).predict_proba(frame), atol=1e-6)


ENCODED = """
import sys, warnings
from pathlib import Path
import category_encoders as ce
import numpy as np, pandas as pd, torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from selfheal import MonitoredModel
from selfheal.registry.archive import load_base, save_base
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
rows = pd.DataFrame({"n": rng.normal(size=300), "city": rng.choice(["Bern", "Basel", "Chur"], 300)})
y = pd.Series((rng.random(300) < 0.4).astype(int), name="y")
kinds = [k for k in vars(ce).values() if isinstance(k, type) and k.__name__.endswith("Encoder")]
taken, said = [], []
for kind in kinds:
    try:
        made = make_pipeline(kind(cols=["city"]), StandardScaler()).fit(rows, y)
        width = made.transform(rows).shape[1]
    except Exception:
        continue
    net = torch.nn.Linear(width, 4), torch.nn.Linear(4, 2)
    try:
        model = MonitoredModel(*net, rows.assign(y=y), target="y", preprocess=made)
        save_base(model, Path(sys.argv[1]) / kind.__name__)
    except ValueError as error:
        said.append(f"{kind.__name__}: {error}")
        continue
    loaded = load_base(Path(sys.argv[1]) / kind.__name__)
    assert np.allclose(loaded.predict_proba(rows), model.predict_proba(rows)), kind
    taken.append(kind.__name__)
print(len(taken), "encoders taken:", *taken)
print(*said, sep="\\n")
"""


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_encoders_of_another_library_are_taken_by_their_import_path(tmp_path: Path) -> None:
    python = environment(tmp_path / "env", "category_encoders")
    command = [str(python), "-c", ENCODED, str(tmp_path)]
    done = subprocess.run(command, env=outside(), cwd=tmp_path, capture_output=True, text=True)
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0
    told, *refused = done.stdout.splitlines()
    assert int(told.split()[0]) >= 10 and not any(refused), done.stdout
