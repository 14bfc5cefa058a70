"""What every step of the loop works on: the settings, the inference table and the registry of one installation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from selfheal.registry.store import Registry
from selfheal.settings import Settings
from selfheal.steering.pace import Pace
from selfheal.table import InferenceTable

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel


def _go_on(step: str) -> None:
    """Nothing happens between two acts."""


def _wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Workspace:
    """One installation, opened.

    Attributes
    ----------
    settings, table, registry
        Where things are; the database; MLflow.
    clock
        Wall time, aware: what the journal says of when. Leases go by the database's; windows by event time.
    checkpoint
        Called with the name of each act once it is done and journaled. A test that raises (or kills the process) in
        it stands for a crash at that point.
    pace
        How it waits for a lease, and keeps one.
    models
        Loaded models by the digests of their adapter and of their base's manifest: numbers can come to mean another
        model (one that was deleted and adopted anew), digests can't.
    """

    settings: Settings
    table: InferenceTable
    registry: Registry
    clock: Callable[[], datetime] = _wall_clock
    checkpoint: Callable[[str], None] = _go_on
    pace: Pace = field(default_factory=Pace)
    models: dict[tuple[str, str], MonitoredModel] = field(default_factory=dict, repr=False, compare=False)

    def now(self) -> datetime:
        """The earlier of this machine's clock and the database's: what windows close by, and how old rows are.

        A machine that is ahead would close windows whose rows are still to come, and delete rows that are young.

        Raises
        ------
        NotFoundError, UnavailableError
            There is no database yet, or it is away.
        """
        return min(self.clock(), self.table.outbox.now())


def open_workspace(settings: Settings | None = None) -> Workspace:
    """Open the installation that the environment (or ``settings``) names; nothing is connected to before it is used."""
    places = settings or Settings.from_env()
    return Workspace(places, InferenceTable(places.database_url), Registry(places))
