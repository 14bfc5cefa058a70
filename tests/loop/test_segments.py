"""Health by declared parts of the rows: in the record, in MLflow's numbers, in what status and the report say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from selfheal.cli.standing import standing
from selfheal.errors import PolicyError
from selfheal.loop import monitor, status
from selfheal.policy import Policy
from selfheal.registry.adoption import adopt_model
from selfheal.report import tell, written
from selfheal.steering import promote
from tests.steering.given import NAME, POLICY, START, rows, send, toy

pytestmark = pytest.mark.xdist_group("loop")

N = 900
FAR = START.replace(year=2027)
DECLARED = yaml.safe_load(POLICY) | {"monitor": {"window": f"{N} rows", "lateness": "0s"}}
DECLARED["declare"] = {"segments": ["wind"]}


def at_sites(n: int, seed: int, off: float = 0.0) -> pd.DataFrame:
    """Weather at two sites; the smaller one's dew point is off."""
    site = np.where(np.arange(n) % 10 < 7, 1.0, 2.0)
    return rows(n, seed).assign(wind=site, dew=lambda f: f["dew"] + off * (site == 2.0))


def test_a_part_that_degrades_is_said_beside_the_whole(ws) -> None:
    model = toy()
    fresh = type(model)(model.backbone, model.head, at_sites(3000, 0), policy=DECLARED, name=NAME)
    promote(ws, NAME, adopt_model(NAME, fresh, ws.registry, ws.table).version, "ada")
    for k in range(3):
        send(ws, at_sites(N, 200 + k), N * k)
    assert [c.record["health"] for c in monitor(ws, NAME, FAR)] == ["healthy"] * 3
    (big, small) = status(ws, NAME)["segments"]
    assert (big["column"], big["value"], big["rows"], big["alarms"]) == ("wind", "1", 630, 0)
    assert (small["value"], small["rows"], small["alarms"]) == ("2", 270, 0)
    for k in range(3, 5):
        send(ws, at_sites(N, 200 + k, off=8.0), N * k)
    last = monitor(ws, NAME, FAR)[-1]
    told = status(ws, NAME)
    (small, big) = sorted(told["segments"], key=lambda s: s["rows"])
    assert (small["alarms"], big["alarms"]) == (2, 0) and small["ratio"] > 1 > big["ratio"]
    assert any(line.startswith("wind 2: degraded for 2 windows") for line in told["health"])
    assert any(line.startswith("  segment   wind 2: 270 rows, ") for line in standing(told))
    numbers = MlflowClient(ws.settings.tracking_uri).get_run(last.record["run"]).data.metrics
    assert numbers["segment/wind 2 per bound"] == pytest.approx(small["ratio"])
    page = written(tell(ws, NAME))
    assert "<h2>Segments</h2>" in page and "wind 2" in page


def test_a_segment_that_is_no_column_is_named() -> None:
    with pytest.raises(PolicyError, match=r"declare\.segments names column 'wnd'.*'wind'"):
        Policy.load({"declare": {"segments": ["wnd"]}}).check(["temperature", "wind"], [0, 1])
    assert Policy.load({"declare": {"segments": []}}).digest == Policy().digest, "digests of before stay"
