"""Labels, when they come, decide about a new version; the data only where they have not."""

from __future__ import annotations

import numpy as np
import pytest

from selfheal.lifecycle import pending, promote, watch
from selfheal.lifecycle.look import last_look
from selfheal.lifecycle.watch import LABELLED, loss
from tests.lifecycle.given import NAME, POLICY, START, in_celsius, rows, send, toy

N = 200
FAR = START.replace(year=2027)


def window_of(ws, frame, labelled: int):
    """One window, answered by what serves, with this many labels."""
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    ids = send(ws, frame, 0)
    ws.table.add_labels(NAME, ids[:labelled], frame["y"].tolist()[:labelled], ws.clock())
    return pending(ws, NAME, FAR)[-1]


def test_labels_that_say_worse_roll_back(ws):
    promote(ws, NAME, 2, "flow", over=1)  # °C to °F, on data that are in °F
    ref = window_of(ws, rows(N, 1), 100)
    verdict = watch(ws, NAME, ref)
    assert (verdict.verdict, verdict.by, verdict.rolled_back) == ("worse", "labels", True)
    assert "100 labelled rows" in verdict.reasons[0]
    assert last_look(ws, NAME).settled == 1


def test_labels_that_say_better_do_not(ws):
    promote(ws, NAME, 2, "flow", over=1)
    ref = window_of(ws, in_celsius(rows(N, 1), "temperature", "dew"), 100)
    verdict = watch(ws, NAME, ref)
    assert (verdict.verdict, verdict.by, verdict.rolled_back) == ("better", "labels", False)


def test_too_few_labels_leave_it_to_the_data(ws):
    promote(ws, NAME, 2, "flow", over=1)
    verdict = watch(ws, NAME, window_of(ws, rows(N, 1), LABELLED - 1))
    assert (verdict.verdict, verdict.by) == ("worse", "data")


def test_silence(ws):
    ref = window_of(ws, rows(N, 1), 0)
    assert watch(ws, NAME, ref).verdict == "none", "nobody has looked yet"
    promote(ws, NAME, 2, "flow", over=1)
    assert watch(ws, NAME, ref).verdict == "none", "the version before answered these rows"
    assert watch(ws, NAME, ref, problems=["wind is missing"]).verdict == "none"


@pytest.mark.parametrize(("cost", "expected"), [(None, [0, 1, 1, 0]), ((1, 5), [0, 1, 5, 0])])
def test_loss_counts_what_the_policy_says_an_error_costs(cost, expected):
    policy = {} if cost is None else {"cost": {"false_positive": cost[0], "false_negative": cost[1]}}
    model = toy().with_policy(policy)
    warm, cold = [90.0, 85.0, 9.0], [30.0, 20.0, 9.0]
    frame = rows(4, 0).drop(columns="y")
    frame.loc[:] = [warm, warm, cold, cold]
    assert loss(model, frame, np.array([1.0, 0.0, 1.0, 0.0])).tolist() == expected
