"""``selfheal.follow``: the settled version in a process of one's own, swapped in the background, its answers logged."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import util
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfheal.errors import InputError, nearest
from selfheal.following import forks
from selfheal.following.frames import frame_of, request_of
from selfheal.following.origins import Production, Settled
from selfheal.policy import check_name
from selfheal.serving.answered import answered_rows
from selfheal.serving.config import ServingConfig
from selfheal.serving.log import LogWriter
from selfheal.serving.params import now_us
from selfheal.serving.scorer import Floats
from selfheal.serving.standing import Standing, complaints
from selfheal.settings import Settings
from selfheal.table import InferenceTable

VIAS = ("database", "mlflow")

MLFLOW_POLL_S = 2.0
"""Between two looks at MLflow, 7-10 ms of CPU each with the interpreter held; at the database they cost 0.1 ms."""


def follow(
    name: str,
    *,
    via: str = "database",
    log: bool | None = None,
    wait: bool = False,
    event_clock: bool = False,
    settings: Settings | None = None,
) -> Follower:
    """Serve a model's settled version in this process, and go on with whatever is settled after it.

    Parameters
    ----------
    name
        An adopted model.
    via
        ``"database"``: what was settled, as the scoring service follows it, within 2 s. ``"mlflow"``: MLflow's
        Production alone, looked at every 2 s, where there is no state database.
    log
        Whether answered rows go to the model's own table, in the background; by default where there is a database.
    wait
        Whether a call waits while more than 128 MiB of rows wait to be logged, as a job should, instead of dropping
        them. While the database fails nothing waits for it.
    event_clock
        Accept rows dated in the future: time is what the rows say, as in a replay.
    settings
        The installation; by default the one that the environment names.

    Raises
    ------
    NotFoundError
        No such model, no such home, or nothing in Production.
    ArtifactError
        A stored file is not what was registered.
    UnavailableError
        The database or MLflow cannot be reached; a follower that has begun goes on without them.
    InputError
        The arguments do not go together.
    """
    check_name(name)
    if via not in VIAS:
        raise InputError(f"via is {via!r}{nearest(via, VIAS)}; give one of {', '.join(map(repr, VIAS))}")
    if via == "mlflow" and log:
        raise InputError(
            'via="mlflow" follows without a state database, so that there is no table to log to; leave log out, or '
            'follow via="database"'
        )
    return Follower(name, settings or Settings.from_env(), via, log is not False, wait, event_clock)


class Answer(NamedTuple):
    """What a follower answered.

    Attributes
    ----------
    probabilities
        float64 [n, k].
    prediction_ids
        Ids [n], by which labels come.
    version
        The one version that answered all of it.
    """

    probabilities: Floats
    prediction_ids: list[str]
    version: int


@dataclass(frozen=True)
class _Here:
    """What belongs to one process: threads and connections."""

    table: InferenceTable
    source: Settled | Production
    writer: LogWriter | None
    standing: Standing

    @property
    def busy(self) -> list[threading.Lock]:
        """Held by its threads while they use a connection."""
        return [each.busy for each in (self.source, self.writer) if each is not None]

    def disconnect(self) -> None:
        """Leave no connection open; the next use opens one."""
        self.table.close()
        self.source.disconnect()

    def close(self) -> None:
        self.source.close()
        if self.writer is not None:
            self.writer.close()
        self.table.close()


class Follower:
    """Made by :func:`follow`. Every method may be called from any thread, and after a fork from the child too.

    Attributes
    ----------
    name
        The model.

    Examples
    --------
    ::

        with selfheal.follow("fraud") as follower:
            proba = follower.predict_proba(frame, ids=frame["request_id"])
    """

    def __init__(self, name: str, settings: Settings, via: str, log: bool, wait: bool, event_clock: bool) -> None:
        self.name = name
        self._arguments = name, settings, via, log, wait, event_clock
        self._settings, self._via, self._wait = settings, via, wait
        config = ServingConfig.of(name, settings, event_clock=event_clock)
        self._config = config if via == "database" else replace(config, poll_s=MLFLOW_POLL_S)
        self._logs = log and via == "database"
        self._closed = False
        self._lock = threading.Lock()
        self._inherited: list[_Here] = []
        self._at_exit: util.Finalize | None = None
        self._here: _Here | None = self._opened()
        self._order = tuple(self._here.table.schema(name).dtypes) if self._logs else ()
        self._begin(self._here)
        forks.watch(self)

    def predict_proba(self, frame: Any, ids: Any = None, event_times: Any = None) -> Floats:
        """Class probabilities of raw rows, by the version that serves now; logged in the background.

        Parameters
        ----------
        frame : DataFrame [n, >= d]
            Every feature in raw units, as the model was adopted with; other columns are left alone. A Polars or Arrow
            table is taken too.
        ids
            Prediction ids [n], by which labels come; by default new ones. An id that was logged before is not again.
        event_times
            When the rows happened [n], with their zone; by default now.

        Returns
        -------
        float64 [n, k], columns in the order of ``classes_``.

        Raises
        ------
        InputError
            Naming the column, row and value that cannot be scored, or the id or time; counted as the service counts
            what it refuses.
        """
        return self.answer(frame, ids, event_times).probabilities

    def answer(self, frame: Any, ids: Any = None, event_times: Any = None) -> Answer:
        """As :meth:`predict_proba`, with the version that answered and the ids that it was logged under."""
        began = time.perf_counter()
        here = self._now()
        scorer = here.source.scorer  # taken once: checked, scored and logged by this version alone
        latest = math.inf if self._config.event_clock else (time.time() + self._config.future_s) * 1e6
        try:
            rows = frame_of(frame)
            request, checked = request_of(rows, scorer, ids, event_times, latest_us=latest)
            if not len(rows):
                return Answer(np.empty((0, len(scorer.signature.classes))), [], scorer.version)
            proba = scorer.proba(request.numbers, request.words, checked)
        except InputError as error:
            if here.writer is not None:
                here.writer.refuse(error, max(1, len(frame) if hasattr(frame, "__len__") else 1), now_us())
            raise
        if here.writer is not None:
            ms = (time.perf_counter() - began) * 1000
            text = sum(len(word or "") for column in request.words for word in column)
            if self._wait:
                here.writer.wait_for_room()
            here.writer.put(answered_rows(self._order, request, scorer, proba, ms), text)
        return Answer(proba, request.ids, scorer.version)

    @property
    def version(self) -> int:
        """The version that serves now."""
        return self._now().source.scorer.version

    @property
    def classes_(self) -> NDArray[Any]:
        """The class labels [k], sorted: what the columns of probabilities are."""
        classes = self._now().source.scorer.signature.classes
        return np.array(classes, dtype=object if isinstance(classes[0], str) else None)

    @property
    def trouble(self) -> str:
        """What is wrong: with the pointer, the log, the stages; empty when nothing is. Scoring goes on all the same."""
        here = self._now()
        if self._via == "database":
            faults = [*complaints(here.source, here.writer, self._config), *here.standing.complaints().values()]
        else:
            faults = [f"MLflow cannot be followed: {here.source.error}"] if here.source.error else []
        return "; ".join(faults)

    def close(self) -> None:
        """Stop following; commit what waits to be logged, for as long as ten seconds, and keep the rest in a file."""
        with self._lock:
            here, self._here, self._closed = self._here, None, True
        forks.forget(self)
        if here is not None:
            if self._at_exit is not None:
                self._at_exit.cancel()
            here.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Follower], tuple[Any, ...]]:
        return Follower, self._arguments  # another process follows by itself

    def __repr__(self) -> str:
        here = self._here or next(iter(self._inherited[-1:]), None)
        serves = "closed" if here is None or self._closed else f"version {here.source.scorer.version}"
        return f"Follower({self.name!r}, {serves}, via {self._via})"

    def __del__(self) -> None:
        here = self.__dict__.get("_here")
        if here is not None and self._at_exit is not None:
            self._at_exit.cancel()
            with suppress(RuntimeError):  # the interpreter ends, and has closed it
                threading.Thread(target=here.close, daemon=True).start()

    # ------------------------------------------------------------------ one process, and the next

    def _now(self) -> _Here:
        """What belongs to this process; made at the first use after a fork."""
        here = self._here
        if here is None:
            with self._lock:
                if self._closed:
                    raise InputError(
                        f"this follower of {self.name!r} was closed; make another one: selfheal.follow({self.name!r})"
                    )
                if self._here is None:
                    self._here = self._opened()
                    self._begin(self._here)
                here = self._here
        return here

    def _opened(self) -> _Here:
        table = InferenceTable(self._config.database_url)
        try:
            source = self._source(table)
        except BaseException:
            table.close()
            raise
        spill = self._config.spill
        writer = LogWriter(table, self.name, self._config.queue_bytes, spill) if self._logs else None
        return _Here(table, source, writer, Standing(source, None))

    def _source(self, table: InferenceTable) -> Settled | Production:
        if self._inherited:
            return self._inherited[-1].source.forked(table)
        if self._via == "database":
            return Settled(self._config, table, self._settings)
        return Production(self._config, self._settings)

    def _begin(self, here: _Here) -> None:
        here.source.start()
        if here.writer is not None:
            here.writer.start()
        # At the end of the process, a child of multiprocessing included: what waits is logged.
        self._at_exit = util.Finalize(None, here.close, exitpriority=10)

    # See forks: called around os.fork.

    def here(self) -> _Here | None:
        """What this process has of it."""
        return self._here

    def inherit(self) -> None:
        """In the child: its threads are gone. What they had is not used, nor ever closed, here."""
        self._lock = threading.Lock()
        if self._here is not None:
            self._inherited.append(self._here)
            self._here = None
