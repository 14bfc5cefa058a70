"""A table, view or query of a database, by its SQLAlchemy URL."""

from selfheal.log.kind import Kind
from selfheal.log.rows import Rows
from selfheal.policy import Log, LogLabels


def rows(place: Log | LogLabels, where: str) -> Rows:
    """The table; SQLAlchemy is imported where there is one."""
    from selfheal.log.sql import Sql

    return Sql(where, place.table or "", place.query or "")


KIND = Kind("database", rank=20, fits=lambda place, where: place.is_sql, rows=rows)
