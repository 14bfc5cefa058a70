"""What only the owner of the data knows: did a column change its unit? One question, with the answers there are.

A moved instrument and a moved population may look the same to any test without labels. Its owner can say in a word
which of the two happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from selfheal.adapter import ColumnMap

Asks = Literal["", "fact", "labels", "approval"]

YES, NO, UNKNOWN = "yes", "no", "unknown"


@dataclass(frozen=True)
class Fact:
    """An answered question: whether columns went through these maps (raw → model units).

    Attributes
    ----------
    columns
        What was asked.
    holds
        Whether it is so.
    """

    columns: Mapping[str, ColumnMap]
    holds: bool


@dataclass(frozen=True)
class Question:
    """One question to one who knows.

    Attributes
    ----------
    text
        In one line; empty where nothing is asked.
    asks
        ``"fact"``: of the owner of the data; ``"labels"``: of one who knows the truth of a few rows.
    options
        The answers there are; ``"unknown"`` is always one.
    """

    text: str = ""
    asks: Asks = ""
    options: tuple[str, ...] = ()


NOTHING = Question()
"""Nothing is asked."""


def about_units(
    columns: Mapping[str, ColumnMap], others: Mapping[str, Sequence[ColumnMap]], rows: pd.DataFrame
) -> Question:
    """Whether columns changed as their maps say.

    Parameters
    ----------
    others
        Per column, conversions that the data cannot tell from the proposed one.
    rows
        Of the window; an index of times says when.
    """
    when = (
        f"at {rows.index[0]:%Y-%m-%d %H:%M}"
        if isinstance(rows.index, pd.DatetimeIndex)
        else f"in these {len(rows)} rows"
    )
    asked = "; ".join(_asked(column, one, when) for column, one in columns.items())
    open_ = {column: maps for column, maps in others.items() if maps}
    if len(columns) == 1 and open_:
        (column, one), *_ = columns.items()
        options = tuple(dict.fromkeys(m.describe() for m in (one, *open_[column])))
        return Question(f"How did `{column}` change {when}: {' or '.join(options)}?", "fact", (*options, NO, UNKNOWN))
    return Question(asked, "fact", (YES, NO, UNKNOWN))


def _asked(column: str, one: ColumnMap, when: str) -> str:
    raw, arrow, model = one.words.partition(" → ")
    if arrow:
        return f"Did `{column}` change from {model} to {raw} {when}?"
    return f"Did `{column}` change {when}, so that {one.describe()} gives back what it was?"


def about_labels(classes: Sequence[object]) -> Question:
    """Which class a few rows are of."""
    text = "Of which class are the rows on which both versions disagree? A handful of labels decides"
    return Question(text, "labels", (*map(str, classes), UNKNOWN))
