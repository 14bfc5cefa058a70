"""The state database's version: what is older is copied and upgraded, what is newer is refused.

The version is the newest revision in ``migrations/versions``. A new database is made from
:mod:`selfheal.table.schema` at once; alembic is imported only where an older one is upgraded.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from selfheal.errors import NotFoundError, RefusedError, UnavailableError
from selfheal.table.schema import METADATA, VERSION

MIGRATIONS = Path(__file__).parent / "migrations"

UNVERSIONED = "0001"
"""The revision that a database without a version is at: the last release before there were versions."""


def newest() -> str:
    """The version that this code works with: the highest number of a file ``rev_NNNN_<what>.py``."""
    return max(path.stem.split("_")[1] for path in (MIGRATIONS / "versions").glob("rev_*.py"))


def is_current(connection: sa.Connection) -> bool:
    """Whether the database is at :func:`newest`: what every start asks, one query."""
    try:
        revision = connection.execute(sa.select(VERSION.c.version_num)).scalar()
    except (exc.OperationalError, exc.ProgrammingError) as error:
        if no_such_table(error):
            return False
        raise
    return bool(revision == newest())


def upgrade(connection: sa.Connection, create: bool) -> None:
    """Bring the tables of an older release up to date, or ``create`` them, inside the caller's transaction.

    The caller keeps others from doing the same meanwhile; of several that start at once, the first does the work.

    Raises
    ------
    NotFoundError
        There are none, and none may be created.
    RefusedError
        The database is of a newer release, or holds tables of these names that are not selfheal's.
    UnavailableError
        The copy cannot be written.
    """
    version, wanted = _version(connection), newest()
    if version is None:
        if not create:
            raise nothing_there(_name(connection))
        METADATA.create_all(connection)
        connection.execute(VERSION.insert().values(version_num=wanted))
        return
    if version > wanted:
        raise RefusedError(
            f"the database {_name(connection)} is at version {version}, this release knows {wanted}: a newer release "
            "has upgraded it. Start that release again, or restore the copy that was made before (docs/operations.md)"
        )
    if version < wanted:
        _copy(connection, wanted)
    _run_revisions(connection, version)


def _version(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    inspector = sa.inspect(connection)
    if inspector.has_table(VERSION.name):
        revision: str | None = connection.execute(sa.select(VERSION.c.version_num)).scalar()
        if revision is not None:
            return revision
    from selfheal.table.migrations.versions.rev_0001_before_versions import TABLES

    there = [t for t in TABLES.sorted_tables if inspector.has_table(t.name)]
    if not there:
        return None
    strange = [t.name for t in there if {c["name"] for c in inspector.get_columns(t.name)} != set(t.columns.keys())]
    missing = [t.name for t in TABLES.sorted_tables if t not in there]
    if strange or missing:
        problem = f"its table {strange[0]!r} has other columns" if strange else f"it has no table {missing[0]!r}"
        raise RefusedError(
            f"the database {_name(connection)} has no version and is not selfheal's: {problem}. "
            "Give selfheal a database of its own in SELFHEAL_DATABASE_URL"
        )
    return UNVERSIONED


def _run_revisions(connection: sa.Connection, version: str) -> None:
    """Run what comes after ``version``, and note how far it came: also where nothing does and nothing was noted."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(MIGRATIONS))
    context = MigrationContext.configure(connection, opts={"version_table": VERSION.name})
    if version == UNVERSIONED:
        context.stamp(scripts, version)
    with Operations.context(context):
        for script in reversed(list(scripts.iterate_revisions("head", version))):
            script.module.upgrade()
            context.stamp(scripts, script.revision)


def _copy(connection: sa.Connection, wanted: str) -> None:
    """Keep the database as it is now: a file beside SQLite's, copies of the state tables in PostgreSQL.

    PostgreSQL's predictions are not copied: they may be large, and the upgrade is one transaction there.
    """
    if connection.dialect.name == "sqlite":
        _copy_file(Path(str(connection.engine.url.database)), wanted)
        return
    quote = connection.dialect.identifier_preparer.quote
    for name in sa.inspect(connection).get_table_names():
        if name in METADATA.tables:
            copy = quote(f"before_{wanted}_{name}")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {copy}")
            connection.exec_driver_sql(f"CREATE TABLE {copy} AS TABLE {quote(name)}")


def _copy_file(path: Path, wanted: str) -> None:
    """``selfheal.db`` → ``selfheal.db.before-NNNN``, whole or not at all; our write lock keeps others from writing."""
    copy = path.with_name(f"{path.name}.before-{wanted}")
    draft = copy.with_name(f"{copy.name}.part")
    draft.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(draft)) as to,
        ):
            source.backup(to)
        draft.replace(copy)
    except (OSError, sqlite3.Error) as error:
        draft.unlink(missing_ok=True)
        raise UnavailableError(
            f"the database {path} must be upgraded and cannot be copied first ({error}); nothing was changed. "
            f"Make room in {path.parent} for a second {path.stat().st_size / 1e6:.0f} MB and start again"
        ) from error


def nothing_there(name: str) -> NotFoundError:
    """What to say of a database that is not there, or is empty."""
    return NotFoundError(
        f"nothing has been adopted into {name}: there is no such database, or it is empty; `selfheal adopt` makes it. "
        "Is its disk mounted, and does SELFHEAL_DATABASE_URL name it?"
    )


def no_such_table(error: exc.DBAPIError) -> bool:
    """Whether a statement failed because its table is not there."""
    return "does not exist" in str(error.orig) or "no such table" in str(error.orig)


def _name(connection: sa.Connection) -> str:
    return connection.engine.url.render_as_string(hide_password=True)
