"""Columns of lists in a log, as the columns of numbers that each stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from selfheal.log.casting import number

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class OfLists:
    """One column of lists, by its names in the log.

    Attributes
    ----------
    name, called
        The column there, and how the model calls it.
    columns
        What its numbers are called there.
    nullable
        Whether a whole list may be missing.
    """

    name: str
    called: str
    columns: tuple[str, ...]
    nullable: bool

    def apart(self, schema: Schema) -> bool:
        """Whether its numbers are there one by one, in some rows at least."""
        return any(column in schema for column in self.columns)

    def spread(self, schema: Schema) -> dict[str, tuple[pl.Expr, pl.DataType]]:
        """Column → its values and their type; those that are there by themselves go before the list's."""
        if self.name not in schema:
            return {}
        cells, dtype = _cells(self.name, schema[self.name])
        made: dict[str, tuple[pl.Expr, pl.DataType]] = {}
        for place, column in enumerate(self.columns):
            value = pl.lit(None, pl.Float64) if cells is None else cells.list.get(place, null_on_oob=True)
            if column in schema:
                both = number(pl.col(column), schema[column], "float"), number(value, dtype, "float")
                made[column] = pl.coalesce(both), pl.Float64()
            else:
                made[column] = value, dtype
        return made

    def wrong(self, schema: Schema) -> Iterator[tuple[pl.Expr, str]]:
        """Which rows have no list of so many numbers, each with the reason."""
        if self.name not in schema:
            if not self.apart(schema):
                yield pl.lit(True), "missing column"
            return
        cells, there = _cells(self.name, schema[self.name])[0], pl.col(self.name).is_not_null()
        if cells is None:
            yield there, "not a list"
        else:
            yield there & (cells.list.len() != len(self.columns)), "wrong length"
        if not (self.nullable or self.apart(schema)):
            yield ~there, "null"


def _cells(name: str, dtype: pl.DataType) -> tuple[pl.Expr | None, pl.DataType]:
    """A column as lists, None where it holds none; and the type of what is in them."""
    if isinstance(dtype, pl.Array):
        return pl.col(name).arr.to_list(), _instance(dtype.inner)
    if isinstance(dtype, pl.List):
        return pl.col(name), _instance(dtype.inner)
    return None, pl.Float64()


def _instance(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
