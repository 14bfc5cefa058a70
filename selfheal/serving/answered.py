"""What was answered, as rows for the log: the same of a request over HTTP and of a frame that a follower scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from selfheal.serving.requests import Request
from selfheal.serving.scorer import Floats, Scorer
from selfheal.serving.spill import Row


def answered_rows(order: Sequence[str], request: Request, scorer: Scorer, proba: Floats, ms: float) -> list[Row]:
    """Rows ready for the log.

    Parameters
    ----------
    order
        The features as the log's table has them, which may differ from the order of a base that was adopted later.
    proba
        What was answered, float64 [n, k].
    ms
        How long it took.
    """
    if request.lists is not None and order == scorer.numeric:
        tail = (scorer.version, ms)
        asked = zip(request.ids, request.times, request.lists, proba.tolist(), strict=True)
        return [(name, at, *row, *scores, *tail) for name, at, row, scores in asked]
    columns: dict[str, Any] = dict(zip(scorer.numeric, request.numbers.T.tolist(), strict=True))
    if scorer.signature.nullable:
        for name in scorer.signature.nullable.intersection(columns):
            columns[name] = [None if math.isnan(value) else value for value in columns[name]]
    columns.update(zip(scorer.texts, request.words, strict=True))
    features = [columns[name] for name in order]
    scores = proba.T.tolist()
    return list(zip(request.ids, request.times, *features, *scores, repeat(scorer.version), repeat(ms), strict=False))
