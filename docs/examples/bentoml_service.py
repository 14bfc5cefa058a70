"""A BentoML service of your own that follows: ``bentoml serve bentoml_service:Score``.

It serves what is settled, swaps within two seconds of a promotion, and logs what it answers. Each worker has a follower
of its own.
"""

import os
from typing import Any

import bentoml
import pandas as pd

import selfheal

MODEL = os.environ.get("MODEL", "fraud")


@bentoml.service
class Score:
    """Rows by name of their features in, probabilities out."""

    def __init__(self) -> None:
        self.follower = selfheal.follow(MODEL, event_clock="EVENT_CLOCK" in os.environ)

    @bentoml.api
    def score(
        self, rows: list[dict[str, Any]], ids: list[str] | None = None, times: list[str] | None = None
    ) -> dict[str, Any]:
        """Probabilities of the rows, and the one version that gave all of them."""
        try:
            answer = self.follower.answer(pd.DataFrame(rows), ids, times)
        except selfheal.InputError as error:
            raise bentoml.exceptions.InvalidArgument(str(error)) from error
        return {
            "probabilities": answer.probabilities.tolist(),
            "ids": answer.prediction_ids,
            "version": answer.version,
        }

    @bentoml.on_shutdown
    def close(self) -> None:
        """What waits to be logged is logged before the worker ends."""
        self.follower.close()
