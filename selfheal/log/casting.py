"""What a format has lost comes back: numbers from text, text from categories, microseconds from any kind of time."""

from __future__ import annotations

import polars as pl

from selfheal.errors import InputError
from selfheal.parts.labels import FALSE, TRUE
from selfheal.table.values import EARLIEST, LATEST, to_us

_NOTHING = ("", "null", "none", "na", "n/a", "nan", "<na>")
_ZONED = "%Y-%m-%dT%H:%M:%S%.f%#z"
_DATE = r"^\s*\d{4}-\d{2}-\d{2}"
EXACT = 2.0**53
"""Whole numbers up to this are exact as doubles."""

# Seconds since 1970 reach 1e11 in the year 5138; milliseconds pass it in March 1973, and so on by thousands.
_EPOCH_UNITS = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0))


def is_text(dtype: pl.DataType) -> bool:
    """Whether values of the type are words."""
    return dtype == pl.String or dtype == pl.Categorical or isinstance(dtype, pl.Enum)


def number(column: pl.Expr, dtype: pl.DataType, wanted: str) -> pl.Expr:
    """Float64; null where there is nothing or no number. Words for truth are numbers where ``wanted`` is ``bool``."""
    if not is_text(dtype):
        return (column.cast(pl.Float64) if can_be_number(dtype) else pl.lit(None, pl.Float64)).fill_nan(None)
    words = column.cast(pl.String).str.strip_chars()
    read = words.cast(pl.Float64, strict=False).fill_nan(None)
    if wanted != "bool":
        return read
    lower = words.str.to_lowercase()
    return pl.when(lower.is_in(TRUE)).then(1.0).when(lower.is_in(FALSE)).then(0.0).otherwise(read)


def can_be_number(dtype: pl.DataType) -> bool:
    """Whether values of the type are numbers or truth values."""
    return dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null


def nothing(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether a number is missing, in whichever way the format says so."""
    if is_text(dtype):
        return column.is_null() | column.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(_NOTHING)
    return column.is_null() | column.is_nan() if dtype.is_float() else column.is_null()


def text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """String; a whole number that was read as a float loses its ``.0``."""
    if dtype.is_float():
        whole = (column == column.floor()) & (column.abs() < EXACT)
        return pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(
            column.fill_nan(None).cast(pl.String)
        )  # fmt: skip
    if dtype == pl.Boolean:
        return pl.when(column).then(pl.lit("True")).when(~column).then(pl.lit("False"))
    return column.cast(pl.String)


def whole(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Int64; null where there is no whole number."""
    if dtype.is_integer():
        return column.cast(pl.Int64)
    read = number(column, dtype, "int")
    return pl.when(read == read.floor()).then(read.cast(pl.Int64, strict=False))


def micros(column: pl.Expr, dtype: pl.DataType, where: str) -> pl.Expr:
    """Int64 microseconds since 1970; null where there is no time, or one that no clock can mean.

    Raises
    ------
    InputError
        The type says no zone, or is no time.
    """
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None:
            raise zoneless(where)
        at = column.dt.epoch("us")
    elif is_text(dtype):
        words = column.cast(pl.String).str.strip_chars().str.replace(" ", "T")
        at = pl.coalesce(
            words.str.to_datetime(_ZONED, strict=False, time_unit="us").dt.epoch("us"),
            _since_1970(words.cast(pl.Float64, strict=False)),
        )
    elif dtype.is_integer():
        # Larger numbers go through no double, which would lose their last digits.
        fine = pl.when(column.abs() >= 1e17).then(column // 1000).otherwise(column).cast(pl.Int64)
        at = pl.when(column.abs() >= 1e14).then(fine).otherwise(_since_1970(column.cast(pl.Float64)))
    elif dtype.is_numeric():
        at = _since_1970(column.cast(pl.Float64))
    elif dtype == pl.Null:
        at = pl.lit(None, pl.Int64)
    else:
        raise InputError(f"{where} holds {dtype}, which is no time; give a time with its zone, or seconds since 1970")
    return pl.when(at.is_between(to_us(EARLIEST), to_us(LATEST), closed="left")).then(at)


def without_zone(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether a text is a date or time that says no zone."""
    if not is_text(dtype):
        return pl.lit(False)
    words = column.cast(pl.String)
    zoned = words.str.strip_chars().str.replace(" ", "T").str.to_datetime(_ZONED, strict=False, time_unit="us")
    return words.str.contains(_DATE).fill_null(False) & zoned.is_null()


def zoneless(where: str) -> InputError:
    """What to say of a time without a zone."""
    return InputError(
        f"{where} holds times without a zone, so nobody can say when they were; write them with one "
        "(2026-01-31T12:00:00Z), or give a view or a copy that does"
    )


def _since_1970(seconds: pl.Expr) -> pl.Expr:
    """Microseconds from a number of seconds, ms, µs or ns, told apart by its size."""
    size, at = seconds.abs(), (seconds / 1000.0)
    for bound, factor in reversed(_EPOCH_UNITS):
        at = pl.when(size < bound).then(seconds * factor).otherwise(at)
    return at.round().cast(pl.Int64, strict=False)
