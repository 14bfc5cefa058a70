"""Labels that are asked for say how right a window's answers were: drawn, kept, and honest whoever answers what."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from selfheal.errors import NotFoundError, RefusedError
from selfheal.loop import accuracy_told, add_labels, ask_labels, load, monitor, status
from selfheal.loop.records import LABELS_ASKED
from tests.steering.given import NAME, START, rows, send

FAR = START.replace(year=2028)


@pytest.fixture
def truth(ws) -> pd.Series:
    """A handled window; the truth of its rows by prediction id."""
    with pytest.raises(RefusedError, match="no window of 'toy' was handled yet"):
        ask_labels(ws, NAME, 5)
    sent = rows(200, 1)
    ids = send(ws, sent, 0)
    monitor(ws, NAME, FAR)
    return pd.Series(sent["y"].to_numpy(), ids)


def test_rows_are_drawn_and_their_labels_say_how_right_the_window_was(ws, truth: pd.Series) -> None:
    asked = ask_labels(ws, NAME, 20)
    assert (asked.window, len(asked.rows), asked.rows.index.is_unique) == (0, 20, True)
    assert accuracy_told(ws, NAME) is None and status(ws, NAME)["asked"] is None
    ws.table.add_labels(NAME, asked.rows.index.tolist(), truth[asked.rows.index].tolist(), ws.clock())
    told = accuracy_told(ws, NAME)
    assert told is not None and told["window"] == 0 and told["labels"] >= 20
    said = load(ws, NAME).source.read(ws.table.window(NAME, 0))
    right = (load(ws, NAME).model.decide(said.probabilities) == truth[said.frame.index].to_numpy()).mean()
    assert told["low"] <= right <= told["high"] and told["high"] - told["low"] < 0.5
    # A further draw asks about others, and what was asked before goes on counting.
    more = ask_labels(ws, NAME, 30, window=0)
    assert not set(more.rows.index) & set(asked.rows.index)
    ws.table.add_labels(NAME, more.rows.index.tolist(), truth[more.rows.index].tolist(), ws.clock())
    monitor(ws, NAME, FAR)  # which looks again whenever labels have come
    found = status(ws, NAME)["asked"]
    assert found["labels"] >= 50 and found["high"] - found["low"] < told["high"] - told["low"]
    notes = [e.intent["step"] for e in ws.table.journal(NAME, kind=LABELS_ASKED)]
    monitor(ws, NAME, FAR)
    steps = [e.intent["step"] for e in ws.table.journal(NAME, kind=LABELS_ASKED)]
    assert steps == notes == ["drawn", "told", "drawn", "told"]


def test_whoever_answers_only_what_is_right_makes_it_no_better(ws, truth: pd.Series, tmp_path: Path) -> None:
    asked = ask_labels(ws, NAME, 40)
    said = pd.Series(load(ws, NAME).model.predict(asked.rows), asked.rows.index)
    right = [key for key in asked.rows.index if said[key] == truth[key]][:25]
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["prediction_id", "label"])
        writer.writerows([key, truth[key] if key in right else ""] for key in asked.rows.index)
    assert add_labels(ws, NAME, file).stored == 25
    told = accuracy_told(ws, NAME)
    assert told is not None and told["value"] == 1.0 and told["labels"] >= 25
    assert told["low"] < 0.8, "those that were passed over count as wrong below"


def test_a_window_whose_rows_are_all_labelled_and_one_that_is_none(ws, truth: pd.Series) -> None:
    ws.table.add_labels(NAME, truth.index.tolist(), truth.tolist(), ws.clock())
    with pytest.raises(RefusedError, match="all 200 rows of window 0"):
        ask_labels(ws, NAME, 5)
    with pytest.raises(NotFoundError, match="7"):
        ask_labels(ws, NAME, 5, window=7)
