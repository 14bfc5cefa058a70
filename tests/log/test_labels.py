"""Labels of a log elsewhere: from a place of their own, when they became known, and what was sent here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from tests.log.given import END, FILES, closed, csv, frame, parquet
from tests.steering.given import NAME, START

THERE = {"prediction_id": "claim", "label": "fraud", "known_at": "closed"}


def claims(n: int = 50) -> pd.DataFrame:
    """A label a row, each known half an hour after its row."""
    at = [START + timedelta(minutes=i + 30) for i in range(n)]
    return pd.DataFrame({
        "claim": [f"r{i}" for i in range(n)], "fraud": [i % 2 for i in range(n)], "closed": pd.to_datetime(at, utc=True)
    })  # fmt: skip


@pytest.fixture
def labelled(source, tmp_path: Path):
    """The source with labels in a folder of their own; ``now`` in minutes."""
    parquet(frame(), tmp_path / "log", "a")

    def opened(now: int = 600, **more):
        place = {"from": str(tmp_path / "claims"), "columns": THERE} | more
        return source(now=START + timedelta(minutes=now), labels=place)

    return opened


@pytest.mark.parametrize("kind", [k for k in FILES if k in ("parquet", "csv")])
@pytest.mark.parametrize(
    "words", [str, float, bool, int, ("no", "Yes").__getitem__], ids=["1", "1.0", "True", "int", "Yes"]
)
def test_a_label_is_a_class_however_it_is_written(kind, words, labelled, tmp_path) -> None:
    held = claims()
    FILES[kind](held.assign(fraud=held["fraud"].map(words)), tmp_path / "claims", "a")
    here = labelled()
    (ref,) = closed(here)
    assert here.read(ref).labels.tolist() == [i % 2 for i in range(50)]
    assert here.labelled_windows([0]) == {0: 50} and len(here.labelled(ref).frame) == 50


def test_labels_join_by_id_in_whatever_order_they_come(labelled, tmp_path) -> None:
    """And those of ids that no row has are nobody's."""
    strangers = claims(9).assign(claim=[f"q{i}" for i in range(9)], fraud=1)
    held = pd.concat([claims(), strangers]).sample(frac=1, random_state=0)
    csv(held, tmp_path / "claims", "a")
    here = labelled()
    (ref,) = closed(here)
    assert here.read(ref).labels.tolist() == [i % 2 for i in range(50)]
    assert here.labelled_windows([0]) == {0: 50}


def test_a_label_is_known_from_its_day_on(labelled, tmp_path) -> None:
    parquet(claims(), tmp_path / "claims", "a")
    (ref,) = closed(labelled())
    counts = {now: labelled(now).labelled_windows([0]).get(0, 0) for now in (20, 29, 30, 45, 79)}
    assert counts == {20: 0, 29: 0, 30: 1, 45: 16, 79: 50}
    assert labelled(45).read(ref).labels.notna().sum() == 16


def test_a_label_that_takes_its_time_counts_when_its_row_is_that_old(labelled, tmp_path) -> None:
    """What is known sooner comes sooner for one class."""
    held = claims()
    held["closed"] = START
    parquet(held, tmp_path / "claims", "a")
    (ref,) = closed(labelled())
    found = labelled(90, matures="1h").read(ref).labels
    assert found.notna().tolist() == [i <= 30 for i in range(50)]


def test_of_several_the_latest_counts_and_what_was_sent_here_first(labelled, tmp_path) -> None:
    held = claims(4).assign(fraud=0)
    later = held.assign(fraud=1, closed=held["closed"] + timedelta(hours=1))
    parquet(pd.concat([later, held]), tmp_path / "claims", "a")
    here = labelled()
    (ref,) = closed(here)
    assert here.read(ref).labels.tolist()[:4] == [1, 1, 1, 1]
    here.table.add_labels(NAME, ["r2"], [0], END)
    assert labelled().read(ref).labels.tolist()[:5] == [1, 1, 0, 1, pytest.approx(float("nan"), nan_ok=True)]


def test_labels_that_were_sent_here_need_no_place(source, tmp_path) -> None:
    parquet(frame(), tmp_path / "log", "a")
    here = source()
    (ref,) = closed(here)
    assert here.first_labelled(0) is None and here.labelled_windows([0]) == {}
    here.table.add_labels(NAME, ["r7", "r9"], [1, 0], END)
    here.table.record_cycle(NAME, 0, {"decision": "stable"})
    again = source()
    assert again.first_labelled(0) == 0 and again.first_labelled(1) is None
    assert again.labelled(ref).frame.index.tolist() == ["r7", "r9"]
    assert again.labelled(ref).labels.tolist() == [1, 0]


def complaint(here) -> str:
    """What was last said of the place of labels."""
    return here.keeper.tell_labels.__self__[-1]


def test_what_is_wrong_with_labels_is_said_and_stops_no_window(labelled, tmp_path) -> None:
    csv(claims(3).assign(fraud=["0", "1", "maybe"]), tmp_path / "claims", "a")
    here = labelled()
    (ref,) = closed(here)
    assert here.read(ref).labels.tolist()[:2] == [0, 1] and here.labelled_windows([0]) == {0: 2}
    assert "1 labels such as 'maybe' of 'r2' are no class of the model (0, 1)" in complaint(here)

    here.table.add_labels(NAME, ["r2"], [0], END)
    csv(claims(3).rename(columns={"closed": "closed_at"}), tmp_path / "claims", "a")
    here = labelled()
    assert here.read(ref).labels.dropna().to_dict() == {"r2": 0}
    assert "no column 'closed' (log.labels.columns.known_at); did you mean 'closed_at'" in complaint(here)

    (tmp_path / "claims" / "a.csv").unlink()
    (tmp_path / "claims").rmdir()
    here = labelled()
    assert here.labelled_windows([0]) == {0: 1} and "is its disk mounted" in complaint(here)
    csv(claims(3), tmp_path / "claims", "a")
    here = labelled()
    assert here.labelled_windows([0]) == {0: 3} and complaint(here) == ""
