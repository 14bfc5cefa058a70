"""The tables, and how a model's columns become a table's columns.

Times are BIGINT microseconds since 1970 (negative before), UTC. Labels are held as the position of their class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from selfheal.errors import InputError
from selfheal.policy import check_name

METADATA = sa.MetaData()
_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers only INTEGER PRIMARY KEY by itself

VERSION = sa.Table(
    "selfheal_version",  # not alembic's usual name: other software in the same database may use that one
    METADATA,
    sa.Column("version_num", sa.String(32), primary_key=True),
)
MODELS = sa.Table(
    "models",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("dtypes", sa.Text, nullable=False),
    sa.Column("classes", sa.Text, nullable=False),
)
LABELS = sa.Table(
    "labels",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("prediction_id", sa.Text, primary_key=True),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
CYCLES = sa.Table(
    "cycles",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("window_index", sa.BigInteger, primary_key=True),
    sa.Column("start_us", sa.BigInteger),
    sa.Column("end_us", sa.BigInteger),
    sa.Column("after_seq", sa.BigInteger),  # row windows: (after_seq, last_seq]; NULL for time windows
    sa.Column("last_seq", sa.BigInteger),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("joined", sa.Integer),
    sa.Column("too_few", sa.Boolean),
    sa.Column("record", sa.Text),  # NULL until the window is processed
)
SAMPLES = sa.Table(
    "healthy_samples",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("window_index", sa.BigInteger, primary_key=True),
    sa.Column("healthy", sa.Boolean, nullable=False),
    sa.Column("parquet", sa.LargeBinary, nullable=False),
)
JOURNAL = sa.Table(
    "journal",
    METADATA,
    sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("intent", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("state", sa.Text, nullable=False, server_default="closed"),  # open, closed, or settled: with a look
    sa.Column("link", sa.BigInteger),  # its place in the model's chain; NULL while it is open
    sa.Column("hash", sa.Text),
    # What every look at the stages asks for is found at once, however long the journal is.
    sa.Index("ix_journal_kind", "model", "kind", "id"),
    sa.Index("ix_journal_state", "model", "state", "id"),
    sa.Index("ix_journal_link", "model", "link", unique=True),
)
JOURNAL_ACTS = sa.Table(
    "journal_acts",
    METADATA,
    sa.Column("journal_id", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("act", sa.Text, nullable=False),
)
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("lease", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
)
POINTER = sa.Table(
    "pointer",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("base_version", sa.BigInteger, nullable=False),
    sa.Column("base_digest", sa.Text, nullable=False),
    sa.Column("adapter", sa.LargeBinary, nullable=False),
    sa.Column("adapter_digest", sa.Text, nullable=False),
    sa.Column("settled_at", sa.BigInteger, nullable=False),
    sa.Column("pinned", sa.Boolean, nullable=False),
    sa.Column("base_manifest", sa.Text, nullable=False, server_default=""),
)
ADOPTED_POLICIES = sa.Table(
    "adopted_policies",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("base_manifest", sa.Text, primary_key=True),
    sa.Column("yaml", sa.Text, nullable=False),
)
HEARTBEATS = sa.Table(
    "heartbeats",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),  # which reconciler looked last
    sa.Column("looked", sa.BigInteger, nullable=False),  # by the database's clock
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("troubles", sa.Text, nullable=False),
)
FREEZES = sa.Table(
    "freezes",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),  # by the database's clock
    sa.Column("until", sa.BigInteger),  # the same; NULL: until it is lifted
)
SHADOWED = sa.Table(
    "shadowed",  # versions that score beside what serves; their answers are in shadow_<model>
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("base_digest", sa.Text, nullable=False),
    sa.Column("base_manifest", sa.Text, nullable=False),
    sa.Column("adapter", sa.LargeBinary, nullable=False),
    sa.Column("adapter_digest", sa.Text, nullable=False),
)
SENTINELS = sa.Table(
    "sentinels",  # what a service holds the rows of an open window against
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("plan", sa.Text, nullable=False),
)
CUTS = sa.Table(
    "cuts",  # windows of time that are closed early, by their nominal start
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("start_us", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("cut_us", sa.BigInteger, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("told", sa.Boolean, nullable=False),  # whether a monitor run was started for it
)
REFUSED = sa.Table(
    "refused",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),  # its start
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("feature", sa.Text, primary_key=True),  # empty where no column is to blame
    sa.Column("row_count", sa.BigInteger, nullable=False),
)
GAPS = sa.Table(
    "gaps",  # rows that were answered and are in no log
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),  # its start
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),  # who counted them: a process, and its file
    sa.Column("row_count", sa.BigInteger, nullable=False),  # in all, so that writing it twice changes nothing
)

ALERTS = sa.Table(
    "alerts",
    METADATA,
    sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # by the database's clock
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("ix_alerts_model", "model", "id"),
)
ALERT_TARGETS = sa.Table(
    "alert_targets",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),  # a digest: addresses hold secrets
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),  # the last alert that it was told
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("tried", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)
ALERT_MARKS = sa.Table(
    "alert_marks",  # what alerts were made from so far, and signs of life
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("mark", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
)

# Integers and truth values too are held as doubles: when a unit changes, whole degrees arrive with decimals, and
# just such rows must reach the log as they were sent. (Exact to 2^53; the network sees 32-bit floats.)
COLUMN_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "float": sa.Double,
    "int": sa.Double,
    "bool": sa.Double,
    "str": sa.Text,
}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,55}")  # PostgreSQL cuts identifiers at 63 bytes
_OWN_NAMES = re.compile(r"seq|prediction_id|event_time|model_version|latency_ms|p_\d+|f_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class ModelSchema:
    """What one model's predictions look like in the database.

    Attributes
    ----------
    model
        Its name.
    dtypes
        Feature → ``"float" | "int" | "bool" | "str"``, in the model's order.
    classes
        The sorted class labels, plain Python values.
    table
        ``predictions_<model>``: sequence number, id, event time, features, ``p_0 … p_{k-1}``, version, latency.
    columns
        Feature → name of its column (its own name where that is a plain, free one, else ``f_<position>``).
    """

    model: str
    dtypes: Mapping[str, str]
    classes: tuple[Any, ...]
    table: sa.Table
    columns: Mapping[str, str]

    @property
    def probabilities(self) -> list[str]:
        """Names of the probability columns, in the order of ``classes``."""
        return [f"p_{k}" for k in range(len(self.classes))]

    @property
    def written(self) -> list[str]:
        """The columns of one appended row, in order: a row is a tuple of just these values."""
        return [
            "prediction_id",
            "event_time",
            *self.columns.values(),
            *self.probabilities,
            "model_version",
            "latency_ms",
        ]


def model_schema(model: str, dtypes: Mapping[str, str], classes: Sequence[Any]) -> ModelSchema:
    """Lay out the predictions table of a model.

    Raises
    ------
    InputError
        If a dtype is unknown, or there are fewer than two classes.
    """
    unknown = {feature: dtype for feature, dtype in dtypes.items() if dtype not in COLUMN_TYPES}
    if unknown:
        feature, dtype = next(iter(unknown.items()))
        raise InputError(f"column {feature!r} has dtype {dtype!r}; known are {', '.join(COLUMN_TYPES)}")
    plain = tuple(value.item() if hasattr(value, "item") else value for value in classes)
    if len(set(plain)) < 2 or len(set(plain)) != len(plain):
        raise InputError(f"a classifier has at least two different classes, got {list(plain)!r}")
    columns = _column_names(list(dtypes))
    table = sa.Table(
        f"predictions_{model}",
        sa.MetaData(),
        sa.Column("seq", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("prediction_id", sa.Text, nullable=False, unique=True),
        sa.Column("event_time", sa.BigInteger, nullable=False, index=True),
        *(sa.Column(columns[feature], COLUMN_TYPES[dtype]) for feature, dtype in dtypes.items()),
        *(sa.Column(f"p_{k}", sa.Double, nullable=False) for k in range(len(plain))),
        sa.Column("model_version", sa.BigInteger, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sqlite_autoincrement=True,  # never a sequence number twice, even after rows are deleted
    )
    return ModelSchema(model, dict(dtypes), plain, table, columns)


def _column_names(features: Sequence[str]) -> dict[str, str]:
    """Name each feature's column; SQLite compares names without case, PostgreSQL cuts long ones."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for position, feature in enumerate(features):
        free = _PLAIN_NAME.fullmatch(feature) and not _OWN_NAMES.fullmatch(feature) and feature.lower() not in taken
        names[feature] = feature if free else f"f_{position}"
        taken.add(names[feature].lower())
    return names


def schema_row(schema: ModelSchema) -> dict[str, str]:
    """The row of ``models`` that brings the schema back."""
    return {
        "model": schema.model,
        "dtypes": json.dumps(list(schema.dtypes.items())),
        "classes": json.dumps(schema.classes),
    }


def schema_from_row(row: Mapping[Any, Any]) -> ModelSchema:
    """The inverse of :func:`schema_row`."""
    return model_schema(row["model"], dict(json.loads(row["dtypes"])), json.loads(row["classes"]))


def keep_schema(connection: sa.Connection, wanted: ModelSchema) -> None:
    """Write down what a model's predictions look like; nothing happens where the same is there.

    Raises
    ------
    InputError
        Another one is, or the name can't be used.
    """
    row = connection.execute(sa.select(MODELS).where(MODELS.c.model == wanted.model)).mappings().first()
    if row is not None:
        refuse_changed(schema_from_row(row), wanted)
        return
    name = check_name(wanted.model)
    for other in connection.execute(sa.select(MODELS.c.model)).scalars():
        if other.lower() == name.lower():
            raise InputError(f"model {name!r} differs from {other!r} only in case; choose another name")
    connection.execute(MODELS.insert().values(schema_row(wanted)))


def refuse_changed(known: ModelSchema, wanted: ModelSchema) -> None:
    """Refuse a schema that differs from the one that rows were already written under, naming what differs."""
    problems = [f"column {name!r} is missing" for name in known.dtypes if name not in wanted.dtypes]
    problems += [f"column {name!r} is new" for name in wanted.dtypes if name not in known.dtypes]
    problems += [
        f"column {name!r} is {wanted.dtypes[name]}, was {dtype}"
        for name, dtype in known.dtypes.items()
        if name in wanted.dtypes and wanted.dtypes[name] != dtype
    ]
    if known.classes != wanted.classes:
        problems.append(f"the classes are {list(wanted.classes)}, were {list(known.classes)}")
    if problems:
        raise InputError(
            f"model {known.model!r} already logs predictions under another schema: {'; '.join(problems)}; "
            "adopt the changed model under a new name"
        )
