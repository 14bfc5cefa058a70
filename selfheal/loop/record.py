"""Close a cycle: the yardstick, MLflow, an alert where one is due, and the record that marks the window processed."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfheal.errors import SelfhealError
from selfheal.loop.alerts import alert
from selfheal.loop.decide import HISTORY, Decision
from selfheal.loop.expected import as_entry, metrics_of
from selfheal.loop.heal import HealRecord
from selfheal.loop.health import health_of, released
from selfheal.loop.inspect import Inspection
from selfheal.loop.watch import WatchVerdict
from selfheal.policy import Policy
from selfheal.steering.look import Look, last_look
from selfheal.steering.models import serving_pointer
from selfheal.steering.policies import PolicyOfRecord
from selfheal.steering.workspace import Workspace
from selfheal.table import WindowRef

_UNFIT = re.compile(r"[^\w\-. :/]")  # MLflow refuses other characters in the name of a metric


@dataclass(frozen=True)
class Cycle:
    """One processed window: what was decided, and the record of it in the database."""

    ref: WindowRef
    decision: Decision
    heal: HealRecord | None
    watch: WatchVerdict | None
    record: dict[str, Any]


def record(
    ws: Workspace,
    name: str,
    seen: Inspection,
    decision: Decision,
    heal: HealRecord | None = None,
    watch: WatchVerdict | None = None,
) -> Cycle:
    """Keep what a cycle found. The database has it whole or not at all; MLflow's absence is noted in the record.

    Raises
    ------
    UnavailableError
        The database can't be reached: then the window stays unprocessed and comes again.
    """
    history = [c for c in ws.table.cycles(name, last=HISTORY) if c["index"] < seen.ref.index]
    rolled_back = watch is not None and watch.rolled_back
    entry = _entry(ws, seen, decision, heal, watch)
    entry["health"] = health_of(decision, heal, history, rolled_back=rolled_back)
    entry["faults"] = [seen.policy.fault] if seen.policy.fault else []
    fault = faults(decision, heal)
    said = alert(ws, name, "data fault", fault, window=seen.ref.index, version=seen.version) if fault else ""
    entry["mlflow"] = said or _to_mlflow(ws, name, seen, decision, entry, history)
    # The sample of whatever was compared: labels, an audit or a person may clear the unhealthy ones too.
    free = released(seen, decision, history)
    ws.table.record_cycle(name, seen.ref.index, entry, sample=seen.sample, released=free)
    return Cycle(seen.ref, decision, heal, watch, entry)


def record_failed(ws: Workspace, name: str, ref: WindowRef, reason: str) -> Cycle:
    """Give a window up that could not be handled, loudly: no yardstick, no patience, no labels ask of it any more.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database can't be reached.
    """
    look, pointer = last_look(ws, name) or Look(), serving_pointer(ws, name)
    decision = Decision("failed", (reason,))
    entry = _entry(ws, Inspection(ref, pointer.version, look, PolicyOfRecord(Policy())), decision, None, None)
    said = alert(ws, name, "given up", decision.reasons, window=ref.index, version=pointer.version)
    entry |= {"health": "unhealthy", "faults": [], "policy": "", "mlflow": said}
    ws.table.record_cycle(name, ref.index, entry)
    return Cycle(ref, decision, None, None, entry)


def faults(decision: Decision, heal: HealRecord | None) -> tuple[str, ...]:
    """What is wrong with the data, by the guards or by the healer; empty when nothing is."""
    if decision.kind == "data_fault":
        return decision.reasons
    return heal.reasons if heal is not None and heal.diagnosis == "data_fault" else ()


def _entry(
    ws: Workspace, seen: Inspection, decision: Decision, heal: HealRecord | None, watch: WatchVerdict | None
) -> dict[str, Any]:
    return {
        "at": ws.clock().isoformat(),
        "version": seen.version,
        "swap": seen.look.swap,
        "own_share": seen.own_share,
        "decision": decision.kind,
        "reasons": list(decision.reasons),
        "alarm": decision.alarm,
        "confirmed": decision.confirmed,
        "patience": [decision.count, decision.needed, decision.of],
        "problems": list(seen.problems),
        "refused": [asdict(r) for r in seen.refused],
        "signals": [_plain(asdict(s)) for s in seen.signals],
        "drift": {} if seen.report is None else _plain(seen.report.values),
        "drifted": [] if seen.report is None else list(seen.report.drifted),
        "accuracy": None if math.isnan(seen.accuracy) else seen.accuracy,
        "labelled": seen.labelled,
        "estimate": as_entry(seen.estimate),
        "policy": seen.policy.policy.digest,
        "heal": None if heal is None else heal.to_json(),
        "watch": None if watch is None else _plain(asdict(watch)),
        "data_fault": list(faults(decision, heal)),
        "report": "",
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Through JSON, NaN and infinities as null: PostgreSQL's and other people's parsers refuse them."""
    return dict(json.loads(json.dumps(values, default=str), parse_constant=lambda _: None))


def _to_mlflow(
    ws: Workspace,
    name: str,
    seen: Inspection,
    decision: Decision,
    entry: dict[str, Any],
    history: Sequence[dict[str, Any]],
) -> str:
    """Metrics at step = window index on the watch run, and the page where worth keeping; what failed, or empty."""
    try:
        run = ws.registry.watch_run(name, seen.version)
        ws.registry.log_metrics(run, metrics(seen, decision, entry), seen.ref.index, seen.ref.end)
        day = seen.ref.end.date().isoformat()
        due = decision.kind not in ("stable", "too_few") or not any(c.get("report_day") == day for c in history)
        if due and seen.report is not None:
            with tempfile.TemporaryDirectory() as scratch:
                page = Path(scratch) / f"window-{seen.ref.index:06d}-{decision.kind}.html"
                seen.report.html(page)
                ws.registry.log_artifact_file(run, page, "reports")
                entry["report"], entry["report_day"] = f"reports/{page.name}", day
    except SelfhealError as error:
        return str(error)
    return ""


def metrics(seen: Inspection, decision: Decision, entry: dict[str, Any]) -> dict[str, float]:
    """The numbers of one window, by the names that they have in MLflow."""
    found: dict[str, float] = {
        "rows": float(seen.ref.rows),
        "alarm": float(decision.alarm),
        "alarms confirmed": float(decision.confirmed),
        "healthy": float(entry["health"] in ("healthy", "cleared")),
        "data fault": float(bool(entry["data_fault"])),
        "rows refused": float(sum(r.rows for r in seen.refused)),
        "latency p50 ms": seen.latency[0],
        "latency p99 ms": seen.latency[1],
    }
    for signal in seen.signals:
        found |= {f"signal/{signal.name}": signal.value, f"signal/{signal.name} bound": signal.bound}
    if seen.report is not None:
        found |= {key: value for key, value in seen.report.values.items() if not key.startswith("signal/")}
    if seen.labelled:
        found |= {"accuracy": seen.accuracy, "labelled": float(seen.labelled)}
    found |= metrics_of(seen.estimate)
    return {_UNFIT.sub("_", key)[:250]: float(value) for key, value in found.items()}
