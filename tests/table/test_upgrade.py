"""A database outlives releases: it is upgraded once, copied before, and refused by a release that is older than it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from selfheal.errors import NotFoundError, RefusedError, UnavailableError
from selfheal.table import InferenceTable, upgrade
from selfheal.table.database import Database
from selfheal.table.migrations.versions.rev_0001_before_versions import TABLES
from selfheal.table.schema import VERSION, model_schema, schema_row
from tests.table.conftest import CLASSES, DTYPES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDS_A_COLUMN = """
import sqlalchemy as sa
from alembic import op
from selfheal.table.migrations import predictions_tables

revision, down_revision = "9999", "{before}"


def upgrade():
    for name in predictions_tables(op.get_bind()):
        op.add_column(name, sa.Column("added", sa.Double))
"""


def unversioned(url: str) -> Path:
    """A database as the release before versions made it, with a model, its predictions and a journal entry."""
    if url.startswith("sqlite"):
        Path(sa.make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        ScriptDirectory(str(upgrade.MIGRATIONS)).get_revision(upgrade.UNVERSIONED).module.upgrade()
        schema = model_schema("rain-x", DTYPES, CLASSES)
        row = schema_row(schema)
        connection.execute(sa.text("INSERT INTO models VALUES (:model, :dtypes, :classes)"), row)
        schema.table.metadata.create_all(connection)
        connection.execute(sa.text("INSERT INTO labels VALUES ('rain-x', 'r1', 1, 5)"))
    engine.dispose()
    return Path(sa.make_url(url).database or "")


@pytest.fixture
def one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next release has one revision more, which reaches every model's predictions."""
    text = ADDS_A_COLUMN.format(before=upgrade.newest())
    shutil.copytree(upgrade.MIGRATIONS, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(upgrade, "MIGRATIONS", tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "rev_9999_next.py").write_text(text)


def empty(url: str, names: Iterable[str]) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for name in names:
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
    engine.dispose()


def tables(url: str) -> dict[str, tuple]:
    """What the database holds, as it describes it itself."""
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    found = {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)),
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted(str(i["column_names"]) for i in inspector.get_indexes(name)),
        )
        for name in inspector.get_table_names()
    }
    engine.dispose()
    return found


def test_a_new_database_is_like_an_upgraded_one(url):
    table = InferenceTable(url)
    table.create("rain-x", DTYPES, CLASSES)
    made = tables(url)
    table.close()
    empty(url, made)
    unversioned(url)
    with closing(InferenceTable(url)) as table:
        assert table.models() == ["rain-x"]
    assert {name: what for name, what in tables(url).items() if not name.startswith("before_")} == made


def test_a_database_without_a_version_goes_on(url):
    unversioned(url)
    with closing(InferenceTable(url)) as table:
        table.journal_begin("rain-x", "promote", {})
        assert table.add_labels("rain-x", ["r1"], [0], NOW).pending == 1
        assert len(table.journal("rain-x")) == 1
    with closing(InferenceTable(url)) as table:
        assert table.models() == ["rain-x"]


def test_whoever_only_uses_a_database_makes_none(url):
    uses = (lambda t: t.pointer("rain-x"), lambda t: t.acquire("lease", "me", timedelta(1)))
    for use in uses:
        with closing(InferenceTable(url)) as table, pytest.raises(NotFoundError, match="nothing has been adopted"):
            use(table)
    with closing(InferenceTable(url)) as early:
        assert early.models() == []
        assert tables(url) == {} if url.startswith("postgresql") else not Path(url.removeprefix("sqlite:///")).exists()
        with closing(InferenceTable(url)) as table:
            table.create("rain-x", DTYPES, CLASSES)
        assert early.models() == ["rain-x"]


def test_the_journal_of_before_is_found_by_its_state(url):
    unversioned(url)
    engine = sa.create_engine(url)
    outcomes = ['{"result": "done", "look": {}}', '{"result": "noted", "reason": "\\"look\\""}', None, '{"look": null}']
    with engine.begin() as connection:
        for outcome in outcomes:
            row = {"outcome": outcome}
            text = "INSERT INTO journal (model, kind, at, intent, outcome) VALUES ('rain-x', 'seen', 0, '{}', :outcome)"
            connection.execute(sa.text(text), row)
    engine.dispose()
    with closing(InferenceTable(url)) as table:
        ids = [entry.id for entry in table.journal("rain-x")]
        assert table.journal_settled("rain-x").id == ids[3]
        assert [entry.id for entry in table.journal_open("rain-x")] == [ids[2]]
        table.journal_done(ids[2], {"look": {}, "result": "done"})
        table.journal_note("rain-x", "policy", {}, "in force", NOW)
        assert table.journal_settled("rain-x").id == ids[3]
        assert not table.journal_open("rain-x")


@pytest.mark.usefixtures("one_more")
def test_of_many_that_start_at_once_one_upgrades(url):
    path = unversioned(url)
    opened = [InferenceTable(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(InferenceTable.models, opened)) == [["rain-x"]] * 8
    for table in opened:
        table.close()
    after = tables(url)
    assert "added" in [name for name, *_ in after["predictions_rain-x"][0]]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(path.with_name(path.name + ".before-9999"))) as copy:
            names = {name for (name,) in copy.execute("SELECT name FROM sqlite_master")}
            assert VERSION.name not in names and "predictions_rain-x" in names
            assert copy.execute("SELECT prediction_id FROM labels").fetchall() == [("r1",)]
    else:
        kept = {name.removeprefix("before_9999_") for name in after if name.startswith("before_9999_")}
        assert kept == {table.name for table in TABLES.sorted_tables}


@pytest.mark.usefixtures("one_more")
def test_an_upgrade_that_fails_changes_nothing(url):
    unversioned(url)
    before = tables(url)
    broken = upgrade.MIGRATIONS / "versions" / "rev_9999_next.py"
    broken.write_text(broken.read_text() + "    raise RuntimeError('half way')\n")
    with closing(InferenceTable(url)) as table, pytest.raises(RuntimeError, match="half way"):
        table.models()
    assert tables(url) == before


@pytest.mark.usefixtures("one_more")
def test_without_room_for_the_copy_nothing_is_upgraded(tmp_path):
    url = f"sqlite:///{tmp_path}/state/selfheal.db"
    path = unversioned(url)
    before = tables(url)
    path.with_name(path.name + ".before-9999").mkdir()
    with closing(InferenceTable(url)) as table, pytest.raises(UnavailableError, match="cannot be copied first"):
        table.models()
    assert tables(url) == before


def test_a_newer_database_is_refused(table, url):
    assert table.models() == []
    with closing(Database(url)) as database, database.write() as connection:
        connection.execute(VERSION.update().values(version_num="9999"))
    with closing(InferenceTable(url)) as older, pytest.raises(RefusedError, match="is at version 9999"):
        older.models()


def test_tables_of_other_software_are_refused(url):
    unversioned(url)
    empty(url, ["pointer"])
    with closing(InferenceTable(url)) as table, pytest.raises(RefusedError, match="no table 'pointer'"):
        table.models()


def test_an_up_to_date_database_is_opened_with_one_question(tmp_path):
    """Scoring opens it at every start."""
    InferenceTable(url := f"sqlite:///{tmp_path}/selfheal.db").create("rain-x", DTYPES, CLASSES)
    asked: list[str] = []
    database = Database(url)

    def note(connection, cursor, text, *rest):
        asked.append(text)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        with database.read():
            pass
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        database.close()
    assert [text.split()[0] for text in asked] == ["BEGIN", "SELECT"]


def test_revisions_are_a_chain_that_ends_at_the_newest():
    scripts = ScriptDirectory(str(upgrade.MIGRATIONS))
    assert scripts.get_heads() == [upgrade.newest()]
    assert scripts.get_base() == upgrade.UNVERSIONED
