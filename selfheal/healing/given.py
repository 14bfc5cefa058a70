"""What is handed to a heal: refused where it is of another kind, with the remedy, and read as columns of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import pandas as pd

from selfheal.errors import InputError, nearest, shown
from selfheal.healing.facts import Fact
from selfheal.input_map import bounded
from selfheal.model import MonitoredModel
from selfheal.parts.columns import numpy_only
from selfheal.parts.within import Within


def spread(model: MonitoredModel, given: Any) -> Any:
    """Frames with columns of numbers for those of lists; several as several, and what is no frame as it is."""
    if isinstance(given, list | tuple):
        return [spread(model, one) for one in given]
    return model.signature.spread_frame(given) if isinstance(given, pd.DataFrame) else given


def refuse_unlike(
    model: MonitoredModel, window: object, recent: pd.DataFrame | Sequence[pd.DataFrame] | None, facts: Sequence[Fact]
) -> None:
    """Refuse what is not of the kind that is asked for, by name. Columns that the window lacks are a data fault.

    Raises
    ------
    InputError
        Naming the window, the column and the remedy.
    """
    given: list[object] = [recent] if isinstance(recent, pd.DataFrame) else list(() if recent is None else recent)
    for words, frame in [("window", window), *((f"recent, window {n}", past) for n, past in enumerate(given))]:
        if not isinstance(frame, pd.DataFrame):
            raise InputError(f"{words} is of type {type(frame).__name__}; give a DataFrame with the model's columns")
        if twice := [c for c in model.features if (frame.columns == c).sum() > 1]:
            raise InputError(f"{words}: column {twice[0]!r} is there twice; give each feature once", column=twice[0])
        lacking = [c for c in model.features if c not in frame.columns]
        if lacking and frame is not window:
            raise InputError(
                f"{words}: column {lacking[0]!r} is missing{nearest(lacking[0], frame.columns)}; give healthy windows "
                "with every feature, as model.model_units(rows) leaves them",
                reason="missing column",
                column=lacking[0],
            )
        if frame is not window:
            _refuse_unhealthy(model, words, frame)
    for fact in facts if isinstance(facts, list | tuple) else [facts]:
        if not isinstance(fact, Fact):
            raise InputError(
                f"facts: {shown(fact)} is of type {type(fact).__name__}, and no answer; give those of an earlier "
                "outcome: facts=outcome.answers['yes']"
            )


def lenient(model: MonitoredModel) -> MonitoredModel:
    """The model for rows that nobody has sent, as tried conversions make them: it scores them all."""
    other = copy(model)
    other.preprocess = None if model.preprocess is None else Within(model)
    return other


def in_numpy(
    model: MonitoredModel, recent: pd.DataFrame | Sequence[pd.DataFrame] | None
) -> pd.DataFrame | Sequence[pd.DataFrame] | None:
    """Healthy windows in columns of numpy, with what preprocessing refuses left out."""

    def plain(past: pd.DataFrame) -> pd.DataFrame:
        strange = model.refused_words(past)
        kept = past[~np.logical_or.reduce([*strange.values()])] if strange else past
        return bounded(numpy_only(kept, model.features))

    if recent is None or isinstance(recent, pd.DataFrame):
        return None if recent is None else plain(recent)
    return [plain(past) for past in recent]


def _refuse_unhealthy(model: MonitoredModel, words: str, past: pd.DataFrame) -> None:
    """Refuse a healthy window with text for a number, or without any value where the reference has no gaps."""
    for column in (c for c in model.features if model.dtypes[c] != "str" and past[c].dtype == object):
        text = past[column][pd.to_numeric(past[column], errors="coerce").isna() & past[column].notna()]
        if len(text):
            raise InputError(
                f"{words}: column {column!r} holds {str(text.iloc[0])[:40]!r} in {len(text)} of {len(past)} rows where "
                "a number belongs: such a window is not healthy; leave it out, or give model.model_units(rows)",
                reason="not a number",
                column=column,
            )
    suspects = [] if past.empty else [c for c in model.features if c not in model.nullable and pd.isna(past[c].iat[0])]
    for column in suspects:
        if past[column].isna().all():
            raise InputError(
                f"{words}: column {column!r} has no value in any of {len(past)} rows, and the reference has no gaps "
                "there: such a window is not healthy; leave it out",
                reason="null",
                column=column,
            )
