"""Rules: SQL predicates over columns that vote for a class. Data, never code.

A rule is weak supervision: where its predicate holds it votes, elsewhere it abstains. A NULL (or NaN) in a
compared column makes the predicate NULL, which is an abstention, as in SQL's WHERE.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selfheal.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

ABSTAIN = -1
"""The entry of a vote matrix where a rule says nothing."""

# What would make a row's vote depend on other rows, or on tables: aggregates, windows, row counts, sub-queries.
_NOT_ROWWISE = {"Agg", "Over", "Window", "SubPlan", "Range", "Len", "Eval"}


@lru_cache(maxsize=512)
def parse(when: str) -> pl.Expr:
    """Parse one SQL predicate into a vectorised expression.

    Raises
    ------
    InputError
        If it is not one expression of one row's columns (functions that are not SQL's, statements,
        sub-queries, aggregates and window functions are refused).

    >>> parse("amount > 400 AND merchant_type = 'gift_card'").meta.root_names()
    ['amount', 'merchant_type']
    """
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        expression = pl.sql_expr(when)
        tree = json.loads(expression.meta.serialize(format="json"))
    except PolarsError as error:
        raise InputError(
            f"rule predicate {when!r} is not an SQL expression: {error}; "
            "write a comparison over columns such as amount > 400 AND kind = 'gift', and quote odd column names"
        ) from error
    if _NOT_ROWWISE & set(_words(tree)):
        raise InputError(
            f"rule predicate {when!r} looks beyond its own row (a sub-query, an aggregate or a window function); "
            "a rule may use only the columns of the row it votes on"
        )
    if not expression.meta.root_names():
        raise InputError(f"rule predicate {when!r} names no column; a rule must depend on the row it votes on")
    return expression


def _words(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from _words(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _words(value)
    elif isinstance(tree, str):
        yield tree


@dataclass(frozen=True)
class Probation:
    """What the heal of a new rule may do until labels confirm the rule.

    Attributes
    ----------
    share
        Of the window's rows, that the rule may cover.
    time
        Event time after which an unconfirmed heal is taken back.
    """

    share: float
    time: dt.timedelta


@dataclass(frozen=True)
class Rule:
    """One weak label source.

    Attributes
    ----------
    name
        Unique within its policy.
    when
        SQL predicate over the model's columns, in model units.
    vote
        The class label it votes for where the predicate holds.
    knowledge
        ``"record"``: trusted as far as its precision on the reference goes. ``"new"``: about a pattern that the
        reference never saw, trusted as declared.
    precision
        Declared share of right votes of a ``new`` rule, in (0.5, 1].
    until_confirmed
        What its heal may do before labels confirm it; None where it is trusted as declared.
    """

    name: str
    when: str
    vote: Any
    knowledge: Literal["record", "new"] = "record"
    precision: float = 0.9
    until_confirmed: Probation | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the predicate reads, each once, in order of appearance."""
        return tuple(dict.fromkeys(parse(self.when).meta.root_names()))

    def fires(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Where the predicate holds.

        Parameters
        ----------
        frame : DataFrame [n, d] in model units.

        Returns
        -------
        bool [n]

        Raises
        ------
        InputError
            If a column is missing or of a type that the predicate cannot compare.
        """
        import polars as pl
        from polars.exceptions import PolarsError

        for column in self.columns:
            if column not in frame.columns:
                raise InputError(
                    f"rule {self.name!r} reads column {column!r}, which is not there{nearest(column, frame.columns)}"
                )
        table = pl.from_pandas(frame[list(self.columns)].reset_index(drop=True), nan_to_null=True)
        try:
            mask = table.select(fires=parse(self.when).fill_null(False))["fires"]
        except PolarsError as error:
            raise InputError(f"rule {self.name!r}: {self.when!r} cannot be evaluated: {error}") from error
        if mask.dtype != pl.Boolean:
            raise InputError(f"rule {self.name!r}: {self.when!r} gives {mask.dtype}, not true or false")
        return np.asarray(mask.to_numpy(), dtype=bool)


def votes(rules: Sequence[Rule], frame: pd.DataFrame, classes: Sequence[Any]) -> NDArray[np.int64]:
    """The vote matrix.

    Returns
    -------
    int [n, m] with values in {-1, 0, ..., k-1}: entry (i, j) is the index in ``classes`` that rule j votes for on
    row i, or -1 where it abstains.
    """
    index = {label: i for i, label in enumerate(classes)}
    matrix = np.full((len(frame), len(rules)), ABSTAIN, dtype=np.int64)
    for j, rule in enumerate(rules):
        matrix[rule.fires(frame), j] = index[rule.vote]
    return matrix


def coverage(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of rows on which each rule votes: float [m]; 0 for an empty window."""
    share: NDArray[np.float64] = (matrix != ABSTAIN).sum(axis=0) / max(len(matrix), 1)
    return share


def conflict(matrix: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each rule's votes that the model contradicts: float [m], NaN for a rule that never voted.

    Parameters
    ----------
    matrix : int [n, m], see :func:`votes`.
    predicted : int [n], the model's class index per row.
    """
    voted = matrix != ABSTAIN
    against = (voted & (matrix != predicted[:, None])).sum(axis=0)
    share: NDArray[np.float64] = np.full(matrix.shape[1], np.nan)
    np.divide(against, voted.sum(axis=0), out=share, where=voted.any(axis=0))
    return share


@dataclass(frozen=True)
class RuleRecord:
    """What the labelled reference says of one rule: its precision (NaN if it never fired) and coverage."""

    name: str
    precision: float
    coverage: float
    fired: int


def record(rules: Sequence[Rule], frame: pd.DataFrame, labels: Sequence[Any]) -> list[RuleRecord]:
    """Each rule's record on labelled rows (``frame`` in model units, ``labels`` [n])."""
    truth = np.asarray(labels)
    records = []
    for rule in rules:
        fired = rule.fires(frame)
        precision = float((truth[fired] == rule.vote).mean()) if fired.any() else float("nan")
        records.append(RuleRecord(rule.name, precision, float(fired.mean()) if len(fired) else 0.0, int(fired.sum())))
    return records
