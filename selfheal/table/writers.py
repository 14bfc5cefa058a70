"""Rows by arrival, where they become visible out of order.

PostgreSQL numbers a row when it is inserted and shows it when its transaction commits, so one with a lower number may
come after one with a higher.
"""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa

WAIT_SECONDS = 2.0
"""For the transactions that write: ours last some 0.2 s (a group commit of 5,000 rows)."""
_POLL_SECONDS = 0.02

_log = logging.getLogger("selfheal.table")

# Who inserts has locked the table before a number is drawn, and gives the lock back after the rows are visible.
_WRITERS = sa.text(
    "SELECT virtualtransaction, pid FROM pg_locks WHERE locktype = 'relation' AND relation = CAST(:name AS regclass) "
    "AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def settled(connection: sa.Connection, table: sa.Table, newest: int) -> int:
    """The number of the newest row once no row below it can appear any more; -1 where that is not known now.

    Writers pay nothing for it and are never kept waiting. On SQLite one transaction writes at a time.
    """
    if connection.dialect.name == "sqlite":
        return int(newest)
    name = connection.dialect.identifier_preparer.quote(table.name)
    deadline = time.monotonic() + WAIT_SECONDS
    open_: dict[str, int | None] | None = None
    while True:
        # Transactions that begin later draw higher numbers: only the first look's are waited for.
        now = {row[0]: row[1] for row in connection.execute(_WRITERS, {"name": name})}
        open_ = now if open_ is None else {key: pid for key, pid in open_.items() if key in now}
        if not open_:
            return int(newest)
        if time.monotonic() > deadline:
            pids = ", ".join(str(pid) for pid in open_.values())
            _log.warning(
                "%s: windows of rows wait for a transaction that has been writing for more than %g s (process %s of "
                "PostgreSQL); if it hangs: SELECT pg_terminate_backend(%s)",
                table.name, WAIT_SECONDS, pids, pids,
            )  # fmt: skip
            return -1
        time.sleep(_POLL_SECONDS)
