"""A log's own columns as the model's: one frame of known names and types, each row with what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from selfheal.errors import InputError, nearest
from selfheal.log.casting import can_be_number, is_text, micros, nothing, number, text, whole, without_zone
from selfheal.log.lists import OfLists
from selfheal.parts.lists import Lists
from selfheal.policy import Log
from selfheal.table.predictions import LONGEST_ID

ID, AT, ORDER, VERSION, WEIGHT = "id", "at", "order", "version", "weight"
NAIVE, WHY = "naive", "why"
KEYS = (AT, ID, ORDER)
"""What names and places a row."""

SUM_SLACK = 1e-3
"""How far probabilities of a row may be from adding up to 1: what four decimals of ten classes lose."""

_APART = "\x1f"


@dataclass(frozen=True)
class Layout:
    """What a model's rows look like, and where the log has them.

    Attributes
    ----------
    log
        The policy's section.
    where
        What to call the log in a message.
    dtypes
        Feature → ``"float" | "int" | "bool" | "str"``.
    classes
        Number of classes.
    nullable
        Features that may be missing.
    lists
        Columns of lists, each with the features that it may stand for.
    """

    log: Log
    where: str
    dtypes: Mapping[str, str]
    classes: int
    nullable: frozenset[str]
    lists: Lists = field(default_factory=dict)

    @property
    def probabilities(self) -> list[str]:
        """Names of the probabilities in a mapped frame; none where the log has none."""
        return [f"p{k}" for k in range(self.classes)] if self.log.columns.probabilities else []

    @property
    def raw(self) -> dict[str, str]:
        """Columns of the log that are needed beside the features: what they hold → their name there."""
        named = self.log.columns
        every = {ID: named.prediction_id, AT: named.event_time, ORDER: named.order}
        every |= {VERSION: named.version, WEIGHT: named.weight}
        raw = {key: name for key, name in every.items() if name is not None}
        return raw | {f"probabilities[{k}]": name for k, name in enumerate(named.probabilities)}

    def wanted(self, *, keys: bool) -> set[str]:
        """Names in the log of all columns to read, or of the keys alone."""
        if keys:
            return {name for key, name in self.raw.items() if key in KEYS}
        return {*self.raw.values(), *map(self.log.theirs, self.dtypes), *(each.name for each in self._lists)}

    def mapped(self, frame: pl.LazyFrame, *, keys: bool) -> pl.LazyFrame:
        """The log's rows with the columns ``at, naive``, ``id, order``, and all others with what is wrong in ``why``.

        Raises
        ------
        InputError
            A column that the policy names is not there, or holds something else.
        """
        schema = frame.collect_schema()
        self._refuse_missing(schema, keys=keys)
        names = self.raw
        time = pl.col(names[AT]), schema[names[AT]]
        columns = [
            micros(*time, f"column {names[AT]!r} of {self.where}").alias(AT),
            without_zone(*time).alias(NAIVE),
            text(pl.col(names[ID]), schema[names[ID]]).alias(ID),
            (whole(pl.col(names[ORDER]), schema[names[ORDER]]) if ORDER in names else pl.lit(None, pl.Int64)).alias(
                ORDER
            ),
        ]
        if keys:
            return frame.select(columns)
        wrong = [_reason(rows, reason, each.called) for each in self._lists for rows, reason in each.wrong(schema)]
        made = {name: value for each in self._lists for name, value in each.spread(schema).items()}
        if made:
            frame = frame.with_columns(value.alias(name) for name, (value, _) in made.items())
            schema = pl.Schema({**schema, **{name: dtype for name, (_, dtype) in made.items()}})
        return frame.select(columns + list(self._values(schema)) + [self._why(schema, wrong).alias(WHY)])

    @cached_property
    def _lists(self) -> list[OfLists]:
        theirs = self.log.theirs
        return [
            OfLists(theirs(name), name, tuple(map(theirs, columns)), self.nullable.issuperset(columns))
            for name, columns in self.lists.items()
        ]

    def empty(self, *, keys: bool) -> pl.DataFrame:
        """No row at all, in the columns of :meth:`mapped`."""
        columns: dict[str, type[pl.DataType]] = {AT: pl.Int64, ID: pl.String, ORDER: pl.Int64}
        if not keys:
            columns |= {f"f:{name}": pl.String if kind == "str" else pl.Float64 for name, kind in self.dtypes.items()}
            columns |= dict.fromkeys(self.probabilities, pl.Float64)
            columns |= {VERSION: pl.Int64, WEIGHT: pl.Float64, WHY: pl.String}
        return pl.DataFrame(schema=columns)

    def _refuse_missing(self, schema: Mapping[str, pl.DataType], *, keys: bool) -> None:
        for key, name in self.raw.items():
            if name not in schema and (not keys or key in KEYS):
                written = {ID: "prediction_id", AT: "event_time"}.get(key, key)
                raise InputError(
                    f"{self.where} has no column {name!r} (log.columns.{written}){nearest(name, schema)}; was it "
                    f"renamed or dropped? (columns: {', '.join(schema)})"
                )

    def _values(self, schema: Mapping[str, pl.DataType]) -> Iterator[pl.Expr]:
        names = self.raw
        for feature, dtype in self.dtypes.items():
            theirs = self.log.theirs(feature)
            if theirs not in schema:
                value = pl.lit(None, pl.String if dtype == "str" else pl.Float64)
            elif dtype == "str":
                value = text(pl.col(theirs), schema[theirs])
            else:
                value = number(pl.col(theirs), schema[theirs], dtype)
            yield value.alias(f"f:{feature}")
        for name, value in zip(self.probabilities, self._probabilities(schema), strict=True):
            yield value.alias(name)
        yield (
            whole(pl.col(names[VERSION]), schema[names[VERSION]]) if VERSION in names else pl.lit(None, pl.Int64)
        ).alias(VERSION)
        yield (number(pl.col(names[WEIGHT]), schema[names[WEIGHT]], "float") if WEIGHT in names else pl.lit(1.0)).alias(
            WEIGHT
        )

    def _probabilities(self, schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
        named = [number(pl.col(name), schema[name], "float") for name in self.log.columns.probabilities]
        return [1.0 - named[0], named[0]] if len(named) == 1 else named

    def _why(self, schema: Mapping[str, pl.DataType], of_lists: list[pl.Expr]) -> pl.Expr:
        """Reason and column of the first thing that is wrong with a row; null where nothing is."""
        names = self.raw
        identity = text(pl.col(names[ID]), schema[names[ID]])
        reasons = [_reason(identity.is_null() | ~identity.str.len_chars().is_between(1, LONGEST_ID), "id", names[ID])]
        reasons += of_lists
        for feature, dtype in self.dtypes.items():
            reasons += list(self._feature(feature, dtype, schema))
        shares = self._probabilities(schema)
        if shares:
            off = (pl.sum_horizontal(shares) - 1).abs() > SUM_SLACK
            for share in shares:
                off = off | share.is_null() | ~share.is_between(-SUM_SLACK, 1 + SUM_SLACK)
            reasons.append(_reason(off, "no probabilities", ", ".join(self.log.columns.probabilities)))
        if VERSION in names:
            version = pl.col(names[VERSION]), schema[names[VERSION]]
            reasons.append(_reason(whole(*version).is_null() & ~nothing(*version), "no version", names[VERSION]))
        if WEIGHT in names:
            weight = number(pl.col(names[WEIGHT]), schema[names[WEIGHT]], "float")
            reasons.append(_reason(weight.is_null() | weight.is_infinite() | (weight <= 0), "weight", names[WEIGHT]))
        return pl.coalesce(reasons)

    def _feature(self, feature: str, dtype: str, schema: Mapping[str, pl.DataType]) -> Iterator[pl.Expr]:
        theirs = self.log.theirs(feature)
        if theirs not in schema:
            yield pl.lit(f"missing column{_APART}{feature}")
            return
        column, kind = pl.col(theirs), schema[theirs]
        if dtype == "str":
            if feature not in self.nullable:
                yield _reason(column.is_null(), "null", feature)
            return
        read = number(column, kind, dtype)
        if is_text(kind) or not can_be_number(kind):
            yield _reason(read.is_null() & ~nothing(column, kind), "not a number", feature)
        if feature not in self.nullable:
            yield _reason(read.is_null(), "null", feature)
        yield _reason(read.is_infinite(), "not finite", feature)


def _reason(wrong: pl.Expr, reason: str, column: str) -> pl.Expr:
    return pl.when(wrong).then(pl.lit(f"{reason}{_APART}{column}"))


def reason_and_column(why: str) -> tuple[str, str]:
    """The two parts of a value of ``why``."""
    reason, column = why.split(_APART)
    return reason, column
