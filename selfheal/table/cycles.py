"""Which windows have closed, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from selfheal.errors import InputError, NotFoundError
from selfheal.policy import WindowSpec
from selfheal.table.schema import CUTS, CYCLES, LABELS, ModelSchema
from selfheal.table.values import EARLIEST, LATEST, duration_us, from_us, to_json, to_us
from selfheal.table.windows import Span, WindowRef, join_windows
from selfheal.table.writers import settled

AHEAD_US = 86_400_000_000
"""A row dated more than this (a day) after the clock is in no window of rows: a window that held it would close when
that time comes, and all later ones after it."""

_FIRST, _LAST = to_us(EARLIEST), to_us(LATEST)  # rows of older releases may lie outside: they are in no window


def plan_windows(
    connection: sa.Connection, schema: ModelSchema, spec: WindowSpec, *, horizon: int, min_rows: int
) -> list[WindowRef]:
    """Fix the bounds of the windows that have closed before ``horizon`` (µs); return all that wait to be processed.

    Once fixed, bounds stay: rows that come later than the allowed lateness, or a policy with another window length,
    cannot make a row count twice.
    """
    mark, newest, before = _marked(connection, schema, horizon)
    if spec.duration is not None:
        length = duration_us(spec.duration)
        fresh = _by_time(connection, schema, length, mark.end, horizon, min_rows)
        after = fresh[-1]["end_us"] if fresh else mark.end
        fresh += _cut_short(connection, schema, length, after, horizon, min_rows)
    elif spec.rows is not None:
        upto = -1 if newest is None else settled(connection, schema.table, newest)
        fresh = _by_rows(connection, schema, spec.rows, mark, upto, horizon, min_rows)
    else:
        raise InputError("a window needs a duration or a number of rows")
    return before + fix_bounds(connection, schema.model, mark, fresh)


class Mark(NamedTuple):
    """How far a model's windows go: number, end (µs) and last row of the newest ones; None where there are none."""

    number: int | None
    end: int | None
    seq: int | None


def newest_bounds(connection: sa.Connection, model: str) -> Mark:
    """Where the next window begins."""
    return Mark(*connection.execute(_bounds(model)).one())


def _bounds(model: str) -> sa.Select[Any]:
    bounds = sa.select(sa.func.max(CYCLES.c.window_index), sa.func.max(CYCLES.c.end_us), sa.func.max(CYCLES.c.last_seq))
    return bounds.where(CYCLES.c.model == model)


def _marked(connection: sa.Connection, schema: ModelSchema, horizon: int) -> tuple[Mark, int | None, list[WindowRef]]:
    """How far the windows go, the newest row's number, and the windows that ended by then and wait to be processed."""
    rows = sa.select(sa.func.max(schema.table.c.seq)).scalar_subquery()
    far = _bounds(schema.model).add_columns(rows).subquery()
    waits = far.outerjoin(CYCLES, _waits(schema.model, horizon))
    query = sa.select(CYCLES, *far.c).select_from(waits).order_by(CYCLES.c.window_index)
    lines = connection.execute(query).mappings().fetchall()
    *mark, newest = (lines[0][column] for column in far.c)
    return Mark(*mark), newest, [_ref(row) for row in lines if row[CYCLES.c.model] is not None]


def fix_bounds(
    connection: sa.Connection, model: str, mark: Mark, fresh: Iterable[Mapping[str, Any]]
) -> list[WindowRef]:
    """Write the bounds of windows that have closed since ``mark``; which these are."""
    first, unset = 0 if mark.number is None else mark.number + 1, {"after_seq": None, "last_seq": None}
    rows = [{"model": model, "window_index": first + k, **unset, **bounds} for k, bounds in enumerate(fresh)]
    if rows:
        connection.execute(CYCLES.insert(), rows)
    return [_ref(row) for row in rows]


def waiting(connection: sa.Connection, model: str, horizon: int) -> list[WindowRef]:
    """Windows that ended by ``horizon`` (µs) and were not processed yet, in order."""
    query = sa.select(CYCLES).where(_waits(model, horizon)).order_by(CYCLES.c.window_index)
    return [_ref(row) for row in connection.execute(query).mappings()]


def _waits(model: str, horizon: int) -> sa.ColumnElement[bool]:
    return sa.and_(CYCLES.c.model == model, CYCLES.c.record.is_(None), CYCLES.c.end_us <= horizon)


def _by_time(
    connection: sa.Connection, schema: ModelSchema, length: int, mark: int | None, horizon: int, min_rows: int
) -> list[dict[str, Any]]:
    time = schema.table.c.event_time
    closed = min(horizon, _LAST) // length
    # SQL divides toward zero, and event times before 1970 are negative: take the floor's remainder off first.
    base = (time - (time % length + length) % length) // length
    counted = sa.select(base.label("base"), sa.func.count()).where(
        time >= (_FIRST if mark is None else max(mark, _FIRST)), time < closed * length
    )
    counts = {int(base): rows for base, rows in connection.execute(counted.group_by("base"))}
    return [
        bounds_of(
            span, max(span.first * length, mark if mark is not None else span.first * length), (span.last + 1) * length
        )
        for span in join_windows(counts, closed=closed, min_rows=min_rows)
    ]


def _cut_short(
    connection: sa.Connection, schema: ModelSchema, length: int, after: int | None, horizon: int, min_rows: int
) -> list[dict[str, Any]]:
    """The open window up to where it was asked to be closed, if it holds enough rows by then; else none.

    Parameters
    ----------
    after
        Where the windows before it end, µs; what was to be joined with it is in it.
    """
    number, time = horizon // length, schema.table.c.event_time
    here = (CUTS.c.model == schema.model) & (CUTS.c.start_us == number * length) & (CUTS.c.cut_us <= horizon)
    cut = connection.execute(sa.select(CUTS.c.cut_us).where(here)).scalar()
    if cut is None or (after is not None and after >= cut):
        return []
    since = _FIRST if after is None else max(after, _FIRST)
    inside = sa.select(sa.func.min(time), sa.func.count()).where(time >= since, time < cut)
    first, rows = connection.execute(inside).one()
    if rows < max(min_rows, 1):
        return []
    base = int(first) // length
    start = base * length if after is None else max(base * length, after)
    return [bounds_of(Span(base, number, int(rows), False), start, int(cut))]


def _by_rows(
    connection: sa.Connection,
    schema: ModelSchema,
    length: int,
    mark: Mark,
    upto: int,
    horizon: int,
    min_rows: int,
) -> list[dict[str, Any]]:
    table = schema.table
    dated = sa.and_(table.c.event_time >= _FIRST, table.c.event_time < min(horizon + AHEAD_US, _LAST))
    waiting = sa.select(
        table.c.seq, table.c.event_time, (sa.func.row_number().over(order_by=table.c.seq) - 1).label("place")
    ).where(table.c.seq <= upto, dated)
    if mark.seq is not None:
        waiting = waiting.where(table.c.seq > mark.seq)
    elif mark.end is not None:  # the policy changed from windows of time: begin after what they covered
        waiting = waiting.where(table.c.event_time >= mark.end)
    rows = waiting.subquery()
    base = rows.c.place // length
    grouped = connection.execute(
        sa.select(
            base.label("base"),
            sa.func.count(),
            sa.func.min(rows.c.seq),
            sa.func.max(rows.c.seq),
            sa.func.min(rows.c.event_time),
            sa.func.max(rows.c.event_time),
        ).group_by("base")
    ).fetchall()
    full = {int(row[0]): row for row in grouped if row[1] == length}
    spans = join_windows({base: length for base in full}, closed=len(full), min_rows=min_rows)
    out: list[dict[str, Any]] = []
    for span in spans:
        parts = [full[base] for base in range(span.first, span.last + 1)]
        end = max(int(part[5]) for part in parts) + 1
        if end > horizon:
            break
        after = int(parts[0][2]) - 1
        start = min(int(part[4]) for part in parts)
        out.append(bounds_of(span, start, end) | {"after_seq": after, "last_seq": int(parts[-1][3])})
    return out


def bounds_of(span: Span, start: int, end: int) -> dict[str, Any]:
    """What is written of a window: its bounds, and how many rows it held when it closed."""
    return {
        "start_us": start,
        "end_us": end,
        "row_count": span.rows,
        "joined": span.last - span.first + 1,
        "too_few": span.too_few,
    }


def _ref(row: Mapping[Any, Any]) -> WindowRef:
    seqs = None if row["last_seq"] is None else (row["after_seq"], row["last_seq"])
    return WindowRef(
        model=row["model"],
        index=row["window_index"],
        start=from_us(row["start_us"]),
        end=from_us(row["end_us"]),
        rows=row["row_count"],
        joined=row["joined"],
        too_few=row["too_few"],
        seqs=seqs,
    )


def find_window(connection: sa.Connection, model: str, index: int) -> WindowRef:
    """The window of that index.

    Raises
    ------
    NotFoundError
        If no such window has closed.
    """
    row = (
        connection.execute(
            sa.select(CYCLES).where(
                CYCLES.c.model == model, CYCLES.c.window_index == index, CYCLES.c.start_us.is_not(None)
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotFoundError(f"model {model!r} has no window {index}")
    return _ref(row)


def record_cycle(connection: sa.Connection, model: str, index: int, record: dict[str, Any]) -> None:
    """Write what was decided about a window; that marks it processed."""
    text = to_json(record)
    here = (CYCLES.c.model == model) & (CYCLES.c.window_index == index)
    if connection.execute(CYCLES.update().where(here).values(record=text)).rowcount == 0:
        connection.execute(CYCLES.insert().values(model=model, window_index=index, record=text))


def amend_cycle(
    connection: sa.Connection, model: str, index: int, change: Callable[[dict[str, Any]], Mapping[str, Any]]
) -> None:
    """Replace keys of a window's record by what ``change`` makes of it as it is now: nobody else writes in between.

    Raises
    ------
    NotFoundError
        If the window was not processed yet.
    """
    here = (CYCLES.c.model == model) & (CYCLES.c.window_index == index)
    text = connection.execute(sa.select(CYCLES.c.record).where(here).with_for_update()).scalar_one_or_none()
    if text is None:
        raise NotFoundError(f"window {index} of {model!r} was not processed yet; the monitor comes first")
    record: dict[str, Any] = json.loads(text)
    connection.execute(CYCLES.update().where(here).values(record=to_json({**record, **change(record)})))


def first_labelled(connection: sa.Connection, schema: ModelSchema, first: int) -> int | None:
    """Index of the first processed window from ``first`` on with a row whose label has come."""
    if not _sizes(connection, schema, ())[0]:
        return None
    query = sa.select(CYCLES.c.window_index).where(
        CYCLES.c.model == schema.model,
        CYCLES.c.window_index >= first,
        CYCLES.c.record.is_not(None),
        sa.exists().where(_inside(schema), _has_label(schema)),
    )
    return connection.execute(query.order_by(CYCLES.c.window_index).limit(1)).scalar()


def labelled_windows(
    connection: sa.Connection, schema: ModelSchema, indexes: Collection[int], most: int
) -> dict[int, int]:
    """Of these windows those that have rows whose label has come: index → how many, counted up to ``most``."""
    labels, rows = _sizes(connection, schema, indexes)
    if not labels or not rows:
        return {}
    index, table = CYCLES.c.window_index, schema.table
    if labels < min(MANY_LABELS, rows * PER_LABEL):  # from the labels to their rows
        same = (LABELS.c.model == schema.model) & (LABELS.c.prediction_id == table.c.prediction_id)
        joined = CYCLES.join(table, _inside(schema)).join(LABELS, same)
        query = sa.select(index, sa.func.count()).select_from(joined).group_by(index)
    else:
        inside = sa.select(sa.literal(1)).where(_inside(schema), _has_label(schema)).limit(most).correlate(CYCLES)
        query = sa.select(index, sa.select(sa.func.count()).select_from(inside.subquery()).scalar_subquery())
    counts = connection.execute(query.where(CYCLES.c.model == schema.model, index.in_(indexes)))
    return {int(number): min(int(count), most) for number, count in counts if count}


MANY_LABELS = 50_000
"""Labels that are counted, to choose where a search begins."""
PER_LABEL = 0.05
"""A row whose label is looked for costs 0.7 µs, a label whose row is looked for 15 to 25."""


def _sizes(connection: sa.Connection, schema: ModelSchema, indexes: Collection[int]) -> tuple[int, int]:
    """How many labels there are, up to :data:`MANY_LABELS`, and how many rows these windows had."""
    some = sa.select(LABELS.c.model).where(LABELS.c.model == schema.model).limit(MANY_LABELS).subquery()
    labels = sa.select(sa.func.count()).select_from(some).scalar_subquery()
    here = (CYCLES.c.model == schema.model) & CYCLES.c.window_index.in_(indexes)
    rows = sa.select(sa.func.coalesce(sa.func.sum(CYCLES.c.row_count), 0)).where(here).scalar_subquery()
    sizes = connection.execute(sa.select(labels, rows)).one()
    return int(sizes[0]), int(sizes[1])


def _inside(schema: ModelSchema) -> sa.ColumnElement[bool]:
    """The rows of a window."""
    rows = schema.table.c
    dated = sa.and_(rows.event_time >= CYCLES.c.start_us, rows.event_time < CYCLES.c.end_us)
    arrived = sa.and_(rows.seq > CYCLES.c.after_seq, rows.seq <= CYCLES.c.last_seq)
    return sa.and_(dated, sa.or_(CYCLES.c.last_seq.is_(None), arrived))


def _has_label(schema: ModelSchema) -> sa.ColumnElement[bool]:
    """A row whose label has come."""
    return sa.exists().where(LABELS.c.model == schema.model, LABELS.c.prediction_id == schema.table.c.prediction_id)


def recorded(
    connection: sa.Connection, model: str, last: int | None = None, index: int | None = None
) -> list[dict[str, Any]]:
    """The records (or that of one window), oldest first.

    Each has its window's index, bounds, row count, ``joined`` and ``too_few``.
    """
    query = (
        sa.select(CYCLES)
        .where(CYCLES.c.model == model, CYCLES.c.record.is_not(None))
        .order_by(CYCLES.c.window_index.desc())
        .limit(last)
    )
    if index is not None:
        query = query.where(CYCLES.c.window_index == index)
    return [_recorded(row) for row in connection.execute(query).mappings().fetchall()[::-1]]


def _recorded(row: Mapping[Any, Any]) -> dict[str, Any]:
    window: dict[str, Any] = {"index": row["window_index"]}
    if row["start_us"] is not None:
        ref = _ref(row)
        window |= {"start": ref.start.isoformat(), "end": ref.end.isoformat(), "rows": ref.rows}
        window |= {"joined": ref.joined, "too_few": ref.too_few}
    return {**window, **json.loads(row["record"])}


def recorded_among(
    connection: sa.Connection, model: str, last: int, among: int
) -> tuple[list[dict[str, Any]], list[tuple[datetime, datetime]]]:
    """The ``last`` records as :func:`recorded` has them, and start and end of ``among`` windows: more, unread."""
    done = sa.select(CYCLES).where(CYCLES.c.model == model, CYCLES.c.record.is_not(None))
    newest = done.order_by(CYCLES.c.window_index.desc())
    first = newest.with_only_columns(CYCLES.c.window_index).limit(1).offset(last - 1).scalar_subquery()
    read = sa.case((CYCLES.c.window_index >= sa.func.coalesce(first, 0), CYCLES.c.record))
    columns = [column for column in CYCLES.c if column is not CYCLES.c.record]
    rows = connection.execute(newest.with_only_columns(*columns, read.label("record")).limit(among)).mappings()
    windows = rows.fetchall()[::-1]
    spans = [(from_us(row["start_us"]), from_us(row["end_us"])) for row in windows if row["start_us"] is not None]
    return [_recorded(row) for row in windows if row["record"] is not None], spans


def processed(connection: sa.Connection, model: str) -> set[int]:
    """The indexes of the windows that have been processed."""
    query = sa.select(CYCLES.c.window_index).where(CYCLES.c.model == model, CYCLES.c.record.is_not(None))
    return set(connection.execute(query).scalars())
