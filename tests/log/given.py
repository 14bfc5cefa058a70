"""The same rows as logs of every kind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import requests
import sqlalchemy as sa
import yaml

from selfheal.log.foreign import Foreign
from selfheal.model import MonitoredModel
from selfheal.policy import Policy, WindowSpec
from selfheal.steering.models import serving_model
from tests.steering.given import NAME, POLICY, START, rows

COLUMNS = {
    "prediction_id": "request", "event_time": "ts", "probabilities": ["cold", "hot"], "version": "served_by",
    "order": "number",
}  # fmt: skip


def logged(ws, frame: pd.DataFrame, first: int, *, every: timedelta = timedelta(seconds=1)) -> pd.DataFrame:
    """Rows as a service of the owner's might log them: :func:`tests.steering.given.send`, under other names."""
    model, version = serving_model(ws, NAME)
    features = frame[list(model.features)].reset_index(drop=True)
    proba = model.predict_proba(features)
    n = len(features)
    return features.rename(columns={"temperature": "temp"}).assign(
        request=[f"r{first + i}" for i in range(n)],
        ts=pd.to_datetime([START + every * (first + i) for i in range(n)], utc=True),
        cold=proba[:, 0], hot=proba[:, 1], served_by=version, number=range(first, first + n),
    )  # fmt: skip


def policy(where: str, **more: Any) -> dict[str, Any]:
    """The policy of the tests with a log elsewhere; ``more`` are keys of ``log:``."""
    log = {"from": where, "columns": COLUMNS, "rename": {"temp": "temperature"}} | more
    return yaml.safe_load(POLICY) | {"log": {key: value for key, value in log.items() if value is not None}}


def put(ws, content: dict[str, Any]) -> Policy:
    """Make it the policy of record."""
    (ws.settings.rules / f"{NAME}.yaml").write_text(yaml.safe_dump(content))
    return Policy.load(content)


def parquet(frame: pd.DataFrame, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / f"{name}.parquet", index=False)


def partitioned(frame: pd.DataFrame, folder: Path, name: str) -> None:
    """Hive partitions, one of which has lost a type: its numbers are text."""
    for day, part in frame.groupby(frame["number"] // 500):
        part = part.assign(wind=part["wind"].map(repr)) if day == 1 else part
        parquet(part, folder / f"part={day}", name)


def csv(frame: pd.DataFrame, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / f"{name}.csv", index=False)


def jsonl(frame: pd.DataFrame, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({**row, "ts": row["ts"].isoformat()}) for row in frame.to_dict("records"))
    (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def to_sqlite(frame: pd.DataFrame, path: Path) -> None:
    """A table whose times are text, and a view of it."""
    with sqlite3.connect(path) as connection:
        frame.assign(ts=frame["ts"].map(lambda at: at.isoformat(" "))).to_sql(
            "raw", connection, index=False, if_exists="append"
        )
        connection.execute("CREATE VIEW IF NOT EXISTS scored AS SELECT * FROM raw")
    connection.close()


def to_postgres(frame: pd.DataFrame, engine: sa.Engine, table: str) -> None:
    frame.to_sql(table, engine, index=False, if_exists="append")


def delta(frame: pd.DataFrame, folder: Path, name: str) -> None:
    """Two commits: a table of two files, of which the second holds the later rows."""
    from deltalake import write_deltalake

    half = len(frame) // 2
    for part in (frame[:half], frame[half:]):
        table = pa.Table.from_pandas(part, preserve_index=False)
        write_deltalake(str(folder), table, mode="append", schema_mode="merge")


class Bucket:
    """A bucket of an S3 that runs on loopback; the address and its credentials are in the environment."""

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name
        self.make()

    def make(self) -> None:
        self._do("PUT", "")

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, folder: Path) -> None:
        """Every file below a folder."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self._do("PUT", f"/{folder.name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def _do(self, method: str, key: str, data: bytes = b"") -> None:
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request"}
        where = f"{self.address}/{self.name}{key}"
        requests.request(method, where, data=data, headers=signed, timeout=30).raise_for_status()


Writer = Callable[[pd.DataFrame, Path, str], None]
FILES: dict[str, Writer] = {"parquet": parquet, "partitioned": partitioned, "csv": csv, "jsonl": jsonl, "delta": delta}


def said(cycles: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What was decided, why, and which adapter came of it."""
    return [
        (c.ref.index, c.ref.start, c.ref.end, c.ref.rows, c.decision.kind, c.decision.reasons,
         c.heal and (c.heal.decision, c.heal.diagnosis, c.heal.reasons, c.heal.words, c.heal.version))
        for c in cycles
    ]  # fmt: skip


def model_of(ws) -> MonitoredModel:
    return serving_model(ws, NAME)[0]


HOUR = WindowSpec(duration=timedelta(hours=1))
END = START + timedelta(hours=1)
MINE = {"prediction_id": "request", "event_time": "ts"}


def told(source: Foreign) -> list[Any]:
    return source.keeper.tell.__self__


def frame(n: int = 50, seed: int = 3, first: int = 0, every: float = 60.0) -> pd.DataFrame:
    """``n`` rows, one a minute."""
    times = [START + timedelta(seconds=every * (first + i)) for i in range(n)]
    return rows(n, seed).drop(columns="y").assign(
        request=[f"r{first + i}" for i in range(n)], ts=pd.to_datetime(times, utc=True)
    )  # fmt: skip


def closed(source: Foreign, until: datetime = END, spec: WindowSpec = HOUR, least: int = 1):
    return source.closed_windows(spec, until=until, lateness=timedelta(0), min_rows=least)


def only(source: Foreign):
    """The one window there is, and what became of its rows."""
    (ref,) = closed(source)
    return source.read(ref), source.tally(ref)
