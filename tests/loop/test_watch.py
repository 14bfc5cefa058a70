"""Labels, when they come, decide about a new version; the data only where they have not."""

from __future__ import annotations

from dataclasses import replace

from selfheal.healing.labels.trials import LEAST
from selfheal.loop import Inspection, load, pending
from selfheal.loop.watch import watched_over
from selfheal.steering import promote
from selfheal.steering.look import last_look
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send

N = 200
FAR = START.replace(year=2027)


def window_of(ws, frame, labelled: int):
    """One window, answered by what serves, with this many labels."""
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    ids = send(ws, frame, 0)
    ws.table.add_labels(NAME, ids[:labelled], frame["y"].tolist()[:labelled], ws.clock())
    return pending(ws, NAME, FAR)[-1]


def watch(ws, ref, *problems: str):
    """What the watch says of a window in which the guards found these problems."""
    return watched_over(replace(load(ws, NAME).at(ref), seen=Inspection(problems)))


def test_labels_that_say_worse_roll_back(ws):
    promote(ws, NAME, 2, "flow", over=1)  # °C to °F, on data that are in °F
    ref = window_of(ws, rows(N, 1), 100)
    verdict = watch(ws, ref)
    assert (verdict.verdict, verdict.by, verdict.rolled_back) == ("worse", "labels", True)
    assert "100 labels" in verdict.reasons[0]
    assert last_look(ws, NAME).settled == 1


def test_labels_that_say_better_do_not(ws):
    promote(ws, NAME, 2, "flow", over=1)
    ref = window_of(ws, in_celsius(rows(N, 1), "temperature", "dew"), 100)
    verdict = watch(ws, ref)
    assert (verdict.verdict, verdict.by, verdict.rolled_back) == ("better", "labels", False)


def test_too_few_labels_leave_it_to_the_data(ws):
    promote(ws, NAME, 2, "flow", over=1)
    verdict = watch(ws, window_of(ws, rows(N, 1), LEAST - 1))
    assert (verdict.verdict, verdict.by) == ("worse", "data")


def test_a_window_that_was_closed_early_and_its_rest_use_one_window_of_the_watch_up(ws):
    promote(ws, NAME, 2, "flow", over=1)
    ref = window_of(ws, rows(N, 1), 0)
    ctx = replace(load(ws, NAME).at(ref), seen=Inspection())
    before = [{"index": ref.index - k, "swap": ctx.look.swap, "own_share": 1.0} for k in (2, 1)]
    assert watched_over(replace(ctx, cycles=tuple(before))).verdict == "none", "two of two are over"
    cut = before[0] | {"early": "data: temperature"}
    assert watched_over(replace(ctx, cycles=(cut, before[1]))).verdict == "worse"


def test_silence(ws):
    ref = window_of(ws, rows(N, 1), 0)
    assert watch(ws, ref).verdict == "none", "nobody has looked yet"
    promote(ws, NAME, 2, "flow", over=1)
    assert watch(ws, ref).verdict == "none", "the version before answered these rows"
    assert watch(ws, ref, "wind is missing").verdict == "none"
