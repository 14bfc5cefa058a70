"""A file scored piece by piece: its columns are kept; each row gets its probabilities, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from selfheal.errors import InputError, RefusedError, SelfhealError, UnavailableError, shown
from selfheal.following.copies import COPIES
from selfheal.log.casting import nothing, number, text
from selfheal.log.places import FORMATS
from selfheal.model import MonitoredModel
from selfheal.parts.lists import as_table
from selfheal.serving.scorer import Floats

PIECE = 20_000
"""Rows in memory at once: tens of MB of 20 columns, and so many that a piece costs little beside its rows."""

VERSION = "model_version"


@dataclass(frozen=True)
class Scored:
    """What was done.

    Attributes
    ----------
    model, version
        What scored.
    rows
        How many rows.
    source, target
        The files.
    columns
        The columns that were added.
    """

    model: str
    version: int
    rows: int
    source: Path
    target: Path
    columns: list[str]


def score_file(
    model: MonitoredModel,
    version: int,
    source: Path,
    target: Path,
    *,
    force: bool = False,
    tell: Callable[[int, int | None], None] = lambda done, total: None,
) -> Scored:
    """Score every row of a Parquet, CSV or JSON lines file into another one of the same format.

    Parameters
    ----------
    model, version
        What scores, and its number.
    source, target
        The target appears whole or not at all. Its columns are the source's, a ``p_<class>`` per class and
        ``model_version``.
    force
        Whether a target that is there is replaced.
    tell
        Called with the rows done so far, and with all that there are where the format says.

    Raises
    ------
    InputError
        A row cannot be scored; a column is missing, or there already; the formats differ or are none.
    RefusedError
        The target is there.
    UnavailableError
        A file cannot be read or written.
    """
    kind = _format(source)
    if _format(target) != kind:
        raise InputError(f"{target} is written in the format of {source}; let its name end in {source.suffix}")
    if not target.parent.is_dir():
        raise InputError(f"directory {str(target.parent)!r} does not exist; create it first")
    if target.exists() and not force:
        raise RefusedError(f"{target} is there already; --force replaces it, or choose another name")
    added = [*(f"p_{label}" for label in model.classes_.tolist()), VERSION]
    done = 0
    with _errors_named(source, target), _whole(target) as draft, closing(COPIES[kind](source, draft, added)) as copy:
        for features, kept in copy.pieces(model.features, PIECE, tuple(model.signature.lists)):
            copy.add(kept, _probabilities(model, features, f"{source}, rows from {done:,} on"), version)
            done += len(features)
            tell(done, copy.total)
    return Scored(model.name or "", version, done, source, target, added)


def _format(path: Path) -> str:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path} is of no format that is read; its name must end in one of {', '.join(FORMATS)}")
    return kind


def _probabilities(model: MonitoredModel, features: pl.DataFrame, where: str) -> Floats:
    if not len(features):
        return np.empty((0, len(model.classes_)))
    try:
        proba = model.predict_proba(_typed(model, features))
        if not np.isfinite(proba).all():
            row = int(np.argmin(np.isfinite(proba).all(axis=1)))
            raise InputError(f"row {row}: the model gives no probability; a value is missing, or too large")
    except SelfhealError as error:
        raise InputError(f"{where}: {error}") from error
    return proba


def _typed(model: MonitoredModel, features: pl.DataFrame) -> pd.DataFrame:
    """The features as the model's reference has them, whatever the format has lost; read as a log is read."""
    model.signature.check_columns(features.columns)
    for name, columns in model.signature.lists.items():
        if name in features.columns:
            table = as_table(features[name].to_list(), name, columns, gaps=model.nullable)
            features = features.drop(name).with_columns(map(pl.Series, columns, table.T))
    made, wrong = [], []
    for name, kind in model.dtypes.items():
        column, dtype = pl.col(name), features.schema[name]
        if kind == "str":
            made.append(text(column, dtype).alias(name))
            continue
        value = number(column, dtype, kind)
        made.append(value.alias(name))
        wrong.append((value.is_null() & ~nothing(column, dtype)).alias(name))
    for bad in features.select(wrong).iter_columns():
        if bad.any():
            row = int(bad.arg_max() or 0)
            raise InputError(f"column {bad.name!r}, row {row}: {shown(features[bad.name][row])} is not a number")
    return features.select(made).to_pandas()


@contextmanager
def _errors_named(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8: {error}") from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, SelfhealError):
            raise
        raise UnavailableError(
            f"{source} cannot be scored into {target}: {error}; is it whole, and is there room?"
        ) from error


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A draft beside the target, which takes its name in the end, or is gone."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
