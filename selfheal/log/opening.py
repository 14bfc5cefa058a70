"""Open the log that a policy names."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import TYPE_CHECKING

from selfheal.errors import InputError
from selfheal.log import kinds
from selfheal.log.foreign import Foreign, Keeper
from selfheal.log.later import Labels
from selfheal.log.layout import Layout
from selfheal.log.rows import Rows
from selfheal.policy import Log, LogLabels
from selfheal.table import InferenceTable
from selfheal.table.values import to_us

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel

_REFERENCE = re.compile(r"\$\{(\w+)\}")


def open_log(
    log: Log, table: InferenceTable, model: MonitoredModel, name: str, keeper: Keeper, now: datetime
) -> Foreign:
    """The source that a policy's ``log:`` describes; nothing is read yet.

    Parameters
    ----------
    table
        The state.
    model, name
        Whose columns, and what it is called.
    keeper
        What a log does not say of itself, and who is told how it stands.
    now
        The clock.

    Raises
    ------
    InputError
        The place cannot be one: an unset variable, a URL that is none.
    """
    rows = open_rows(log)
    for theirs, ours in log.rename.items():
        if not model.signature.knows(ours):
            raise InputError(
                f"log.rename calls {theirs!r} by {ours!r}, and the model was adopted without a column of lists of "
                f"that name; name each of its columns, such as {ours}_0"
            )
    classes = tuple(label.item() if hasattr(label, "item") else label for label in model.classes_)
    return Foreign(
        table=table,
        model=name,
        rows=rows,
        layout=Layout(
            log, rows.name, dict(model.dtypes), len(classes), frozenset(model.nullable), model.signature.lists
        ),
        labels=Labels(
            sent=lambda: table.elsewhere.labels(name),
            classes=classes,
            place=log.labels,
            rows=None if log.labels is None else open_rows(log.labels),
            now=to_us(now),
            tell=keeper.tell_labels,
        ),
        keeper=keeper,
        refused_words=model.refused_words if model.coded else None,
    )


def open_rows(place: Log | LogLabels) -> Rows:
    """The folder or table of a place, by the first of the :mod:`~selfheal.log.kinds` that it is of.

    Raises
    ------
    InputError
        As :func:`open_log`.
    """
    where = _REFERENCE.sub(_from_environment, place.source)
    return next(kind for kind in kinds.every() if kind.fits(place, where)).rows(place, where)


def _from_environment(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise InputError(f"log.from takes {match[0]} from the environment, where it is not set; set {match[1]}")
    return value
