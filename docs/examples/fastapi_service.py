"""A FastAPI service of your own that follows: ``uvicorn fastapi_service:app``.

It serves what is settled, swaps within two seconds of a promotion, and logs what it answers, so that the loop finds
its windows in the model's own table.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pandas as pd
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

import selfheal

MODEL = os.environ.get("MODEL", "fraud")


class Rows(BaseModel):
    """What a client sends: features by name, and what it calls the rows."""

    rows: list[dict[str, Any]]
    ids: list[str] | None = None
    times: list[str] | None = None


@asynccontextmanager
async def follow(app: FastAPI) -> AsyncIterator[None]:
    """One follower for the life of the service; what waits to be logged is logged before it ends."""
    with selfheal.follow(MODEL, event_clock="EVENT_CLOCK" in os.environ) as follower:
        app.state.follower = follower
        yield


app = FastAPI(lifespan=follow)


@app.post("/score")
def score(sent: Rows, request: Request) -> dict[str, Any]:
    """Probabilities of the rows, and the one version that gave all of them."""
    try:
        answer = request.app.state.follower.answer(pd.DataFrame(sent.rows), sent.ids, sent.times)
    except selfheal.InputError as error:
        raise HTTPException(error.http_status, str(error)) from error
    return {
        "probabilities": answer.probabilities.tolist(),
        "ids": answer.prediction_ids,
        "version": answer.version,
    }


@app.get("/health")
def health(request: Request) -> dict[str, Any]:
    """What serves, and what is wrong; scoring goes on all the same."""
    follower = request.app.state.follower
    return {"version": follower.version, "trouble": follower.trouble}
