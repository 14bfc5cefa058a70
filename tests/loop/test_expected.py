"""What is expected without labels is in the record, in the status and on the watch run; labels judge it later."""

from __future__ import annotations

from selfheal.cli.standing import standing
from selfheal.loop import load, monitor, settle_stages, status
from selfheal.loop.backtest import LEAST, back_test
from selfheal.steering import promote
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send, toy

FAR = START.replace(year=2027)


def judged_now(ws) -> int:
    """How many windows labels say something new of."""
    before = load(ws, NAME)
    return sum(a != b for a, b in zip(before.cycles, back_test(before).cycles, strict=True))


def test_expected_shown_logged_and_judged(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    truth = rows(200, 1)
    ids = send(ws, truth, 0)
    monitor(ws, NAME, FAR)
    (cycle,) = ws.table.cycles(NAME)
    value, low, high = cycle["estimate"]["accuracy"]
    assert low <= value <= high and cycle["estimate"]["assumes"] == "stable" and cycle["estimate"]["held"] is None
    state = status(ws, NAME)
    assert any(line.startswith(f"  expected  accuracy {value:.3f}") for line in standing(state))
    model = toy()
    ws.table.add_labels(NAME, ids[: LEAST - 1], truth["y"].tolist()[: LEAST - 1], ws.clock())
    assert judged_now(ws) == 0, "too few labels say nothing"
    ws.table.add_labels(NAME, ids, truth["y"].tolist(), ws.clock())
    assert (judged_now(ws), judged_now(ws)) == (1, 0)
    judged = ws.table.cycles(NAME)[0]["estimate"]
    accuracy = float((model.predict(truth) == truth["y"]).mean())
    assert (judged["labels_say"], judged["labelled"], judged["held"]) == (accuracy, 200, True)
    send(ws, in_celsius(rows(200, 2), "temperature"), 200)
    monitor(ws, NAME, FAR)
    state = status(ws, NAME)
    assert state["estimate"]["accuracy"] is None
    assert any("nothing is said of the accuracy" in line for line in standing(state))
    assert "version 1" not in state["estimate"]["reason"]
    promote(ws, NAME, 3, "ann", reason="the sensor was changed")
    found = status(ws, NAME)["estimate"]
    assert (found["accuracy"], found["judged"]) == (None, None)
    assert found["reason"] == "version 3 has answered no window yet; window 1 was judged as version 1 read it"


def test_it_is_judged_by_the_decisions_that_the_costs_of_record_make(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY + "cost: {false_positive: 1, false_negative: 50}")
    truth = rows(200, 1)
    ids = send(ws, truth, 0)
    monitor(ws, NAME, FAR)
    ws.table.add_labels(NAME, ids, truth["y"].tolist(), ws.clock())
    settle_stages(ws, NAME)
    costly = toy().with_policy({"cost": {"false_positive": 1, "false_negative": 50}})
    accuracy = float((costly.predict(truth) == truth["y"]).mean())
    assert ws.table.cycles(NAME)[0]["estimate"]["labels_say"] == accuracy != (toy().predict(truth) == truth["y"]).mean()


def test_labels_that_refute_it_silence_the_next(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    ids = send(ws, rows(200, 1), 0)
    monitor(ws, NAME, FAR)
    flipped = (1 - rows(200, 1)["y"]).tolist()
    ws.table.add_labels(NAME, ids, flipped, ws.clock())
    send(ws, rows(200, 3), 200)
    monitor(ws, NAME, FAR)
    first, second = (c["estimate"] for c in ws.table.cycles(NAME))
    assert first["held"] is False
    assert second["accuracy"] is None and "labels refuted the estimate of window 0" in second["reason"]
    assert second["judged"] is not None, "so that labels can bear it out again"
