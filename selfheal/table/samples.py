"""Bounded samples of past windows, in model units: what drift is judged against."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from selfheal.errors import NotFoundError
from selfheal.table.cycles import amend_cycle
from selfheal.table.schema import SAMPLES
from selfheal.table.state import insert_into
from selfheal.table.windows import spread

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 2_000
"""Rows kept of a window: where the yardstick's quantiles stop moving, and about 150 kB at 20 columns."""
SAMPLES_KEPT = 12
"""Windows kept of each kind, healthy and not; the yardstick asks for six."""
HEALTHY = frozenset({"healthy", "cleared"})
"""What a window's health is, by its record, where its sample belongs to the yardstick."""


def keep(connection: sa.Connection, model: str, index: int, frame: pd.DataFrame, healthy: bool) -> None:
    """Keep rows spread evenly over a window; drop the oldest samples of the same kind."""
    buffer = io.BytesIO()
    rows = frame.iloc[spread(len(frame), SAMPLE_ROWS)].reset_index(drop=True)
    rows.to_parquet(buffer, engine="pyarrow", index=False)
    values = {"model": model, "window_index": index, "healthy": healthy, "parquet": buffer.getvalue()}
    insert = insert_into(connection, SAMPLES).values(values)
    key = [SAMPLES.c.model, SAMPLES.c.window_index]
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_={k: insert.excluded[k] for k in values}))
    kinds = (SAMPLES.c.healthy.is_(True), SAMPLES.c.healthy.is_(False))
    old = sa.or_(*(kind & SAMPLES.c.window_index.not_in(_newest(model, kind)) for kind in kinds))
    connection.execute(SAMPLES.delete().where(SAMPLES.c.model == model, old))


def _newest(model: str, kind: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    """The windows of a kind whose samples are kept."""
    newest = sa.select(SAMPLES.c.window_index).where(SAMPLES.c.model == model, kind)
    return newest.order_by(SAMPLES.c.window_index.desc()).limit(SAMPLES_KEPT)


def recent(
    connection: sa.Connection, model: str, windows: int, among: Collection[int] | None = None
) -> list[pd.DataFrame]:
    """The newest healthy samples, oldest first, of all windows or of those with an index in ``among``."""
    import pandas as pd

    query = (
        sa.select(SAMPLES.c.parquet)
        .where(SAMPLES.c.model == model, SAMPLES.c.healthy.is_(True))
        .where(sa.true() if among is None else SAMPLES.c.window_index.in_(among))
        .order_by(SAMPLES.c.window_index.desc())
        .limit(windows)
    )
    blobs = list(connection.execute(query).scalars())
    return [pd.read_parquet(io.BytesIO(blob), engine="pyarrow") for blob in reversed(blobs)]


def set_health(
    connection: sa.Connection, model: str, index: int, health: str, was: Collection[str] | None = None
) -> None:
    """Change what a processed window is to the yardstick: in its record and of its sample, together.

    Parameters
    ----------
    was
        Only where its health is one of these now; by default whatever it is.

    Raises
    ------
    NotFoundError
        It was not processed yet, or should become healthy and its sample is not kept; then nothing is changed.
    """
    healthy = health in HEALTHY

    def change(record: dict[str, Any]) -> dict[str, Any]:
        if was is not None and record.get("health") not in was:
            return {}
        changed: Any = connection.execute(SAMPLES.update().where(_here(model, index)).values(healthy=healthy))
        if healthy and changed.rowcount == 0:
            raise NotFoundError(f"no sample of window {index} of model {model!r} is kept (the last {SAMPLES_KEPT} are)")
        return {"health": health}

    amend_cycle(connection, model, index, change)


def _here(model: str, index: int) -> sa.ColumnElement[bool]:
    return (SAMPLES.c.model == model) & (SAMPLES.c.window_index == index)
