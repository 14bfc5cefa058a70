"""Real models in a real cache and database, and a real uvicorn on loopback, in a thread or in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import uvicorn
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from selfheal.adapter import Adapter, ColumnMap, InputMap, ReflexiveLayer
from selfheal.model import MonitoredModel
from selfheal.registry.archive import save_base
from selfheal.serving import ServingConfig, create_app
from selfheal.serving.protocol import BoundedProtocol
from selfheal.table import InferenceTable, Pointer

START_S = 60


def network(d: int, k: int, seed: int) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU()), nn.Linear(8, k)


def weather(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({name: rng.normal(50, 15, n) for name in ("temp", "dew", "pressure")})
    frame["wind"] = rng.integers(0, 40, n)
    frame["fog"] = rng.integers(0, 2, n).astype(bool)
    frame["rain"] = rng.integers(0, 2, n)
    return frame


def payments(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    kinds = pd.Series(rng.choice(["card", "gift_card", "cash"], n), dtype=object)
    return pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, n),
            "kind": kinds,
            "v1": rng.normal(0, 1, n),
            "fraud": rng.choice(["no", "yes", "maybe"], n),
        }
    )


def weather_model(preprocess: str = "scaler") -> MonitoredModel:
    rows = weather()
    features = rows.drop(columns="rain")
    scaler = {
        "none": lambda: None,
        "scaler": lambda: StandardScaler().fit(features),
        # columns by name within a union: nothing that is translated
        "union": lambda: make_union(ColumnTransformer([("n", StandardScaler(), list(features))])).fit(features),
    }[preprocess]()
    return MonitoredModel(*network(5, 1, 0), reference=rows, target="rain", preprocess=scaler, name="weather")


def payments_model(unknown: str = "ignore") -> MonitoredModel:
    rows = payments()
    parts = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["v1", "amount"]),
            ("kinds", OneHotEncoder(handle_unknown=unknown, sparse_output=False), ["kind"]),
        ]
    ).fit(rows.drop(columns="fraud"))
    return MonitoredModel(*network(5, 3, 1), reference=rows, target="fraud", preprocess=parts, name="payments")


MODELS = {
    "weather": weather_model,
    "plain": lambda: weather_model("none"),
    "union": lambda: weather_model("union"),
    "payments": payments_model,
}


def adapters(model: MonitoredModel) -> dict[str, Adapter]:
    """One of each part, and all together."""
    numeric = next(name for name in model.features if model.dtypes[name] == "float")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = ReflexiveLayer(model.hidden_dim)
        nn.init.normal_(layer.project.weight)
        nn.init.normal_(layer.project.bias, std=3.0)
    layer.requires_grad_(False)
    maps = InputMap({numeric: ColumnMap(1.8, 32.0, "°C → °F")})
    offset = np.linspace(-0.5, 0.5, len(model.classes_))
    return {
        "identity": Adapter(),
        "map": Adapter(maps),
        "reflexive": Adapter(reflexive=layer),
        "offset": Adapter(logit_offset=offset),
        "all": Adapter(maps, layer, offset),
    }


@dataclasses.dataclass
class Place:
    """A model adopted into a database and a cache, as the registry leaves them."""

    model: MonitoredModel
    database: Path
    cache: Path
    name: str
    versions: dict[int, MonitoredModel] = dataclasses.field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    @property
    def spill(self) -> Path:
        """Where :func:`spawned` keeps rows that are not in the database yet."""
        return self.database.parent / "home" / "spill" / self.name

    def config(self, **changes: Any) -> ServingConfig:
        return dataclasses.replace(ServingConfig(self.name, self.url, self.cache), **changes)

    @contextlib.contextmanager
    def table(self) -> Iterator[InferenceTable]:
        table = InferenceTable(self.url)
        try:
            yield table
        finally:
            table.close()

    def settle(self, version: int, adapter: Adapter, /, **changes: Any) -> Pointer:
        """Point replicas at a version."""
        served = self.model.with_adapter(adapter)
        self.versions[version] = served
        pointer = Pointer(
            model=self.name,
            version=version,
            base_version=1,
            base_digest=self.model.digest,
            adapter=served.adapter.to_bytes(),
            adapter_digest=served.adapter.digest,
            settled_at=datetime.now(UTC),
            pinned=False,
        )
        pointer = dataclasses.replace(pointer, **changes)
        with self.table() as table:
            table.set_pointer(self.name, pointer)
        return pointer

    def logged(self) -> pd.DataFrame:
        """Everything in the log: features, ``version``, ``event_time`` and ``label``."""
        from selfheal.table import WindowRef

        always = WindowRef(
            self.name, 0, datetime(1900, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC), 0, 1, False
        )
        with self.table() as table:
            window = table.read(always)
        return window.frame.assign(version=window.versions, event_time=window.event_times, label=window.labels)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory):
    """Each model once, its base stored in one cache."""
    cache = tmp_path_factory.mktemp("cache")
    made: dict[str, MonitoredModel] = {}

    def base(name: str) -> tuple[MonitoredModel, Path]:
        if name not in made:
            made[name] = MODELS[name]()
            if not (cache / made[name].digest).exists():
                save_base(made[name], cache / made[name].digest)
        return made[name], cache

    return base


def adopted(bases, name: str, folder: Path) -> Place:
    model, cache = bases(name)
    place = Place(model, folder / "state.db", cache, name)
    with place.table() as table:
        table.create(name, model.dtypes, model.classes_.tolist())
    place.settle(1, Adapter())
    return place


@pytest.fixture
def place(bases, tmp_path: Path) -> Place:
    """The weather model, adopted."""
    return adopted(bases, "weather", tmp_path)


@pytest.fixture
def plain(bases, tmp_path: Path) -> Place:
    """The same without preprocessing, for whose processes scikit-learn is not imported."""
    return adopted(bases, "plain", tmp_path)


@pytest.fixture(scope="session")
def adopt_in(bases):
    return lambda name, folder: adopted(bases, name, folder)


@dataclasses.dataclass
class Service:
    """A running service, and the plainest of clients; ``loop`` is the name of its thread, where it is one of ours."""

    url: str
    app: Any = None
    process: Any = None
    server: Any = None
    loop: str = ""

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def get(self, path: str) -> Any:
        return self.ask(path, None)[1]

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask(path, body, **headers)

    def ask(self, path: str, body: bytes | None, **headers: str) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, _value(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _value(error.read())


def _value(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode()


@contextlib.contextmanager
def answering(app: Any, lifespan: str = "off", **more: Any) -> Iterator[Service]:
    """An application in a thread of this process."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, http=BoundedProtocol, loop="asyncio", ws="none", lifespan=lifespan, log_level="warning", **more
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    waiting = threading.Event()
    for _ in range(500):
        if server.started:
            break
        waiting.wait(0.01)
    try:
        yield Service(f"http://127.0.0.1:{bound.getsockname()[1]}", app, server=server, loop=thread.name)
    finally:
        server.should_exit = True
        thread.join(15)
        bound.close()


def running(config: ServingConfig) -> contextlib.AbstractContextManager[Service]:
    """The service in a thread of this process."""
    return answering(create_app(config), "on")


@pytest.fixture(scope="session")
def serve_in_thread():
    return running


@pytest.fixture(scope="session")
def serve_app():
    return answering


_CHILD = """
import sys, pathlib
from selfheal.serving import serve
from selfheal.settings import Settings
home, database, cache, name = sys.argv[1:]
import dataclasses
environ = {"SELFHEAL_HOME": home, "SELFHEAL_RULES": f"{home}/rules"}
settings = dataclasses.replace(Settings.from_env(environ), database_url=database)
def ready(url):
    sys.stdout.write(url + "\\n"); sys.stdout.flush()
type(settings).cache = property(lambda self: pathlib.Path(cache))
serve(name, settings, port=0, reconcile=False, on_ready=ready)
"""


@contextlib.contextmanager
def spawned(
    place: Place, *prefix: str, home: Path | None = None, script: str = _CHILD, **environ: str
) -> Iterator[Service]:
    """The service in a process of its own, as ``serve`` runs it; a prefix is a command that runs the rest of it."""
    home = home or place.database.parent / "home"
    command = [*prefix, sys.executable, "-c", script, str(home), place.url, str(place.cache), place.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environ) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), process.wait(START_S)
            yield Service(url, process=process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(START_S)


@pytest.fixture(scope="session")
def serve_in_process():
    return spawned


@pytest.fixture
def forms() -> SimpleNamespace:
    """Bodies in MLflow's four forms."""

    def rows(frame: pd.DataFrame) -> list[list[Any]]:
        return [[v.item() if hasattr(v, "item") else v for v in line] for line in frame.itertuples(index=False)]

    def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
        return [dict(zip(frame.columns, line, strict=True)) for line in rows(frame)]

    return SimpleNamespace(
        split=lambda f: {"dataframe_split": {"columns": list(f.columns), "data": rows(f)}},
        records=lambda f: {"dataframe_records": records(f)},
        instances=lambda f: {"instances": records(f)},
        tensor=lambda f: {"instances": rows(f)},
        inputs=lambda f: {"inputs": {name: [row[name] for row in records(f)] for name in f.columns}},
        input_rows=lambda f: {"inputs": rows(f)},
    )


@pytest.fixture
def adapters_of():
    return adapters
