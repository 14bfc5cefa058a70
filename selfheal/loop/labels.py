"""Late labels from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfheal.errors import InputError, nearest
from selfheal.steering.workspace import Workspace
from selfheal.table import LabelReport

COLUMNS = ("prediction_id", "label")


def add_labels(ws: Workspace, name: str, path: Path) -> LabelReport:
    """Add the labels of a CSV file with the columns ``prediction_id`` and ``label``.

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
    classes = {str(c): c for c in ws.table.schema(name).classes}
    labels = [class_named(text, classes) for text in rows["label"]]
    return ws.table.add_labels(name, rows["prediction_id"].tolist(), labels, ws.clock())


def class_named(text: str, classes: Mapping[str, Any]) -> Any:
    """A text as the class it names: by its name, else as the number that it is (1.0 for 1), else the text itself."""
    if text in classes:
        return classes[text]
    try:
        return float(text)
    except ValueError:
        return text
