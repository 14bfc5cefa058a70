"""The maintain flow: what a model needs though no window closes. On a day's schedule, by hand, or when labels come."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import wording
from flows.events import Events
from flows.runs import BUSY, alone, ended, rename, step, workspace
from selfheal import loop
from selfheal.alerts import tell
from selfheal.errors import BusyError
from selfheal.loop.maintain import forgotten, look_back, summary


@flow(name="maintain", flow_run_name="{model} maintain")
def maintain(model: str) -> dict[str, Any]:
    """Settle the stages, let late labels and rows speak, judge what was decided, delete what is kept no longer.

    Returns
    -------
    dict
        See :func:`selfheal.loop.maintain.summary`; empty where another run is at work, which does the same.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away.
    """
    ws = workspace()
    try:
        with alone(ws, model):
            before = loop.load(ws, model)
            after = step(look_back)(ws, model)
            record = summary(before, after, step(forgotten)(after))
    except BusyError as error:
        return ended(BUSY, str(error), {})
    finally:
        tell(ws, model, [Events()])  # no monitor run has finished: that is not marked
    words = wording.maintained(record)
    rename(f"{model} maintain: {words}")
    return ended("Maintained", words, record)
