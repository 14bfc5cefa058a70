"""Late labels from a file."""

from __future__ import annotations

from pathlib import Path

from selfheal.errors import InputError, nearest
from selfheal.steering.workspace import Workspace
from selfheal.table import LabelReport

COLUMNS = ("prediction_id", "label")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text from traffic that a spreadsheet would read as a formula: files for people add an apostrophe."""


def add_labels(ws: Workspace, name: str, path: Path) -> LabelReport:
    """Add the labels of a CSV file with the columns ``prediction_id`` and ``label``; rows without a label are left out.

    Raises
    ------
    InputError
        The file can't be read or lacks a column, or an id or label is malformed: nothing of it is stored.
    NotFoundError
        No such model.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"labels {path} cannot be read: {error}; give a CSV with columns {', '.join(COLUMNS)}"
        ) from error
    for column in COLUMNS:
        if column not in rows:
            raise InputError(f"labels {path}: column {column!r} is missing{nearest(column, rows.columns)}")
    rows = rows[rows["label"].str.strip() != ""]  # of a file of rows that were asked about, those not filled in yet
    ids = [_as_sent(key) for key in rows["prediction_id"]]
    return ws.table.add_labels(name, ids, rows["label"].tolist(), ws.clock())


def _as_sent(key: str) -> str:
    """A prediction id without the apostrophe that keeps a spreadsheet from reading it as a formula."""
    return key[1:] if key[:1] == "'" and key[1:].startswith(FORMULA) else key
