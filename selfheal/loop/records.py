"""What the steps of a pass find, each a plain record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from selfheal.table import Gap, Refusal, WindowRef

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.drift.report import DriftReport
    from selfheal.drift.signals import Signal
    from selfheal.loop.expected import Expected

Kind = Literal["stable", "drift", "alarm", "heal", "data_fault", "too_few", "failed"]
Says = Literal["better", "worse", "undecided", "none"]

FAILED = "failed"
"""Decision of a heal that came to no outcome."""

HEAL_FAILED = "heal failed"
"""Kind of the journal entries that say why; a heal by hand has no other record."""

HEAL_JUDGED = "judged"
"""Kind of the journal's entries that say of a heal whether it harmed."""

LABELS_ASKED = "asked labels"
"""Kind of the journal's entries about rows to label: what was drawn, and what the labels of it say."""


@dataclass(frozen=True)
class Inspection:
    """What was seen in a window.

    Attributes
    ----------
    problems
        What the guards found: columns that make it a data fault.
    refused
        Rows of its time that the service refused: no window holds them.
    dropped
        Rows of its time that were answered and are in no log.
    size
        Rows that the window held when it was read; None where late ones are not counted.
    strange
        Rows that another base answered: the window is judged without them.
    fractions
        Columns of whole numbers in which some rows hold fractions, in words.
    failed
        Columns that the serving map leaves off the healthy windows: the heal behind it failed.
    signals
        What the data say and what the rules say; empty when the guards found something.
    report
        Evidently's report, for people; None when there is nothing to compare.
    own_share
        Share of the rows that the serving version itself answered.
    accuracy, labelled
        Of the served answers where labels have come (NaN without any), and how many have.
    estimate
        What accuracy to expect without labels, or why nothing is said; None when nothing was compared.
    latency
        p50 and p99 of the requests' milliseconds.
    early
        Why the window was closed early; empty where it was not.
    sample
        Up to 2,000 rows in model units, spread over the window: the yardstick's, if it is healthy.
    segments
        Of each part that the policy declares: column, value, rows, what the data say of it, accuracy and labels.
    """

    problems: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    dropped: tuple[Gap, ...] = ()
    failed: tuple[str, ...] = ()
    signals: tuple[Signal, ...] = ()
    report: DriftReport | None = field(default=None, repr=False)
    own_share: float = 0.0
    accuracy: float = float("nan")
    labelled: int = 0
    estimate: Expected | None = None
    latency: tuple[float, float] = (float("nan"), float("nan"))
    sample: pd.DataFrame | None = field(default=None, repr=False)
    size: int | None = None
    early: str = ""
    strange: int = 0
    fractions: tuple[str, ...] = ()
    segments: tuple[dict[str, Any], ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether either signal alarms."""
        return any(s.alarm for s in self.signals)


@dataclass(frozen=True)
class WatchVerdict:
    """What a window says about the version that serves.

    Attributes
    ----------
    version, against
        The version, and the one that served before.
    window
        Index of the window.
    verdict
        ``better``, ``worse`` or ``undecided``; ``none`` when it does not speak about this version.
    by
        ``data`` or ``labels``.
    reasons
        Measure, value, bound.
    rolled_back
        Whether the stages went back.
    held
        Whether they would have, and the loop is frozen.
    """

    version: int
    against: int | None
    window: int
    verdict: Says
    by: str = ""
    reasons: tuple[str, ...] = ()
    rolled_back: bool = False
    held: bool = False


@dataclass(frozen=True)
class Decision:
    """What a window asks for.

    Attributes
    ----------
    kind
        ``stable``; ``drift`` (reported: harmless, or an alarm that is not confirmed yet); ``alarm`` (confirmed, but no
        heal now); ``heal``; ``data_fault``; ``too_few``; ``failed`` (it could not be handled).
    reasons
        In words: measure, value, bound.
    alarm, confirmed
        Whether a signal alarms, and whether patience is reached with it.
    count, needed, of
        Alarms among the last ``of`` windows, and how many patience asks for.
    """

    kind: Kind
    reasons: tuple[str, ...]
    alarm: bool = False
    confirmed: bool = False
    count: int = 0
    needed: int = 0
    of: int = 0


@dataclass(frozen=True)
class HealRecord:
    """What a heal came to.

    Attributes
    ----------
    window
        Index of the window.
    decision, diagnosis, reasons
        Those of :class:`selfheal.Outcome`; ``"failed"`` when there was none, see ``failure``.
    changed_part, words
        The part of the adapter that changed, and what it does now, a line each.
    version
        The version that was registered or is to be recalled.
    promoted, note
        Whether it serves now, and what release said.
    run_id
        The heal run in MLflow.
    failure
        Why there is no outcome, or why it could not be kept; empty otherwise.
    question, options, asks
        Those of :class:`selfheal.Outcome`.
    """

    window: int
    decision: str
    diagnosis: str = ""
    reasons: tuple[str, ...] = ()
    changed_part: str = "none"
    words: tuple[str, ...] = ()
    numbers: Mapping[str, float] | None = None
    candidates: tuple[Mapping[str, Any], ...] = ()
    version: int | None = None
    promoted: bool = False
    note: str = ""
    run_id: str = ""
    failure: str = ""
    seconds: float = 0.0
    question: str = ""
    options: tuple[str, ...] = ()
    asks: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON record; NaN as null."""
        return dict(_without_nan(asdict(self)))


@dataclass(frozen=True)
class Cycle:
    """One processed window: what was decided, and the record of it in the database."""

    ref: WindowRef
    decision: Decision
    heal: HealRecord | None
    watch: WatchVerdict | None
    record: dict[str, Any]


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null in its place, and plain numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(k): _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
