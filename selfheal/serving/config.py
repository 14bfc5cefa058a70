"""What a scoring service is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfheal.serving.keys import Keys
from selfheal.serving.spill import SPILL_BYTES
from selfheal.settings import Settings


@dataclass(frozen=True)
class ServingConfig:
    """Settings of one scoring process.

    Attributes
    ----------
    model
        The registered model that it serves.
    database_url
        Of the state database: pointer, inference table, labels.
    cache
        Folder with the base models by digest.
    event_clock
        Whether rows may be dated in the future, as in a replay.
    future_s
        How far, in seconds, a row may be ahead of this machine's clock otherwise: two machines are rarely a minute
        apart, and a row dated further would open windows that nobody else is in.
    poll_s
        Seconds between two looks at the pointer (0.1 ms each): a settled change is served within 2 s.
    beat_s
        Seconds between two looks at what the reconcilers say (0.2 ms each).
    stale_s
        Seconds without a readable pointer after which /health calls the service degraded.
    queue_bytes
        Bytes of answered rows that may wait in memory to be logged: 150,000 rows of 20 columns.
    durable_s
        Seconds that a ``durable`` request waits for its commit.
    body_bytes
        Largest request body.
    spill, spill_bytes
        Folder for answered rows that are not in the database yet, and what it may hold; without one a kill loses them.
    rules
        Folder with the policies of record; None: the model's own policy at adoption holds.
    keys
        Who may ask; None: everybody.
    metrics_apart
        Whether /metrics is not among the routes here, because it has a port of its own.
    turn_s
        Seconds that a whole request may wait for its turn before it is turned away (429): so long a queue only grows.
    rows, text
        The most rows of a request, and characters of a text.
    large
        Bodies above ``inline_bytes`` that may be in work or wait for it.
    worker
        Which of several processes this is; None where there is one.
    inline_bytes
        Bodies above this are handled in a thread, so that nobody waits behind them (about 5 ms of parsing).
    """

    model: str
    database_url: str
    cache: Path
    event_clock: bool = False
    future_s: float = 60.0
    poll_s: float = 0.3
    beat_s: float = 2.0
    stale_s: float = 10.0
    queue_bytes: int = 128 * 2**20
    durable_s: float = 10.0
    body_bytes: int = 32 * 2**20
    inline_bytes: int = 256 * 2**10
    spill: Path | None = None
    spill_bytes: int = SPILL_BYTES
    rules: Path | None = None
    turn_s: float = 1.0
    keys: Keys | None = None
    metrics_apart: bool = False
    rows: int = 200_000
    text: int = 100_000
    large: int = 16
    worker: int | None = None

    @classmethod
    def of(cls, model: str, settings: Settings, *, event_clock: bool = False) -> ServingConfig:
        """The service of a model in an installation."""
        spill = settings.home / "spill" / model
        place = (settings.database_url, settings.cache)
        return cls(model, *place, event_clock=event_clock, spill=spill, rules=settings.rules)
