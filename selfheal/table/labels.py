"""Late labels: they may come before or after their row, and any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from selfheal.errors import InputError, shown
from selfheal.parts.labels import Spelling
from selfheal.table.predictions import check_id
from selfheal.table.schema import LABELS, ModelSchema

_BATCH = 5_000
_SHOWN = 3


@dataclass(frozen=True)
class LabelReport:
    """What became of a batch of labels.

    Attributes
    ----------
    stored
        Labels now held whose prediction is in the table.
    pending
        Labels now held whose prediction is not there (yet); they join when it arrives.
    refused
        Labels not taken because a newer one for the same prediction is held.
    """

    stored: int
    pending: int
    refused: int


def checked_labels(schema: ModelSchema, ids: Sequence[Any], labels: Sequence[Any]) -> list[tuple[str, int]]:
    """Ids with the positions of their classes.

    Raises
    ------
    InputError
        If an id or a label is malformed, naming the first few; nothing is taken from such a batch.
    """
    if len(ids) != len(labels):
        raise InputError(f"{len(ids)} prediction ids but {len(labels)} labels; send one label per id")
    spelling = Spelling(schema.classes)
    problems: list[str] = []
    out: list[tuple[str, int]] = []
    for prediction_id, label in zip(ids, labels, strict=True):
        try:
            check_id(prediction_id)
        except InputError as error:
            problems.append(str(error))
            continue
        code = spelling.position(label)
        if code is None:
            known = ", ".join(repr(value) for value in schema.classes)
            problems.append(
                f"label {shown(label)} of {shown(prediction_id)} is not a class of {schema.model!r} ({known})"
            )
        else:
            out.append((prediction_id, code))
    if problems:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise InputError("; ".join(problems[:_SHOWN]) + f"{more}; no label of this batch was stored, send it corrected")
    return out


def store_labels(connection: sa.Connection, schema: ModelSchema, labels: list[tuple[str, int]], at: int) -> LabelReport:
    """Hold labels; of two for one prediction the one with the later ``at`` wins, whichever came first."""
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(LABELS)
    upsert = insert.on_conflict_do_update(
        index_elements=[LABELS.c.model, LABELS.c.prediction_id],
        set_={"label": insert.excluded.label, "at": insert.excluded.at},
        where=insert.excluded.at >= LABELS.c.at,
    )
    unique = dict(labels)  # the last one of a repeated id
    ids = list(unique)
    newer = there = 0
    for begin in range(0, len(ids), _BATCH):
        part = ids[begin : begin + _BATCH]
        held_newer = sa.select(LABELS.c.prediction_id).where(
            LABELS.c.model == schema.model, LABELS.c.prediction_id.in_(part), LABELS.c.at > at
        )
        not_taken = set(connection.execute(held_newer).scalars())
        newer += len(not_taken)
        taken = [name for name in part if name not in not_taken]
        if not taken:
            continue
        rows = [{"model": schema.model, "prediction_id": name, "label": unique[name], "at": at} for name in taken]
        connection.execute(upsert, rows)
        count = sa.select(sa.func.count()).where(schema.table.c.prediction_id.in_(taken))
        there += connection.execute(count).scalar_one()
    return LabelReport(stored=there, pending=len(ids) - newer - there, refused=newer)
