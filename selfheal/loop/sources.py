"""Where the rows of a model are read from, by its policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from selfheal.errors import InputError
from selfheal.log import OwnTable, Source
from selfheal.loop.logged import LABELS, note_standing, note_trouble
from selfheal.policy import Policy
from selfheal.steering.models import load_version, serving_model
from selfheal.steering.served import served_since
from selfheal.steering.workspace import Workspace
from selfheal.table.values import to_us

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


def source_of(ws: Workspace, name: str, policy: Policy, until: datetime | None = None) -> Source:
    """The log of a model: the one that its policy names, else the own table. What befalls it is journaled.

    Parameters
    ----------
    until
        The clock of a replay: what became known after it is not known; by default the wall's.

    Raises
    ------
    InputError
        The policy's place cannot be one.
    """
    log = policy.foreign
    if log is None:
        return OwnTable(ws.table, name)
    from selfheal.log.foreign import Keeper, Standing
    from selfheal.log.opening import open_log

    now = until or ws.clock()

    def since() -> Sequence[tuple[int, int]]:
        return [(to_us(at), version) for at, version in served_since(ws, name)]

    def predict(version: int, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        return load_version(ws, name, version).predict_proba(frame)

    def tell(standing: Standing | str) -> None:
        if isinstance(standing, str):
            note_trouble(ws, name, standing)
        else:
            note_standing(ws, name, policy.monitor, standing, now)

    def labels(reason: str) -> None:
        note_trouble(ws, name, reason, LABELS)

    try:
        return open_log(log, ws.table, serving_model(ws, name)[0], name, Keeper(since, predict, tell, labels), now)
    except InputError as error:
        note_trouble(ws, name, str(error))
        raise
