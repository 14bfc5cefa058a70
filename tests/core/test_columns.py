"""Columns of every kind that pandas has: made plain, or refused by name with the way out."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from selfheal.errors import InputError
from selfheal.parts.columns import kind, plain, with_nulls

DECIMAL = decimal.Decimal("1.5")
TAKEN: dict[str, tuple[Any, str, list[Any]]] = {
    "float32": (np.array([1.5, 2.5], dtype=np.float32), "float", [1.5, 2.5]),
    "Int64": (pd.array([1, 2], dtype="Int64"), "int", [1, 2]),
    "UInt8": (pd.array([1, 2], dtype="UInt8"), "int", [1, 2]),
    "Int64 with a gap": (pd.array([1, None], dtype="Int64"), "float", [1.0, np.nan]),
    "Float32 with a gap": (pd.array([0.5, None], dtype="Float32"), "float", [0.5, np.nan]),
    "boolean": (pd.array([True, False], dtype="boolean"), "bool", [True, False]),
    "boolean with a gap": (pd.array([True, None], dtype="boolean"), "float", [1.0, np.nan]),
    "category of text": (pd.Categorical(["a", "b"]), "str", ["a", "b"]),
    "category of text with a gap": (pd.Categorical(["a", None]), "str", ["a", np.nan]),
    "category of numbers": (pd.Categorical([3, 1]), "int", [3, 1]),
    "category of numbers with a gap": (pd.Categorical([3, None]), "float", [3.0, np.nan]),
    "string": (pd.array(["a", None], dtype="string"), "str", ["a", pd.NA]),
    "pyarrow's numbers": (pd.array([1, None], dtype="int64[pyarrow]"), "float", [1.0, np.nan]),
    "sparse": (pd.arrays.SparseArray([0.0, 1.0]), "float", [0.0, 1.0]),
    "objects that are numbers": (np.array([1, 2], dtype=object), "int", [1, 2]),
    "objects that are numbers, with a gap": (np.array([1, None], dtype=object), "float", [1.0, np.nan]),
    "objects that are booleans": (np.array([True, False], dtype=object), "bool", [True, False]),
    "decimals": (np.array([DECIMAL, decimal.Decimal(2)], dtype=object), "float", [1.5, 2.0]),
    "decimals with a gap": (np.array([DECIMAL, None], dtype=object), "float", [1.5, np.nan]),
    "pyarrow's decimals": (pd.array([DECIMAL, None], dtype=pd.ArrowDtype(pa.decimal128(4, 1))), "float", [1.5, np.nan]),
    "objects that are numbers, with NA": (np.array([1, pd.NA], dtype=object), "float", [1.0, np.nan]),
    "objects that are booleans, with NA": (np.array([True, pd.NA], dtype=object), "float", [1.0, np.nan]),
    "text with None": (np.array(["a", None], dtype=object), "str", ["a", None]),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_column_is_made_plain(what: str) -> None:
    values, dtype, wanted = TAKEN[what]
    frame = pd.DataFrame({"x": values, "y": [0, 1]}, index=[7, 9])
    made = plain(frame)
    assert kind(made["x"]) == dtype
    assert isinstance(made["x"].dtype, np.dtype)
    pd.testing.assert_series_equal(made["x"], pd.Series(wanted, index=[7, 9], name="x"), check_dtype=False)
    pd.testing.assert_frame_equal(plain(made), made)
    assert list(map(type, made["x"][made["x"].isna()])) == [type(v) for v in wanted if pd.isna(v)]


REFUSED: dict[str, tuple[Any, str]] = {
    "dates": (pd.to_datetime(["2026-01-01", "2026-01-02"]), r"'x' holds dates.*dt\.hour"),
    "dates with a zone": (pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True), r"'x' holds dates"),
    "dates as objects": (np.array([dt.date(2026, 1, 1), None], dtype=object), r"'x' holds dates"),
    "stamps as objects": (np.array([pd.Timestamp("2026-01-01"), None], dtype=object), r"'x' holds dates"),
    "dates as categories": (pd.Categorical(pd.to_datetime(["2026-01-01", "2026-01-02"])), r"'x' holds dates"),
    "pyarrow's dates": (pd.array([1, 2], dtype="timestamp[s][pyarrow]"), r"'x' holds dates"),
    "durations": (pd.to_timedelta([1, 2], unit="s"), r"'x' holds dates"),
    "periods": (pd.period_range("2026-01", periods=2, freq="M"), r"'x' holds dates"),
    "text and numbers": (np.array(["a", 1], dtype=object), r"'x' mixes a str \('a'\) and an int \(1\).*to_numeric"),
    "booleans and numbers": (np.array([True, 2], dtype=object), r"'x' mixes a bool \(True\) and an int"),
    "lists": (pd.Series([[1], [2]]), r"'x' holds a list, neither numbers"),
    "arrays": (pd.Series([np.ones(2), np.ones(2)]), r"'x' holds a ndarray, neither numbers"),
    "bytes": (np.array([b"a", b"b"], dtype=object), r"'x' holds a bytes"),
    "complex": (np.array([1j, 2j]), r"'x' holds a complex"),
    "intervals": (pd.interval_range(0, 2), r"'x' holds an Interval"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_column_that_no_store_holds_is_refused_by_name(what: str) -> None:
    values, said = REFUSED[what]
    with pytest.raises(InputError, match=said):
        plain(pd.DataFrame({"x": values, "y": [0, 1]}))


def test_columns_without_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"column 0 is named by an int.*astype\(str\)"):
        plain(pd.DataFrame(np.zeros((2, 2))))


def test_missing_texts_come_back_as_they_were() -> None:
    read = pd.DataFrame({"a": ["x", None], "b": ["x", None], "c": ["x", None]})
    made = with_nulls(read, {"a": "nan", "b": "NA"})
    assert isinstance(made["a"].iloc[1], float)
    assert made["b"].iloc[1] is pd.NA
    assert made["c"].iloc[1] is None
