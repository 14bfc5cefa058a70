"""What a model takes and gives: its columns, their kinds, the gaps that they may have, the classes.

Who only holds rows against it needs neither torch nor, where they are good, pandas.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from selfheal.errors import InputError, nearest
from selfheal.parts.lists import Lists, raw_names, spread, spread_frame, spread_names

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

REFUSES = (ValueError, TypeError, KeyError)
"""What transformers raise on rows."""

LISTED = 20
"""Columns that a message lists."""


@dataclass(frozen=True, eq=False)
class Signature:
    """Columns and classes of one model.

    Attributes
    ----------
    features
        The columns, in the model's order.
    dtypes
        Column → ``"bool"``, ``"int"``, ``"float"`` or ``"str"``.
    nullable
        Columns that have gaps in the reference.
    target
        Name of the label column.
    classes
        The sorted labels [k].
    lists
        Columns of lists that may be given in place of the features that each stands for.
    """

    features: tuple[str, ...]
    dtypes: Mapping[str, str]
    nullable: frozenset[str]
    target: str
    classes: tuple[Any, ...]
    lists: Lists = field(default_factory=dict)

    @property
    def raw(self) -> tuple[str, ...]:
        """The columns as the reference had them: lists in place of what they stand for."""
        return raw_names(self.features, self.lists)

    def knows(self, name: str) -> bool:
        """Whether it is a feature, or a column of lists."""
        return name in self.dtypes or name in self.lists

    def check_columns(self, names: Collection[str]) -> None:
        """Refuse columns among which one of the features is missing, naming it; or is there twice, in a list too."""
        names = spread_names(names, self.lists) if self.lists else names
        for column in self.features:
            if column not in names:
                others = [c for c in names if c not in self.dtypes]
                absent = [name for name, each in self.lists.items() if column in each and not {*each} & {*names}]
                column = absent[0] if absent else column
                needed = ", ".join(self.raw[:LISTED]) + (", …" if len(self.raw) > LISTED else "")
                raise InputError(
                    f"column {column!r} is missing{nearest(column, others)} (needed: {needed})",
                    reason="missing column",
                    column=column,
                )

    def checked(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
        """The feature columns of ``frame`` in order, numbers as numbers; and the numeric ones float64 [n, d].

        Columns of lists are taken in place of those that they stand for.

        Raises
        ------
        InputError
            No DataFrame; or naming column, row and value: a missing column, text in a number, NaN or an infinity in a
            column that had none in the reference.
        """
        import pandas as pd

        from selfheal.parts import columns as kinds

        if not isinstance(frame, pd.DataFrame):
            raise _no_frame(frame)
        self.check_columns(frame.columns)
        columns = self.spread_frame(frame)[list(self.features)]
        numeric = [c for c in self.features if self.dtypes[c] != "str"]
        odd = {c: columns[c] for c in self.features if not kinds.is_plain(columns[c], self.dtypes[c])}
        if odd:
            made = {c: v.astype(object) if self.dtypes[c] == "str" else kinds.as_numbers(v) for c, v in odd.items()}
            columns = columns.assign(**made)
        values = columns[numeric].to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            kinds.refuse_non_finite(values, numeric, self.nullable)
        return columns, values

    def spread(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Values by column, with columns of numbers for each of lists; see :func:`selfheal.parts.lists.spread`."""
        return spread(columns, self.lists, self.nullable) if self.lists else columns

    def spread_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The same of a frame, which stays as it is where it has no list."""
        return spread_frame(frame, self.lists, self.nullable) if self.lists else frame


def _no_frame(rows: object) -> InputError:
    """That something is no frame, and how to make one of it."""
    if isinstance(rows, Mapping):
        single = all(isinstance(value, str) or not hasattr(value, "__len__") for value in rows.values())
        remedy = "pd.DataFrame([row])" if single else "pd.DataFrame(rows)"
    elif hasattr(rows, "to_pandas"):
        remedy = "rows.to_pandas()"
    else:
        remedy = "pd.DataFrame(rows, columns=list(model.features))"
    what = f"{type(rows).__module__.partition('.')[0]}.{type(rows).__name__}"
    return InputError(
        f"rows are of type {what.removeprefix('builtins.')}, and a pandas.DataFrame with the model's columns is "
        f"wanted: {remedy}"
    )
