"""The loop on a log elsewhere: it drifts and is healed; what goes wrong with it is said, and never healthy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from selfheal.cli import main
from selfheal.cli.standing import standing
from selfheal.errors import InputError, UnavailableError
from selfheal.loop import load, monitor, pending, status
from selfheal.loop.logged import LOG, silence
from selfheal.loop.sources import source_of
from selfheal.policy import Monitor
from selfheal.table.values import to_us
from tests.log.given import logged, parquet, policy, put
from tests.log.test_same import quick
from tests.steering.given import NAME, START, in_celsius, rows

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

N = 200


def at(window: int):
    """The end of a window."""
    return START + timedelta(seconds=N * (window + 1))


def test_a_log_elsewhere_drifts_is_healed_and_goes_on(ws, tmp_path) -> None:
    log = tmp_path / "log"
    put(ws, quick(policy(str(log))))

    def add(window: int, frame: pd.DataFrame, first: int = 0, **spoiled: Any) -> None:
        parquet(logged(ws, frame, window * N + first).assign(**spoiled), log, f"{window}-{first}")

    for window in (0, 1):
        add(window, rows(N, 100 + window))
    assert [c.decision.kind for c in monitor(ws, NAME, at(1))] == ["stable", "stable"]

    add(2, in_celsius(rows(N, 206), "temperature", "dew"))
    (cycle,) = monitor(ws, NAME, at(2))
    assert cycle.heal.promoted and set(cycle.heal.words) == {"temperature: °C → °F", "dew: °C → °F"}

    # The owner's service serves the new version by now, and says so.
    add(3, in_celsius(rows(N, 207), "temperature", "dew"))
    (cycle,) = monitor(ws, NAME, at(3))
    assert not cycle.decision.alarm and cycle.record["own_share"] == 1.0
    assert cycle.record["health"] == "healthy"
    found = status(ws, NAME)
    said = {"from": str(log), "state": "", "reasons": [], "late": 0, "labels": "", "assumed": []}
    assert found["healthy"] and found["log"] == said

    # Half a file: nothing is handled, and that is said; whole, it is read.
    add(4, in_celsius(rows(N, 208), "temperature", "dew"), dew=float("nan"))
    path = log / "4-0.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    for _ in range(2):
        with pytest.raises(UnavailableError, match="half written"):
            monitor(ws, NAME, at(4))
    found = status(ws, NAME)
    assert found["log"]["state"] == "unreadable" and any("half written" in text for text in found["health"])
    assert len(ws.table.journal(NAME, kind=LOG)) == 1, "said once"
    assert len(ws.table.cycles(NAME)) == 4
    path.write_bytes(whole)

    # A column that nobody fills any more, and rows that came too late for the window before.
    add(3, in_celsius(rows(3, 9), "temperature", "dew"), first=10)
    (cycle,) = monitor(ws, NAME, at(4))
    assert cycle.decision.kind == "data_fault"
    assert cycle.decision.reasons == (
        "200 of 200 rows of the log cannot be used: null in 'dew' (100.0%, bound 4.0%); mend what sends them",
    )
    assert cycle.record["health"] == "unhealthy"
    found = status(ws, NAME)
    assert (found["log"]["state"], found["log"]["late"], found["cycles"][3]["late"]) == ("read", 3, 3)
    assert any("3 rows came after their window was handled" in line for line in standing(found))

    # Nothing comes any more, but for so many late rows that their window is looked at anew.
    add(3, in_celsius(rows(20, 10), "temperature", "dew"), first=100, request=[f"late {i}" for i in range(20)])
    revised_and_silent(ws)


def revised_and_silent(ws) -> None:
    """What became of window 3 and its 23 late rows; the log has not grown since."""
    before = ws.table.cycle(NAME, 3)
    for _ in range(2):  # they are counted, then revised; and no third time
        assert monitor(ws, NAME, at(9)) == []
    record = ws.table.cycle(NAME, 3)
    revision, late = record.pop("revision"), record.pop("late")
    assert (late, revision["late"], revision["held"]) == (23, 23, 223) and not revision["alarm"]
    assert {**record, "late": 3} == before, "what was decided stands: no heal, no alarm, no patience"
    monitor(ws, NAME, at(9))
    assert ws.table.cycle(NAME, 3)["revision"] == revision
    found = status(ws, NAME)
    assert found["cycles"][3]["revision"]["report"] == "reports/window-000003-revised.html"
    assert any("revised with 23 late rows: no alarm" in line for line in standing(found))
    assert any("the log has stopped growing: its newest row is 16.7 minutes old" in t for t in found["health"])


def test_a_place_of_labels_that_is_away_is_said_until_it_is_back(ws, tmp_path) -> None:
    least = {"prediction_id": "request", "event_time": "ts", "order": "number"}
    held = put(ws, policy(str(tmp_path), labels={"from": str(tmp_path / "claims")}, columns=least))
    assumed = status(ws, NAME)["log"]["assumed"]
    assert [words.partition(":")[0] for words in assumed] == ["names no version", "names no probabilities"]
    assert all(any(words in line for line in standing(status(ws, NAME))) for words in assumed)
    assert source_of(ws, NAME, held, at(0)).labels.known().is_empty()
    assert any(text.startswith("labels: the log") for text in status(ws, NAME)["health"])
    pd.DataFrame({"prediction_id": ["a"], "label": [1]}).pipe(parquet, tmp_path / "claims", "a")
    assert len(source_of(ws, NAME, held, at(0)).labels.known()) == 1
    assert status(ws, NAME)["healthy"]


def test_labels_that_are_sent_here_wait_for_no_row_of_the_own_table(ws, tmp_path) -> None:
    put(ws, policy(str(tmp_path)))
    (tmp_path / "labels.csv").write_text("prediction_id,label\nr1,1\nr2,0\n")
    places = {"SELFHEAL_HOME": str(ws.settings.home), "SELFHEAL_RULES": str(ws.settings.rules)}
    done = CliRunner().invoke(main, ["labels", NAME, str(tmp_path / "labels.csv")], env=places)
    assert done.output == "2 stored, to be joined by id with the rows of the log, 0 older than one held\n"


def test_a_log_that_cannot_be_opened_is_said(ws) -> None:
    held = put(ws, policy("postgresql://${NOT_SET}@db/x", table="scored"))
    with pytest.raises(InputError, match="where it is not set; set NOT_SET"):
        source_of(ws, NAME, held)
    assert any("set NOT_SET" in text for text in status(ws, NAME)["health"])


def test_a_pause_is_natural_as_long_as_pauses_were() -> None:
    hour = timedelta(hours=1)
    cycles = [
        {"start": (START + k * hour).isoformat(), "end": (START + (k + 1) * hour).isoformat()} for k in (0, 1, 10, 11)
    ]
    spoken = {
        pause: bool(silence(to_us(START + 12 * hour), cycles, Monitor(), START + (12 + pause) * hour))
        for pause in (1, 15, 17)
    }
    assert spoken == {1: False, 15: False, 17: True}
    assert silence(to_us(START), cycles[:2], Monitor(), START + 4 * hour), "three windows, where there were no pauses"
    assert silence(None, [], Monitor(), START)


def test_a_pass_opens_its_log_once(ws, tmp_path) -> None:
    put(ws, policy(str(tmp_path / "log")))
    parquet(logged(ws, rows(N, 100), 0), tmp_path / "log", "a")
    serving = load(ws, NAME, until=at(0))
    ctx = serving.at(pending(ws, NAME, at(0))[0])
    source = ctx.source
    assert replace(ctx, newest=False).source is source and serving.source is source
    assert load(ws, NAME).source is not source, "labels that have come since are seen by the next"
    assert len(source.read(ctx.ref).frame) == N and source._last == {}, "no window is held twice"
