from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfheal.errors import InputError
from selfheal.table import LabelReport, WindowRef

T0 = datetime(2020, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def everything(model: str) -> WindowRef:
    return WindowRef(model, 0, T0 - HOUR, T0 + HOUR, 0, 1, False)


def test_labels_join_before_and_after_their_row(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    assert table.add_labels("m", ["a", "b"], [1, 0], T0) == LabelReport(stored=0, pending=2, refused=0)
    table.append("m", **rows([T0] * 3, ids=["a", "b", "c"]))
    assert table.add_labels("m", ["c", "d"], [np.int64(1), True], T0) == LabelReport(stored=1, pending=1, refused=0)
    assert table.read(everything("m")).labels.to_dict() == {"a": 1.0, "b": 0.0, "c": 1.0}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(data=st.data(), labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=8))
def test_the_order_of_arrival_does_not_matter(table, rows, fresh_model, data, labels):
    """Rows and labels in any order: each row ends with its label of the latest time."""
    model = fresh_model(table)
    events = [("row", i, None, None) for i in range(4)]
    events += [("label", name, label, T0 + timedelta(seconds=s)) for s, (name, label) in enumerate(labels)]
    for kind, name, label, at in data.draw(st.permutations(events)):
        if kind == "row":
            table.append(model, **rows([T0], ids=[f"{model}-{name}"]))
        else:
            table.add_labels(model, [f"{model}-{name}"], [label], at)
    expected = {f"{model}-{name}": label for name, label in labels if name < 4}
    assert table.read(everything(model)).labels.dropna().to_dict() == expected


def test_the_labelled_rows_alone(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    assert len(table.labelled(everything("m")).frame) == 0
    table.append("m", **rows([T0, T0, T0 + 2 * HOUR, T0], ids=["a", "b", "later", "c"]))
    table.add_labels("m", ["c", "a", "later", "nowhere"], [1, 0, 1, 1], T0)
    found, whole = table.labelled(everything("m")), table.read(everything("m"))
    assert found.labels.to_dict() == {"a": 0.0, "c": 1.0}
    assert found.frame.equals(whole.frame.loc[["a", "c"]])
    assert table.labelled(everything("m"), limit=1).labels.to_dict() == {"a": 0.0}


def test_an_older_label_does_not_replace_a_newer(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    table.append("m", **rows([T0], ids=["a"]))
    table.add_labels("m", ["a"], [1], T0 + HOUR)
    assert table.add_labels("m", ["a", "b"], [0, 0], T0) == LabelReport(stored=0, pending=1, refused=1)
    assert table.read(everything("m")).labels.tolist() == [1.0]


@pytest.mark.parametrize(
    ("ids", "labels", "words"),
    [
        (["ok", ""], [1, 1], "'' is not a prediction id"),
        (["ok", 7], [1, 1], "7 is not a prediction id"),
        (["ok", "x" * 200], [1, 1], "x… is not a prediction id"),
        (["ok", "b"], [1, 2], r"label 2 of 'b' is not a class of 'm' \(0, 1\)"),
        (["ok", "b"], [1, "one"], "label 'one' of 'b' is not a class"),
        (["ok", "b"], [1, None], "label None of 'b' is not a class"),
        (["ok", "b"], [1, float("nan")], "label nan of 'b' is not a class"),
        (["ok", "b"], [1, [1]], r"label \[1\] of 'b' is not a class"),
        (["ok"], [1, 0], "1 prediction ids but 2 labels"),
        (["", "", "", "", ""], [1] * 5, r"\(and 2 more\); no label of this batch was stored"),
    ],
)
def test_malformed_labels_are_refused_by_name_and_none_is_stored(table, rows, house, ids, labels, words):
    table.create("m", house.dtypes, house.classes)
    table.append("m", **rows([T0], ids=["ok"]))
    with pytest.raises(InputError, match=words):
        table.add_labels("m", ids, labels, T0)
    assert table.read(everything("m")).labels.isna().all()


def test_labels_of_text_classes(table, rows, house):
    table.create("m", house.dtypes, ["dry", "rain", "snow"])
    sent = rows([T0] * 2, ids=["a", "b"])
    sent["probabilities"] = np.full((2, 3), 1 / 3)
    table.append("m", **sent)
    table.add_labels("m", ["a"], ["snow"], T0)
    labels = table.read(everything("m")).labels
    assert labels["a"] == "snow" and labels.isna().tolist() == [False, True]


def test_one_models_labels_are_not_anothers(table, rows, house):
    for name in ("m", "n"):
        table.create(name, house.dtypes, house.classes)
        table.append(name, **rows([T0], ids=["same"]))
    table.add_labels("m", ["same"], [1], T0)
    assert table.read(everything("n")).labels.isna().all()
    assert table.read(everything("m")).labels.tolist() == [1.0]


def test_many_labels_in_one_batch(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    ids = [f"i{i}" for i in range(12_000)]
    table.append("m", **rows([T0] * 6_000, ids=ids[:6_000]))
    assert table.add_labels("m", ids, [1] * len(ids), T0) == LabelReport(6_000, 6_000, 0)
