"""Labels of a log that lies elsewhere: those of their own place, and those that were sent here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from selfheal.errors import InputError, UnavailableError, nearest
from selfheal.log.casting import micros, text
from selfheal.log.rows import Bounded, Part, Rows, steadily
from selfheal.parts.labels import Spelling
from selfheal.policy import LogLabels
from selfheal.table.values import duration_us

CODE, WAIT = "code", "wait"
NONE = -1
"""Code of a row without a label."""


@dataclass(frozen=True)
class Labels:
    """The labels that a model's rows can have.

    Attributes
    ----------
    sent
        Asks for those that were sent here: id and position of the class.
    classes
        The class labels.
    place, rows
        The policy's section and how it is read; None where there is no other place.
    now
        The clock, µs: what became known after it is not known.
    tell
        Is told what is wrong with the other place, in words; empty where nothing is. Without it the loop goes on.
    """

    sent: Callable[[], Sequence[tuple[str, int]]]
    classes: tuple[Any, ...]
    place: LogLabels | None
    rows: Rows | None
    now: int
    tell: Callable[[str], None]

    def known(self) -> pl.DataFrame:
        """``id, code, wait``: one label for an id; it counts once its row is ``wait`` µs old."""
        here = pl.DataFrame(
            list(self.sent()), schema={"id": pl.String, CODE: pl.Int64}, orient="row"
        ).with_columns(pl.lit(0, pl.Int64).alias(WAIT))  # fmt: skip
        return pl.concat([here, *self._elsewhere()]).unique("id", keep="first", maintain_order=True)

    def codes(self, labels: pl.DataFrame, keys: pl.DataFrame) -> npt.NDArray[np.int64]:
        """Position of the class of each row (its ``id`` and ``at``), -1 where no label counts yet."""
        if labels.is_empty():
            return np.full(len(keys), NONE, dtype=np.int64)
        joined = keys.select("id", "at").join(labels, on="id", how="left", maintain_order="left")
        ripe = pl.col("at") + pl.col(WAIT) <= self.now
        return joined.select(pl.when(ripe).then(pl.col(CODE)).fill_null(NONE)).to_series().to_numpy()

    def _elsewhere(self) -> list[pl.DataFrame]:
        if self.place is None or self.rows is None:
            return []
        try:
            return self._there(self.place, self.rows)
        except (UnavailableError, InputError) as error:
            self.tell(str(error))
        return []

    def _there(self, place: LogLabels, rows: Rows) -> list[pl.DataFrame]:
        named = place.columns
        wanted = {named.prediction_id, named.label, *([named.known_at] if named.known_at else [])}

        def read() -> list[pl.DataFrame]:
            with closing(rows.scan(wanted, Part(), Bounded(time=named.known_at))) as frames:
                return [self._read(frame, place, rows.name) for frame in frames]

        tables = steadily(rows, read)
        if not tables:
            return []
        every = pl.concat(tables)
        strange = every.filter(pl.col(CODE).is_null())
        self.tell(self._strange(strange, rows.name) if len(strange) else "")
        known = every.filter(pl.col(CODE).is_not_null(), pl.col("known") <= self.now)
        newest_first = known.sort("known", descending=True)
        wait = duration_us(place.matures)
        return [newest_first.select("id", CODE, pl.lit(wait, pl.Int64).alias(WAIT))]

    def _read(self, frame: pl.LazyFrame, place: LogLabels, where: str) -> pl.DataFrame:
        named, schema = place.columns, frame.collect_schema()
        for key, name in (("prediction_id", named.prediction_id), ("label", named.label), ("known_at", named.known_at)):
            if name is not None and name not in schema:
                raise InputError(
                    f"{where} has no column {name!r} (log.labels.columns.{key}){nearest(name, schema)}; "
                    f"columns: {', '.join(schema)}"
                )
        known: pl.Expr = pl.lit(self.now, pl.Int64)
        if named.known_at is not None:
            column = f"column {named.known_at!r} of {where}"
            known = micros(pl.col(named.known_at), schema[named.known_at], column)
        read = frame.select(
            text(pl.col(named.prediction_id), schema[named.prediction_id]).alias("id"),
            text(pl.col(named.label), schema[named.label]).str.strip_chars().alias("label"),
            known.alias("known"),
        ).collect()
        said = pl.col("id").is_not_null() & pl.col("label").is_not_null() & (pl.col("label") != "")
        spelling = Spelling(self.classes)
        codes = {label: spelling.position(label) for label in read["label"].unique() if label is not None}
        code = pl.col("label").replace_strict(codes, default=None, return_dtype=pl.Int64)
        return read.filter(said).select("id", "label", code.alias(CODE), "known")

    def _strange(self, rows: pl.DataFrame, where: str) -> str:
        classes = ", ".join(map(repr, self.classes))
        return (
            f"{where}: {len(rows)} labels such as {rows['label'][0]!r} of {rows['id'][0]!r} are no class of the model "
            f"({classes}) and do not count; does log.labels.columns.label name the right column?"
        )
