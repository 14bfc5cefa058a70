"""However a label is written, each door joins it to the same class or refuses it by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfheal.errors import InputError
from selfheal.healing.labels.rows import class_index
from selfheal.parts.labels import Spelling
from selfheal.table.labels import checked_labels
from selfheal.table.schema import model_schema
from tests.healing.worlds import linear

JOINED: list[tuple[list[Any], Any, int]] = [
    *(([0, 1], one, 1) for one in (1, 1.0, True, np.True_, np.int8(1), "1", " 1 ", "1.0", "true", "TRUE", "Yes", "t")),
    *(([0, 1], none, 0) for none in (0, False, "0", "0.0", "False", "no", "N", "f")),
    *(([False, True], one, 1) for one in (1, True, "True", "true", "1", "yes")),
    *((["no", "yes"], one, 1) for one in ("yes", "YES ", True, "true", 1)),
    *((["0", "1"], one, 1) for one in ("1", 1, 1.0, True, "1.0", "true")),
    *((["dry", "Rain"], one, 1) for one in ("Rain", "rain", " RAIN")),
    ([1, 2, 3], "2", 1), ([1, 2, 3], True, 0),
]  # fmt: skip
REFUSED: list[tuple[list[Any], Any]] = [
    *(([0, 1], bad) for bad in ("maybe", 2, 0.5, "", "0,1", "nan", float("nan"), None, [1], {"a": 1}, 10**400, b"1")),
    *(([1, 2, 3], bad) for bad in ("yes", False, "0")),
    *((["dry", "rain"], bad) for bad in (1, True, "yes", "snow")),
]  # fmt: skip


@pytest.mark.parametrize(("classes", "label", "position"), JOINED)
def test_what_means_a_class(classes: list[Any], label: Any, position: int) -> None:
    assert Spelling(classes).position(label) == position


@pytest.mark.parametrize(("classes", "label"), REFUSED)
def test_what_means_none(classes: list[Any], label: Any) -> None:
    assert Spelling(classes).position(label) is None


def test_letters_alone_tell_two_classes_apart_only_as_they_are_written() -> None:
    assert [Spelling(["A", "a"]).position(label) for label in ("a", "A", " a", "01")] == [1, 0, None, None]
    assert [Spelling(["01", "1"]).position(label) for label in ("01", "1", 1)] == [0, 1, None], "either, by its number"


@pytest.mark.parametrize("label", [True, "true", "Yes", "1", 1.0, "maybe", 2, [1]])
def test_a_label_that_is_sent_and_one_that_is_given_to_a_heal_mean_the_same(label: Any) -> None:
    """Files and logs elsewhere: tests/log/test_labels.py, tests/loop/test_audit.py."""
    model, schema = linear(3).model, model_schema("m", {"x": "float"}, [0, 1])
    given = pd.Series([0, label], dtype=object)
    if Spelling([0, 1]).position(label) is None:
        with pytest.raises(InputError, match="is not a class of"):
            checked_labels(schema, ["a", "b"], given.tolist())
        with pytest.raises(InputError, match="is no class of the model"):
            class_index(model, given)
    else:
        assert checked_labels(schema, ["a", "b"], given.tolist()) == [("a", 0), ("b", 1)]
        assert class_index(model, given).tolist() == [0, 1]
