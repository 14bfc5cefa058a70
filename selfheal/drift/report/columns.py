"""The columns of a report as Evidently gets them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

SCORE = "(model score)"

ANGLES = str.maketrans({"<": "\u2039", ">": "\u203a", "\u2028": " ", "\u2029": " "})
"""Angle brackets become quotation marks that look like them, the two line ends that only scripts know, spaces."""


def plain(text: object, longest: int = 60) -> str:
    """Text that can't become markup: Evidently writes names and categories into a script element as they are."""
    shown = str(text).translate(ANGLES)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@dataclass(frozen=True)
class Column:
    """One column as Evidently gets it: ``title`` is the name it is shown by."""

    name: str
    title: str
    categorical: bool
    threshold: float
    reference: pd.Series
    current: pd.Series
