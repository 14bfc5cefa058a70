"""Stop, retrain: said where drift stands that nothing undoes and labels show that a constant would do better."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from selfheal.alerts.gathering import gather
from selfheal.healing.labels.constant import PSEUDO, beside_constant, shares_before
from selfheal.loop import load, monitor, status
from selfheal.loop.worth import WORTHLESS, weigh
from selfheal.steering import promote
from tests.steering.given import NAME, POLICY, START, rows, send, toy

FAR = START.replace(year=2027)


def labelled(n: int, seed: int, turned: float) -> tuple[pd.DataFrame, pd.Series]:
    """Rows whose labels are turned round with this probability."""
    frame = rows(n, seed)
    turn = np.random.default_rng(seed).random(n) < turned
    return frame.drop(columns="y"), (frame["y"] ^ turn).astype(float)


def test_a_model_that_knows_nothing_any_more_is_found_out_and_others_are_not() -> None:
    model = toy()
    told = {turned: [beside_constant(model, [labelled(100, s, turned)]) for s in range(20)] for turned in (0, 0.2, 0.8)}
    assert {says for says, _ in told[0] + told[0.2]} <= {"worse", "undecided"}, "it is worth more than the constant"
    assert [says for says, _ in told[0.8]].count("better") >= 18
    assert told[0.8][0][1].startswith("a constant in its place, 100 labels: log-loss gain +")


def test_labels_that_are_no_fair_draw_say_nothing() -> None:
    frame, labels = labelled(1500, 1, 0.6)
    score = toy().predict_proba(frame)[:, 1]
    drawn = labels.where(np.random.default_rng(1).random(1500) < np.where(score > 0.5, 0.4, 0.05))
    says, why = beside_constant(toy(), [(frame, drawn)])
    assert says == "undecided" and "no fair draw" in why
    assert beside_constant(toy(), []) == ("undecided", "no labels")


def test_the_constant_knows_nothing_of_the_row_that_it_answers() -> None:
    truth = np.array([1, 1, 0, 1])
    shares = shares_before(np.array([0.5, 0.5]), truth)
    assert shares[0].tolist() == [0.5, 0.5] and shares.sum(axis=1) == pytest.approx(np.ones(4))
    assert shares[3, 1] == pytest.approx((2 + PSEUDO / 2) / (3 + PSEUDO))
    assert np.array_equal(shares[:3], shares_before(np.array([0.5, 0.5]), np.array([1, 1, 0, 0]))[:3])


def test_it_is_said_while_the_drift_stands(ws):
    watched = POLICY.replace("[2, 3]", "[1, 1]").replace("watch_windows: 2, bake_windows: 1", "watch_windows: 0")
    (ws.settings.rules / "toy.yaml").write_text(
        watched.replace("watch_windows: 0", "watch_windows: 0, bake_windows: 9")
    )
    promote(ws, NAME, 2, "flow", over=1)  # so new that nothing replaces it
    frame = rows(200, 5)
    ids = send(ws, frame.assign(wind=frame["wind"] * 40), 0)
    monitor(ws, NAME, FAR)
    assert not [text for text in status(ws, NAME)["health"] if "retrain" in text], "no labels yet"
    ws.table.add_labels(NAME, ids[:120], frame["y"].tolist()[:120], ws.clock())
    monitor(ws, NAME, FAR)
    (words,) = (text for text in status(ws, NAME)["health"] if "retrain" in text)
    assert words.startswith("window 0: stop, retrain: labels show that it is worth less than a constant: a constant in")
    gather(ws, NAME)
    (alert,) = (row.record for row in ws.table.outbox.alerts(NAME) if row.record["kind"] == "retrain")
    assert alert["next"].startswith("do not decide by its answers")
    before = ws.table.cycles(NAME)
    weigh(load(ws, NAME))
    assert ws.table.cycles(NAME) == before and before[0][WORTHLESS]
