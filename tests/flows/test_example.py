"""The example of a Prefect flow that follows, against a real server."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfheal.table import WindowRef
from tests.steering.given import NAME, START, rows

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect")]


def test_a_folder_is_scored_once_and_logged(ws, root: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MODEL", NAME)
    spec = importlib.util.spec_from_file_location("prefect_batch", root / "docs" / "examples" / "prefect_batch.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "prefect_batch", module)
    spec.loader.exec_module(module)
    for folder in ("inbox", "outbox"):
        (tmp_path / folder).mkdir()
    frames = {name: rows(30, seed) for seed, name in enumerate(("monday", "tuesday"))}
    for name, frame in frames.items():
        frame.to_parquet(tmp_path / "inbox" / f"{name}.parquet")
    assert module.score_folder(str(tmp_path / "inbox"), str(tmp_path / "outbox")) == 60
    assert module.score_folder(str(tmp_path / "inbox"), str(tmp_path / "outbox")) == 0
    found = pd.read_parquet(tmp_path / "outbox" / "monday.parquet")
    np.testing.assert_allclose(found.p_1, ws.registry.load(NAME).predict_proba(frames["monday"])[:, 1], atol=1e-6)
    always = WindowRef(NAME, 0, START.replace(year=2000), START.replace(year=2200), 0, 1, False)
    logged = ws.table.read(always)
    assert set(logged.frame.index) == {f"{name}-{k}" for name in frames for k in range(30)}
