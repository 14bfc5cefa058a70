"""The service counts what it answers and has an open window of time closed early where that leaves what is usual."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from selfheal.rules import Rule
from selfheal.serving import create_app
from selfheal.serving.sentinel import fired
from tests.serving.test_log import until
from tests.serving.watching import usual, usual_for

NOON = int(datetime(2026, 3, 3, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def watched(place, adapters_of, tmp_path, serve_app):
    """A service whose version 2 reads °C and makes °F of it, and a plan of what is usual in °F."""
    place.settle(2, adapters_of(place.model)["map"])
    (tmp_path / "weather.yaml").write_text("monitor: {sentinel: true, window: 1h, min_rows: 300}")
    usual_for(place, 2)
    app = create_app(place.config(rules=tmp_path, event_clock=True))
    app.log.start()
    with serve_app(app, proxy_headers=False) as service:
        yield service, app
    app.close()


def test_a_changed_unit_has_the_open_window_closed_early_once(place, watched, forms, caplog):
    service, app = watched
    sentinel, sent = app.sentinel, iter(range(9_999))

    def send(frame: pd.DataFrame, minute: int) -> None:
        seconds = [NOON + 60 * minute + next(sent) / 1000 for _ in range(len(frame))]
        times = [datetime.fromtimestamp(each, UTC).isoformat() for each in seconds]
        sentinel._counted -= 10  # it is time to count what is committed
        written = app.log.state.written
        counted = sentinel._counted
        assert service.post("/invocations", forms.split(frame) | {"params": {"event_time": times}})[0] == 200
        assert until(lambda: app.log.state.written > written and sentinel._counted > counted + 5)

    def cut(minute: int) -> str:
        with place.table() as table:
            found = table.sentinels.due(place.name, datetime.fromtimestamp(NOON + 60 * minute, UTC))
        return "" if found is None else found.why

    def celsius(seed: int) -> pd.DataFrame:
        frame = usual(seed)
        return frame.assign(temp=(frame["temp"] - 32) / 1.8)

    for minute in range(4):
        send(celsius(90 + minute), minute)
    assert until(lambda: sentinel._tally.rows == 800) and 0 < sentinel.ratio < 1 and cut(59) == ""
    send(usual(95), 5)  # °F, of which the map makes what nobody ever saw
    send(usual(96), 6)
    assert until(lambda: sentinel.cuts == 1) and "of its natural bound after 1000 rows" in cut(59)
    assert [r for r in caplog.records if "closed early" in r.message]
    send(usual(97), 7)
    assert sentinel.cuts == 1 and 'selfheal_sentinel_cuts_total{model="weather"} 1' in service.get("/metrics")
    place.settle(3, place.model.adapter)
    app.source.look()
    send(usual(98), 70)
    assert until(lambda: sentinel._tally is None), "another version's answers are not held against this plan"


def test_rules_fire_in_a_batch_as_they_do_in_a_frame():
    frame = pd.DataFrame(
        {"a": [1.0, math.nan, -2.0, 3.5], "k": [1, 2, 3, 4], "b": [True, False, True, True], "w": ["x", None, "y", "x"]}
    )
    when = ["a > 0", "b AND a < 2", "w = 'x' OR k >= 3", "w IS NULL", "NOT b", "a IS NULL OR w <> 'x'"]
    columns = {name: frame[name].to_numpy(dtype=object if name == "w" else None) for name in frame}
    wanted = np.column_stack([Rule(f"r{n}", text, vote=1).fires(frame) for n, text in enumerate(when)])
    assert (fired(when, columns) == wanted).all()
