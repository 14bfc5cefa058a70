"""Rows that were scored, and their answer in MLflow's form."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfheal.serving.requests import Request
from selfheal.serving.scorer import Scorer


class Scored(NamedTuple):
    """What is answered.

    Attributes
    ----------
    request
        The rows, and what was said of them.
    proba
        float64 [n, k].
    scorer
        The version that answered.
    logged
        Whether the rows are in the log, or will be.
    ms
        How long it took.
    size
        Bytes of its body.
    """

    request: Request
    proba: NDArray[np.float64]
    scorer: Scorer
    logged: bool = True
    ms: float = 0.0
    size: int = 0

    def answer(self, frame: bool = False) -> dict[str, Any]:
        """The answer in MLflow's form; with ``frame`` rows by class."""
        rows: Any = self.proba.tolist()
        if frame:
            classes = [str(label) for label in self.scorer.signature.classes]
            rows = [dict(zip(classes, row, strict=True)) for row in rows]
        message = {"predictions": rows, "prediction_ids": self.request.ids, "model_version": self.scorer.version}
        if not self.logged:
            message["logged"] = False
        if self.request.ignored:
            message["ignored"] = self.request.ignored
        return message
