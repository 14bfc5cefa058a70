"""The inference table: predictions, labels, windows, cycles, journal, leases and pointer of every model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from selfheal.errors import InputError, NotFoundError, nearest
from selfheal.policy import WindowSpec
from selfheal.table import cycles, journal, labels, predictions, reading, samples, state
from selfheal.table.chain import Chain
from selfheal.table.database import Database
from selfheal.table.elsewhere import Elsewhere
from selfheal.table.freezes import Freezes
from selfheal.table.gaps import Gaps
from selfheal.table.glance import Glance
from selfheal.table.heartbeat import Heartbeats
from selfheal.table.journal import JournalEntry, Part
from selfheal.table.labels import LabelReport
from selfheal.table.outbox import Outbox
from selfheal.table.refusals import Refusals
from selfheal.table.retention import Retention
from selfheal.table.schema import MODELS, ModelSchema, keep_schema, model_schema, schema_from_row
from selfheal.table.sentinels import Sentinels
from selfheal.table.shadows import Shadows
from selfheal.table.state import Claim, Pointer
from selfheal.table.values import duration_us, to_us
from selfheal.table.windows import Window, WindowRef

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


class InferenceTable:
    """One SQL database by its URL; safe to share between threads and to hand to a child process.

    Every method raises :class:`~selfheal.errors.UnavailableError` when the database cannot be used, and those that
    name a model :class:`~selfheal.errors.NotFoundError` when it was never created.

    Parameters
    ----------
    url
        ``sqlite:////absolute/path.db`` or ``postgresql://user@host/name``.
    rehearses
        Whether nothing that is written stays: for a look at what would be done.
    """

    def __init__(self, url: str, rehearses: bool = False) -> None:
        self._url = url
        self._database = Database(url, rehearses=rehearses)
        self.refusals = Refusals(self._database)
        self.gaps = Gaps(self._database)
        self.retention = Retention(self._database)
        self.freezes = Freezes(self._database)
        self.heartbeats = Heartbeats(self._database)
        self.elsewhere = Elsewhere(self._database)
        self.chain = Chain(self._database)
        self.glance = Glance(self._database)
        self.outbox = Outbox(self._database)
        self.shadows = Shadows(self._database)
        self.sentinels = Sentinels(self._database)
        self._schemas: dict[str, ModelSchema] = {}

    def __reduce__(self) -> tuple[type[InferenceTable], tuple[str, bool]]:
        return (InferenceTable, (self._url, self._database.rehearses))

    def __repr__(self) -> str:
        return f"InferenceTable({self._database.name!r})"

    @property
    def name(self) -> str:
        """The URL with its password masked."""
        return self._database.name

    def close(self) -> None:
        """Close the connections; the table opens new ones when used again."""
        self._database.close()

    # Predictions

    def create(self, model: str, dtypes: Mapping[str, str], classes: Sequence[Any]) -> None:
        """Make room for a model's predictions, and the database where there is none; nothing happens if it is there.

        Parameters
        ----------
        dtypes, classes
            Feature → ``"float" | "int" | "bool" | "str"``, and the sorted class labels.

        Raises
        ------
        InputError
            If predictions are already logged under another schema, naming what differs; if the name can't be used.
        """
        wanted = model_schema(model, dtypes, classes)
        with self._database.write(alone="create tables", create=True) as connection:
            keep_schema(connection, wanted)
            wanted.table.metadata.create_all(connection)

    def models(self) -> list[str]:
        """Names of the adopted models, sorted; none where there is no database."""
        try:
            with self._database.read() as connection:
                return sorted(connection.execute(sa.select(MODELS.c.model)).scalars())
        except NotFoundError:
            return []

    def served(self) -> list[str]:
        """Those that the pointer names a version of: their adoption was finished."""
        return [name for name in self.models() if self.pointer(name) is not None]

    def schema(self, model: str) -> ModelSchema:
        """What the model's predictions look like."""
        known = self._schemas.get(model)
        if known is not None:
            return known
        with self._database.read() as connection:
            row = connection.execute(sa.select(MODELS).where(MODELS.c.model == model)).mappings().first()
            names = [] if row is not None else list(connection.execute(sa.select(MODELS.c.model)).scalars())
        if row is None:
            raise NotFoundError(f"no model {model!r} in {self.name}{nearest(model, names)}; adopt it first")
        return self._schemas.setdefault(model, schema_from_row(row))

    def append(
        self,
        model: str,
        *,
        frame: pd.DataFrame,
        probabilities: npt.NDArray[Any],
        prediction_ids: Sequence[str],
        event_times: Sequence[datetime],
        version: int,
        latency_ms: float,
    ) -> None:
        """Log answered rows; committed when this returns. A retried prediction id is ignored.

        Parameters
        ----------
        frame
            Raw features ``[n, d]``, by name, in any order.
        probabilities
            ``[n, k]``.
        prediction_ids, event_times
            ``n`` each; times are aware.
        version, latency_ms
            The model version that answered, and how long the request took.
        """
        rows = predictions.rows_of_frame(
            self.schema(model),
            frame=frame,
            probabilities=probabilities,
            prediction_ids=prediction_ids,
            event_times=event_times,
            version=version,
            latency_ms=latency_ms,
        )
        self.append_rows(model, rows)

    def append_rows(self, model: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Log rows that are already tuples in the order of ``schema(model).written``; one transaction, unchecked."""
        with self._database.write() as connection:
            predictions.insert_rows(connection, self.schema(model), rows)

    # Labels

    def add_labels(self, model: str, ids: Sequence[str], labels_: Sequence[Any], at: datetime) -> LabelReport:
        """Hold late labels; those of unknown ids wait for their row.

        Raises
        ------
        InputError
            If an id or label is malformed, by name; then no label of the batch is stored.
        """
        schema = self.schema(model)
        checked = labels.checked_labels(schema, ids, labels_)
        with self._database.write() as connection:
            return labels.store_labels(connection, schema, checked, to_us(at))

    # Windows and cycles

    def closed_windows(
        self, model: str, spec: WindowSpec, *, until: datetime, lateness: timedelta, min_rows: int
    ) -> list[WindowRef]:
        """Windows that closed before ``until - lateness`` and wait to be processed, in order.

        The bounds are fixed by the first call that sees a window closed; later calls return the same until
        :meth:`record_cycle` marks it processed.
        """
        schema = self.schema(model)
        with self._database.write(alone=f"windows of {model}") as connection:
            return cycles.plan_windows(
                connection, schema, spec, horizon=to_us(until) - duration_us(lateness), min_rows=min_rows
            )

    def window(self, model: str, index: int) -> WindowRef:
        """A closed window by its index, processed or not."""
        with self._database.read() as connection:
            return cycles.find_window(connection, model, index)

    def read(self, ref: WindowRef, limit: int | None = None) -> Window:
        """A window's rows, with the labels that have come; at most ``limit``, spread evenly over it."""
        with self._database.read() as connection:
            return reading.read_window(connection, self.schema(ref.model), ref, limit)

    def labelled(self, ref: WindowRef, limit: int = reading.LABELLED_ROWS) -> Window:
        """Those of a window's rows whose label has come; the first ``limit`` by arrival."""
        with self._database.read() as connection:
            return reading.read_labelled(connection, self.schema(ref.model), ref, limit)

    def labelled_windows(self, model: str, indexes: Collection[int]) -> dict[int, int]:
        """Of these windows those with labelled rows: index → how many :meth:`labelled` would read."""
        if not indexes:
            return {}
        with self._database.read() as connection:
            return cycles.labelled_windows(connection, self.schema(model), indexes, reading.LABELLED_ROWS)

    def first_labelled(self, model: str, first: int) -> int | None:
        """Index of the first processed window from ``first`` on that has labelled rows; None where none has."""
        with self._database.read() as connection:
            return cycles.first_labelled(connection, self.schema(model), first)

    def latencies(self, ref: WindowRef, limit: int = 20_000) -> npt.NDArray[np.float64]:
        """Milliseconds float64 ``[<= limit]`` that the requests of a window's rows took."""
        with self._database.read() as connection:
            return reading.read_latencies(connection, self.schema(ref.model), ref, limit)

    def record_cycle(
        self,
        model: str,
        index: int,
        record: dict[str, Any],
        *,
        sample: pd.DataFrame | None = None,
        released: Sequence[int] = (),
    ) -> None:
        """Write what was decided about window ``index``, which marks it processed; a second record replaces it.

        Parameters
        ----------
        sample
            At most 2,000 rows (in model units) are kept, in the yardstick by ``health``; the last 12 of each kind.
        released
            Windows that waited and become healthy with it.
        """
        with self._database.write(alone=f"health of {model}") as connection:
            cycles.record_cycle(connection, model, index, record)
            if sample is not None:
                samples.keep(connection, model, index, sample, record["health"] in samples.HEALTHY)
            for waited in released:
                with suppress(NotFoundError):  # so many windows ago that its sample was dropped
                    samples.set_health(connection, model, waited, "healthy", was=("waiting",))

    def amend_cycle(self, model: str, index: int, **changes: Any) -> None:
        """Replace keys of a processed window's record, and leave whatever else it says by now."""
        with self._database.write() as connection:
            cycles.amend_cycle(connection, model, index, lambda _: changes)

    def set_health(self, model: str, indexes: Sequence[int], health: str, was: Collection[str] | None = None) -> None:
        """Change what processed windows are to the yardstick, in their records and of their samples: all or none.

        Parameters
        ----------
        was
            Only of those whose health is one of these by now; by default of all.

        Raises
        ------
        NotFoundError
            One was not processed yet, or should become healthy and its sample is not kept any more.
        """
        with self._database.write(alone=f"health of {model}") as connection:
            for index in indexes:
                samples.set_health(connection, model, index, health, was)

    def cycles(self, model: str, last: int | None = None) -> list[dict[str, Any]]:
        """Records of the processed windows, oldest first, each with its window's index, bounds and row count."""
        with self._database.read() as connection:
            return cycles.recorded(connection, model, last)

    def cycle(self, model: str, index: int) -> dict[str, Any]:
        """The record of one processed window, as in :meth:`cycles`."""
        with self._database.read() as connection:
            records = cycles.recorded(connection, model, index=index)
        if not records:
            raise NotFoundError(f"window {index} of {model!r} was not processed yet; the monitor comes first")
        return records[0]

    def processed(self, model: str) -> set[int]:
        """Indexes of the processed windows."""
        with self._database.read() as connection:
            return cycles.processed(connection, model)

    def recent(self, model: str, windows: int = 6, among: Collection[int] | None = None) -> list[pd.DataFrame]:
        """Samples of the last healthy windows, oldest first; of those with an index in ``among``, if that is given."""
        with self._database.read() as connection:
            return samples.recent(connection, model, windows, among)

    # Journal

    # What is written ``under`` a lease renews it in the same transaction, and raises BusyError where it is lost.

    def journal_begin(
        self, model: str, kind: str, intent: dict[str, Any], at: datetime | None = None, under: Claim | None = None
    ) -> int:
        """Write an intent before acting on it; returns the entry's id."""
        with self._database.write() as connection:
            state.keep(connection, under)
            return journal.begin(connection, model, kind, intent, at or datetime.now(UTC))

    def journal_note(
        self, model: str, kind: str, intent: dict[str, Any], result: str, at: datetime, **more: Any
    ) -> None:
        """Journal what has happened already, in one transaction: nobody ever finds it open."""
        with self._database.write() as connection:
            journal.note(connection, model, kind, intent, {"result": result, **more}, at)

    def journal_act(self, entry: int, act: dict[str, Any], under: Claim | None = None) -> None:
        """Note an act of an open entry."""
        with self._database.write() as connection:
            state.keep(connection, under)
            journal.act(connection, entry, act)

    def journal_done(self, entry: int, outcome: dict[str, Any], under: Claim | None = None) -> None:
        """Close an entry."""
        with self._database.write() as connection:
            state.keep(connection, under)
            journal.done(connection, entry, outcome)

    def journal(
        self, model: str, last: int | None = None, kind: str | Sequence[str] | None = None
    ) -> list[JournalEntry]:
        """A model's entries, all or of a kind or some, oldest first."""
        with self._database.read() as connection:
            return journal.entries(connection, model, last=last, kind=kind)

    def journal_parts(self, model: str, **wanted: Part) -> dict[str, list[JournalEntry]]:
        """Parts of a model's journal by their names, each oldest first, as they stood at one time."""
        with self._database.read() as connection:
            return journal.parts(connection, model, wanted)

    def journal_settled(self, model: str) -> JournalEntry | None:
        """The newest entry whose outcome carries a look."""
        return next(iter(self.journal_parts(model, settled=journal.LAST_SETTLED)["settled"]), None)

    def journal_open(self, model: str) -> list[JournalEntry]:
        """Entries that were begun and not closed: what a crash left behind."""
        return self.journal_parts(model, open=journal.ALL_OPEN)["open"]

    # Leases

    def acquire(self, lease: str, holder: str, ttl: timedelta) -> bool:
        """Take a lease; False while somebody else's has not expired, by the database's clock."""
        with self._database.write() as connection:
            return state.acquire(connection, lease, holder, ttl)

    def renew(self, lease: str, holder: str, ttl: timedelta) -> bool:
        """Hold a lease for longer; False if somebody else has taken it since."""
        with self._database.write() as connection:
            return state.renew(connection, lease, holder, ttl)

    def lease_holder(self, lease: str) -> tuple[str, int] | None:
        """Who holds a lease, and when it runs out by the database's clock, µs since 1970; None when it is free."""
        with self._database.read() as connection:
            return state.lease_holder(connection, lease)

    def release(self, lease: str, holder: str) -> None:
        """Give a lease back."""
        with self._database.write() as connection:
            state.release(connection, lease, holder)

    # The pointer, and policies

    def set_pointer(self, model: str, pointer: Pointer, under: Claim | None = None) -> None:
        """Settle which version serves."""
        if pointer.model != model:
            raise InputError(f"the pointer of {pointer.model!r} cannot be set for {model!r}")
        with self._database.write() as connection:
            state.keep(connection, under)
            state.set_pointer(connection, pointer)

    def pointer(self, model: str) -> Pointer | None:
        """Which version serves; None before adoption."""
        with self._database.read() as connection:
            return state.get_pointer(connection, model)

    def keep_policy(self, model: str, base_manifest: str, yaml: str) -> None:
        """Keep the policy that a base was adopted with again; replaces the one kept before."""
        with self._database.write() as connection:
            state.keep_policy(connection, model, base_manifest, yaml)

    def adopted_policy(self, model: str, base_manifest: str) -> str | None:
        """The policy kept for a base; None where the one stored with the base is still it."""
        with self._database.read() as connection:
            return state.get_policy(connection, model, base_manifest)
