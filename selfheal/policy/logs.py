"""The policy's ``log:``: where predictions and labels are read from, and what the columns are called there."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from selfheal.policy.sections import Section
from selfheal.policy.values import Duration, format_duration

_SCHEME = re.compile(r"([A-Za-z][\w+.-]*)://")
_STORES = {"s3", "s3a", "gs", "gcs", "az"}
_NO_PLACES = {"abfs", "abfss", "hdfs", "http", "https", "file", "adl", "dbfs"}
_SECRET = re.compile(r"://[^:/@\s]*:(?P<user>\S+)@|[?&](?:password|passwd|pwd|token|secret)=(?P<query>[^&\s]+)", re.I)
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class _Place(Section):
    """A folder, or a table of a database."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    source: str = Field(
        alias="from",
        min_length=1,
        description="a folder (or one file) of Parquet, CSV or JSON lines, a Delta table, the same in an object store "
        "(`s3://`, `gs://`, `az://`), or the SQLAlchemy URL of a database; `${NAME}` is taken from the environment",
    )
    table: str | None = Field(None, description="of a database: the table or view")
    query: str | None = Field(
        None, description="of a database, in place of a table: one `SELECT` whose rows are the log's; it is only read"
    )

    @property
    def is_sql(self) -> bool:
        """Whether it is a database."""
        return bool(self._scheme) and not self.is_store

    @property
    def is_store(self) -> bool:
        """Whether it is an object store."""
        return self._scheme in _STORES

    @property
    def _scheme(self) -> str:
        match = _SCHEME.match(self.source)
        return match[1].lower() if match else ""

    @model_validator(mode="after")
    def _readable(self) -> Any:
        if not self.source:
            if named := self.table or self.query:
                raise ValueError(
                    f"{'table' if self.table else 'query'}: {named!r} was given, and no database; name it in from"
                )
            return self
        if self._scheme in _NO_PLACES:
            raise ValueError(
                f"from: {self._scheme}:// is not read; give s3://, gs:// or az://, a folder that is mounted here, or a "
                "database's URL"
            )
        if self.is_store and re.search(r"[@?#]", self.source):
            raise ValueError(
                "from: the place of an object store is bucket and prefix, s3://bucket/prefix; its credentials and "
                "endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...)"
            )
        if any(_REFERENCE.sub("", match["user"] or match["query"]) for match in _SECRET.finditer(self.source)):
            raise ValueError(
                "from: the URL holds a password, and this file is kept and journaled; write "
                "postgresql://reader:${LOG_PASSWORD}@host/name and set LOG_PASSWORD in the environment"
            )
        if self.is_sql and not self.table and not self.query:
            raise ValueError("table: a database has many; name the table or view to read, or write a query")
        if self.table and not self.is_sql:
            raise ValueError(f"table: {self.table!r} was given, and from is a folder, which has no tables; remove it")
        if self.query is not None:
            self._one_select()
        return self

    def _one_select(self) -> None:
        if not self.is_sql or self.table:
            what = "log.table names what to read" if self.table else "from is a folder, which takes none"
            raise ValueError(f"query: {what}; remove one of the two")
        if not re.match(r"\s*(select|with)\b", self.query or "", re.I) or ";" in (self.query or ""):
            raise ValueError(
                "query: one SELECT is read, as a sub-query of what is asked; write it without a semicolon, and what "
                "it needs beside it as a view"
            )


class LogColumns(Section):
    """What the log calls that which every prediction has."""

    prediction_id: str = Field("prediction_id", description="names a prediction; a repeated one counts once")
    event_time: str = Field("event_time", description="a time with its zone, or seconds (ms, µs, ns) since 1970")
    probabilities: tuple[str, ...] = Field(
        (), description="one column a class, in their order (of two classes: the last suffices); none: recomputed"
    )
    version: str | None = Field(None, description="the version that answered; none: what the journal says served then")
    weight: str | None = Field(None, description="how many served rows a logged row stands for; none: one")
    order: str | None = Field(None, description="a whole number that grows by arrival; windows of N rows need it")


class LabelColumns(Section):
    """What a place of labels calls them."""

    prediction_id: str = Field("prediction_id", description="the prediction's id there")
    label: str = Field("label", description="the class label")
    known_at: str | None = Field(None, description="when the label became known; none: it always was")


class LogLabels(_Place):
    """Where labels are read from."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="names of columns there")
    matures: Duration = Field(
        dt.timedelta(0), description="age of a row before its label counts: what comes sooner is no fair draw"
    )


class Log(_Place):
    """Where predictions are read from, and how long the own table keeps them."""

    source: str = Field(
        "", alias="from", description=f"{_Place.model_fields['source'].description}; none: the own table"
    )
    columns: LogColumns = Field(default_factory=LogColumns, description="names of columns there")
    rename: Mapping[str, str] = Field(
        default_factory=dict, description="features that have another name there: `{theirs: ours}`"
    )
    labels: LogLabels | None = Field(
        None, description="where labels are read from; those sent to the service or by `selfheal labels` count too"
    )
    keep: Duration | None = Field(
        None, description="of the own table: rows older than this are deleted, but for those that are still needed"
    )
    when_full: Literal["answer", "refuse"] = Field(
        "answer", description="neither database nor disk has room: answer with `logged: false`, or refuse (503)"
    )

    @model_validator(mode="after")
    def _own(self) -> Log:
        for key in ("columns", "rename", "labels"):
            if not self.source and getattr(self, key) != type(self).model_fields[key].get_default(
                call_default_factory=True
            ):
                raise ValueError(f"{key}: the own table needs none; name the log that it is about in log.from")
        if self.keep is None:
            return self
        if self.source:
            raise ValueError(
                "keep: this log is its owner's, and nothing is ever deleted there; remove log.keep, or log.from to "
                "read the own table"
            )
        if self.keep < dt.timedelta(days=1):
            raise ValueError(
                f"keep: {format_duration(self.keep)} is too short; rows are deleted once a day at most, so write 1d"
            )
        return self

    @model_validator(mode="after")
    def _apart(self) -> Log:
        ours = list(self.rename.values())
        twice = sorted({name for name in ours if ours.count(name) > 1})
        if twice:
            raise ValueError(f"rename: two columns become {twice[0]!r}; a feature is read from one")
        return self

    def theirs(self, feature: str) -> str:
        """What the log calls a feature."""
        return next((name for name, ours in self.rename.items() if ours == feature), feature)
