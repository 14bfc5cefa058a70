"""The columns of a reference, as every store can hold them: numbers, booleans and text, missing values among them."""

from __future__ import annotations

import datetime as dt
import decimal
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.errors import InputError, nearest, shown

MOST = 1_500
"""Columns and classes together: PostgreSQL's tables have at most 1,600, and the log adds a few."""

_NULLS: dict[str, Any] = {"none": None, "nan": np.nan, "NA": pd.NA}
_TIMES = (dt.date, dt.time, dt.timedelta, np.datetime64, np.timedelta64, pd.Period)


def kind(column: pd.Series[Any]) -> str:
    """``"bool"``, ``"int"``, ``"float"`` or ``"str"``: how a plain column is logged."""
    return {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(column.dtype.kind, "str")


def is_plain(column: pd.Series[Any], dtype: str) -> bool:
    """Whether a column is numpy's own, and of numbers where numbers are wanted."""
    return isinstance(column.dtype, np.dtype) and (dtype == "str" or column.dtype.kind in "fiub")


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numpy's dtypes only: pandas' nullable ones, categories and numbers in object columns undone.

    Parameters
    ----------
    frame : DataFrame [n, d]

    Returns
    -------
    DataFrame [n, d] of bool, int, float and object columns, the latter of text; a missing number is NaN, a missing
    text what it was (None, NaN or NA).

    Raises
    ------
    InputError
        Naming the column: its name is no text, it holds dates, mixes types, or holds neither numbers nor text.
    """
    for name in frame.columns:
        if not isinstance(name, str):
            raise InputError(
                f"reference: column {name!r} is named by {_a(type(name))}, and a request names columns by text; set "
                "frame.columns = frame.columns.astype(str) before fitting the preprocessing, too"
            )
    made = {name: _plain(frame[name]) for name in frame.columns}
    if all(made[name].dtype == frame[name].dtype for name in made):
        return frame
    return pd.DataFrame(made, index=frame.index, columns=frame.columns)


def as_float(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Numbers float64 [n] of a numeric column of any of pandas' dtypes; missing ones are NaN."""
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64)
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def numpy_only(frame: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """The frame with the features among its columns in numpy's dtypes, whatever they hold: none is refused."""
    odd = [c for c in features if c in frame.columns and not isinstance(frame[c].dtype, np.dtype)]
    if not odd:
        return frame
    numeric = {
        c: frame[c].dtype.kind in "fiub" for c in odd
    }  # a missing boolean is NA, which is neither true nor false
    return frame.assign(**{c: as_float(frame[c]) if numeric[c] else frame[c].astype(object) for c in odd})


def as_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column that ought to hold numbers, as float64; missing ones are NaN.

    Raises
    ------
    InputError
        Naming column, row and value of the first that is none.
    """
    values = column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
    numbers = pd.to_numeric(values, errors="coerce")
    bad = numbers.isna() & column.notna()
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        words = f"column {column.name!r}, row {row}: {shown(column.iloc[row])} is not a number"
        raise InputError(words, reason="not a number", column=str(column.name))
    return pd.Series(as_float(numbers), index=column.index, name=column.name)


def as_fitted(columns: pd.DataFrame, nulls: Mapping[str, Any]) -> pd.DataFrame:
    """Rows with a missing text as the fitted transformer knows it."""
    made: dict[str, Any] = {}
    for name, null in nulls.items():
        missing = columns[name].isna()
        if missing.any():
            made[name] = columns[name].astype(object).mask(missing, null)
    return columns.assign(**made) if made else columns


def only(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A frame's columns in this order; itself where it has them so."""
    return frame if frame.columns.tolist() == list(columns) else frame[list(columns)]


def transformed(step: Any, columns: pd.DataFrame) -> Any:
    """What a transformer makes of rows; scikit-learn's that were fitted to an array get one, for they warn of names."""
    first = step
    while type(first).__name__ == "Pipeline" and first.steps:
        first = first.steps[0][1]
    unnamed = hasattr(step, "n_features_in_") and not hasattr(step, "feature_names_in_")
    numbers = all(isinstance(dtype, np.dtype) and dtype.kind in "iufb" for dtype in columns.dtypes)
    bare = unnamed and numbers and type(first).__module__.startswith("sklearn.")
    return step.transform(columns.to_numpy(dtype=np.float64) if bare else columns)


def dense(made: Any) -> NDArray[np.float64]:
    """What a transformer made, sparse or not, as an array [n, d]."""
    return np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)


def null_kind(value: Any) -> str:
    """``"none"``, ``"nan"`` or ``"NA"``: which of the three a missing text is."""
    return "none" if value is None else "NA" if value is pd.NA else "nan"


def with_nulls(frame: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """The frame with each named column's missing texts as they were, which Parquet does not tell apart."""
    texts = {name: frame[name].astype(object) for name in kinds}
    return frame.assign(**{name: texts[name].where(texts[name].notna(), _NULLS[kinds[name]]) for name in kinds})


def classes_of(labels: pd.Series[Any], named: Sequence[Any] | NDArray[Any] | None) -> NDArray[Any]:
    """The sorted class labels [k]: those of the reference, or all that are named.

    Raises
    ------
    InputError
        Fewer than two; or the named ones are not sorted, differ in kind from the reference's, or lack one of them.
    """
    classes = np.unique(labels.to_numpy())
    if len(classes) < 2:
        raise InputError(f"reference: {labels.name!r} has {len(classes)} class; a classifier needs two or more")
    if named is None:
        return classes
    made = [value.item() if hasattr(value, "item") else value for value in named]
    known = classes.tolist()
    if len({type(value) for value in [*made, *known]}) != 1:
        raise InputError(
            f"classes: {shown(made)} are not of the kind of the reference's labels {shown(known)}; give the same kind"
        )
    if made != sorted(set(made)):
        raise InputError(
            f"classes: {shown(made)} are not sorted, and the head's outputs are taken in the order of sorted labels; "
            "put the head's outputs in that order, or name the labels so that they sort as the head has them"
        )
    missing = [value for value in known if value not in made]
    if missing:
        raise InputError(f"classes: {shown(missing[0])} is a label of the reference, and not among {shown(made)}")
    return np.array(made, dtype=object if classes.dtype == object else None)


def target_of(reference: pd.DataFrame, name: str | None) -> str:
    """The label's column, which must be one of the reference's; no column of it comes twice.

    Raises
    ------
    InputError
    """
    if name is None:
        raise InputError("which column is the label? pass target=..., or set target: in the policy")
    if name not in reference.columns:
        raise InputError(f"target {name!r} is no column of the reference{nearest(name, reference.columns)}")
    if reference.columns.duplicated().any():
        raise InputError(f"reference: column {reference.columns[reference.columns.duplicated()][0]!r} appears twice")
    return name


def refuse_non_finite(values: NDArray[np.float64], names: Sequence[str], nullable: Collection[str]) -> None:
    """Refuse infinities, and NaN in columns that had none in the reference.

    Parameters
    ----------
    values
        float64 [n, d], a column for each of ``names``.
    nullable
        Columns that have gaps in the reference.

    Raises
    ------
    InputError
        Naming column, row and value.
    """
    for j, column in enumerate(names):
        bad = np.isinf(values[:, j]) if column in nullable else ~np.isfinite(values[:, j])
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"column {column!r}, row {row}: {values[row, j]} is not a finite number, and the reference has "
                f"none there ({int(bad.sum())} such rows); send a number, or leave the row out",
                reason="null" if np.isnan(values[row, j]) else "not finite",
                column=column,
            )


def refuse_many(features: Collection[str], classes: int) -> None:
    """Refuse more columns than a table of the log can have."""
    if len(features) + classes > MOST:
        raise InputError(
            f"{len(features)} columns and {classes} classes are more than the {MOST} that a table of the prediction "
            "log can have; select or compress columns before the model"
        )


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _plain(pd.Series(np.asarray(column), index=column.index, name=column.name))
    if pd.api.types.is_datetime64_any_dtype(dtype) or dtype.kind == "m" or isinstance(dtype, pd.PeriodDtype):
        raise _no_date(str(column.name), str(dtype))
    if dtype.kind == "O":
        return _of_objects(column.astype(object))
    if dtype.kind not in "fiub":
        raise _neither(column)
    return column if isinstance(dtype, np.dtype) else _of_numbers(column, dtype.kind)


def _of_numbers(column: pd.Series[Any], dtype_kind: str) -> pd.Series[Any]:
    """A nullable column of numbers or booleans, as numpy has it."""
    if column.isna().any() or dtype_kind == "f":
        return pd.Series(as_float(column), index=column.index, name=column.name)
    return column.astype({"b": np.bool_, "i": np.int64, "u": np.uint64}[dtype_kind])


def _of_objects(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of Python objects: all text, or all numbers, or refused by name."""
    present = column[column.notna()]
    kinds = set(map(type, present))
    if all(issubclass(one, str) for one in kinds):
        return column
    column = column.where(column.notna(), np.nan)  # of a gap None may be one, NA none
    if all(issubclass(one, bool | np.bool_) for one in kinds):
        return column.astype(np.float64 if len(present) < len(column) else np.bool_)
    if any(issubclass(one, _TIMES) for one in kinds):
        raise _no_date(str(column.name), _a(next(one for one in kinds if issubclass(one, _TIMES))))
    if all(_is_number(one) for one in kinds):
        whole = len(present) == len(column) and all(issubclass(one, numbers.Integral) for one in kinds)
        return column.astype(np.int64 if whole else np.float64)
    if len(kinds) == 1:
        raise _neither(column)
    raise _mixed(column, present)


def _is_number(one: type) -> bool:
    return issubclass(one, numbers.Real | decimal.Decimal) and not issubclass(one, bool | np.bool_)


def _mixed(column: pd.Series[Any], present: pd.Series[Any]) -> InputError:
    first = present.iloc[0]
    other = next(value for value in present if type(value) is not type(first))
    return InputError(
        f"reference: column {column.name!r} mixes {_a(type(first))} ({shown(first)}) and {_a(type(other))} "
        f"({shown(other)}), which no table can hold; make it one of them before fitting, too, with "
        f"pd.to_numeric(frame[{column.name!r}]) or frame[{column.name!r}].astype(str)"
    )


def _neither(column: pd.Series[Any]) -> InputError:
    present = column[column.notna()]
    what = _a(type(present.iloc[0])) if len(present) else str(column.dtype)
    return InputError(
        f"reference: column {column.name!r} holds {what}, neither numbers, booleans nor text; make it a number "
        "(.astype(float)), or text (.astype(str)), or columns of numbers"
    )


def _no_date(name: str, what: str) -> InputError:
    return InputError(
        f"reference: column {name!r} holds dates or times ({what}). A model has numbers, booleans and text: give what "
        f"it reads of them as columns of their own, such as frame[{name!r}].dt.hour, .dt.dayofweek or the days since a "
        "fixed date, and when a row happened as the request's event_time"
    )


def _a(one: type) -> str:
    return f"a {one.__name__}" if one.__name__[0].lower() not in "aeiou" else f"an {one.__name__}"
