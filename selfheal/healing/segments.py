"""Which rows are they? A part of a window, named by the columns and values that hold it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

FAITHFUL = 0.9
"""A name must hold this share of the rows, and this share of the rows that it holds must be of them."""

DEPTH = 2
"""Conditions of a name: a third would be remembered by nobody."""

MOST_WORDS = 30
"""Words of a column that are asked for, the most frequent first."""

CODES = 30
"""Different numbers up to which a column is also asked for each of them: `town = 3` says more than two thresholds."""

FEWEST = 10
"""Rows from which a part is worth a name."""


class _Code(float):
    """A number as people write it."""

    def __repr__(self) -> str:
        return f"{float(self):g}"


@dataclass(frozen=True)
class _Question:
    """A yes-or-no question about rows: a number above a threshold, a word or a code."""

    column: str
    values: NDArray[np.float64]
    word: object = None

    def answered(self, yes: bool, at: float) -> str:
        """The rows that answer it so, in words."""
        if self.word is not None:
            return f"{self.column} {'=' if yes else '<>'} {self.word!r}"
        return f"{self.column} {'>' if yes else '<='} {at:g}"


def named(rows: pd.DataFrame, part: NDArray[np.bool_], without: Collection[str] = ()) -> str:
    """The rows ``part`` [n] of a frame in words, such as ``country = 'IT'``; empty where no simple words hold them.

    Parameters
    ----------
    without
        Columns that may not be used: those that are broken in these rows.
    """
    questions = [q for c in rows.columns if c not in without for q in _questions(rows[c])]
    if not questions or not FEWEST <= part.sum() <= len(part) - FEWEST:
        return ""
    asked = np.column_stack([q.values for q in questions])
    tree = DecisionTreeClassifier(max_depth=DEPTH, min_impurity_decrease=1e-3, class_weight="balanced", random_state=0)
    leaves = tree.fit(asked, part).apply(asked)
    for leaf in np.unique(leaves):
        inside = leaves == leaf
        if part[inside].sum() >= FAITHFUL * part.sum() and part[inside].mean() >= FAITHFUL:
            return " and ".join(questions[j].answered(yes, at) for j, yes, at in _way(tree, int(leaf)))
    return ""


def levels(values: pd.Series, most: int) -> list[object]:
    """The words or codes of a column that has few, at most ``most`` of them, the most frequent first; else none."""
    known = values.dropna()
    numeric = pd.api.types.is_numeric_dtype(known)
    if not 2 <= known.nunique() <= min(most, CODES if numeric else MOST_WORDS):
        return []
    return [_Code(level) if numeric else level for level in known.value_counts().index]


def where(column: str, levels: Sequence[object]) -> str:
    """The rows in which a column has one of some levels, in words."""
    words = ", ".join(repr(level) for level in levels)
    return f"{column} = {words}" if len(levels) == 1 else f"{column} in ({words})"


def _questions(values: pd.Series) -> list[_Question]:
    name = str(values.name)
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return []
        above = _Question(name, np.where(np.isfinite(numbers), numbers, np.median(known)))
        codes = np.unique(known)
        each = (
            [_Question(name, (numbers == c).astype(float), _Code(c)) for c in codes] if 2 < len(codes) <= CODES else []
        )
        return [*each, above]
    text = values.astype(object).map(str)
    levels = text.value_counts().index[:MOST_WORDS]
    return [_Question(name, (text == level).to_numpy(dtype=np.float64), level) for level in levels]


def _way(tree: DecisionTreeClassifier, leaf: int) -> list[tuple[int, bool, float]]:
    """How a leaf is reached from the root: (question, answer, threshold) at every turn."""
    inner = tree.tree_
    way: list[tuple[int, bool, float]] = []
    while leaf:
        yes = leaf in inner.children_right
        parent = int(np.flatnonzero((inner.children_right if yes else inner.children_left) == leaf)[0])
        # Of two thresholds on one side of a number the one nearer to the leaf is the narrower.
        if (int(inner.feature[parent]), yes) not in [(j, answer) for j, answer, _ in way]:
            way.insert(0, (int(inner.feature[parent]), yes, float(inner.threshold[parent])))
        leaf = parent
    return way
