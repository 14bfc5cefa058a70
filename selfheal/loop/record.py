"""Close a cycle: the yardstick, MLflow, an alert where one is due, and the record that marks the window processed."""

from __future__ import annotations

import json
import logging
import math
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfheal.errors import InputError, NotFoundError, SelfhealError, UnavailableError
from selfheal.loop.alerts import GIVEN_UP, alert
from selfheal.loop.context import Context
from selfheal.loop.evidence import REPORT
from selfheal.loop.expected import as_entry, metrics_of
from selfheal.loop.health import far, health_of, released
from selfheal.loop.records import Cycle, Decision, HealRecord
from selfheal.registry.versions import VersionInfo

PLACES = {
    "healthy": "1 health/1 healthy",
    "data per bound": "1 health/2 data per bound",
    "rules per bound": "1 health/3 rules per bound",
    "alarm": "1 health/4 alarm",
    "alarms confirmed": "1 health/5 alarm confirmed",
    "data fault": "1 health/6 data fault",
    "accuracy": "2 accuracy/1 by labels",
    "estimated accuracy": "2 accuracy/2 estimated",
    "estimated accuracy low": "2 accuracy/3 estimated low",
    "estimated accuracy high": "2 accuracy/4 estimated high",
    "labelled": "2 accuracy/5 labels",
}
"""Names in MLflow of the numbers that are looked at first: its pages sort sections and charts by name."""

_log = logging.getLogger("selfheal.loop")
_UNFIT = re.compile(r"[^\w\-. :/]")  # MLflow refuses other characters in the name of a metric


def record(ctx: Context) -> Cycle:
    """Keep what a pass found. The database has it whole or not at all; MLflow's absence is noted in the record.

    Raises
    ------
    UnavailableError
        The database can't be reached: then the window stays unprocessed and comes again.
    """
    decision, heal = ctx.decision, ctx.healed
    assert decision is not None  # noqa: S101  a step before this one
    worse = ctx.verdict is not None and (ctx.verdict.rolled_back or ctx.verdict.held)
    entry = entry_of(ctx, decision)
    entry["health"] = health_of(decision, heal, ctx.cycles, off=worse or bool(ctx.seen.failed), far=far(ctx.seen))
    free = released(ctx, decision)
    entry["faults"] = [ctx.of_record.fault] if ctx.of_record.fault else []
    said = alert(ctx, "data fault", entry["data_fault"]) if entry["data_fault"] else ""
    entry["mlflow"] = said or _to_mlflow(ctx, decision, entry)
    entry["evidently"] = _to_evidently(ctx, decision)
    # The sample of whatever was compared: labels, an audit or a person may clear the unhealthy ones too.
    ctx.ws.table.record_cycle(ctx.name, ctx.ref.index, entry, sample=ctx.seen.sample, released=free)
    return Cycle(ctx.ref, decision, heal, ctx.verdict, entry)


def record_failed(ctx: Context, reason: str) -> Cycle:
    """Give a window up that could not be handled, loudly: no yardstick, no patience, no labels ask of it any more.

    Raises
    ------
    UnavailableError
        The database can't be reached.
    """
    decision = Decision("failed", (reason,))
    entry = entry_of(ctx, decision)
    said = alert(ctx, GIVEN_UP, decision.reasons)
    entry |= {"health": "unhealthy", "faults": [], "policy": "", "mlflow": said}
    ctx.ws.table.record_cycle(ctx.name, ctx.ref.index, entry)
    return Cycle(ctx.ref, decision, None, None, entry)


def faults(decision: Decision, heal: HealRecord | None) -> tuple[str, ...]:
    """What is wrong with the data, by the guards or by the healer; empty when nothing is."""
    if decision.kind == "data_fault":
        return decision.reasons
    return heal.reasons if heal is not None and heal.diagnosis == "data_fault" else ()


def entry_of(ctx: Context, decision: Decision) -> dict[str, Any]:
    """What a pass found, as the record of its cycle; its health and what MLflow has of it come later."""
    seen, heal, watch, fault = ctx.seen, ctx.healed, ctx.verdict, list(faults(decision, ctx.healed))
    return {
        "at": ctx.ws.clock().isoformat(),
        "version": ctx.version,
        "swap": ctx.look.swap,
        "own_share": seen.own_share,
        "decision": decision.kind,
        "reasons": list(decision.reasons),
        "alarm": decision.alarm,
        "confirmed": decision.confirmed,
        "patience": [decision.count, decision.needed, decision.of],
        "problems": list(seen.problems),
        "failed_heal": list(seen.failed),
        "refused": [asdict(r) for r in seen.refused],
        "dropped": [asdict(r) for r in seen.dropped],
        "held": seen.size,
        "strange": seen.strange,
        "signals": [plain(asdict(s)) for s in seen.signals],
        "drift": {} if seen.report is None else plain(seen.report.values),
        "drifted": [] if seen.report is None else list(seen.report.drifted),
        "accuracy": None if math.isnan(seen.accuracy) else seen.accuracy,
        "labelled": seen.labelled,
        "estimate": as_entry(seen.estimate),
        "policy": ctx.policy.digest,
        "heal": None if heal is None else heal.to_json(),
        "watch": None if watch is None else plain(asdict(watch)),
        "data_fault": fault,
        "report": "",
        **({"early": seen.early} if seen.early else {}),
        **({"segments": list(seen.segments)} if seen.segments else {}),
        **({"fractions": list(seen.fractions)} if seen.fractions else {}),
    }


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Through JSON, NaN and infinities as null: PostgreSQL's and other people's parsers refuse them."""
    return dict(json.loads(json.dumps(values, default=str), parse_constant=lambda _: None))


def _to_mlflow(ctx: Context, decision: Decision, entry: dict[str, Any]) -> str:
    """Metrics at step = window index on the watch run, and the page where worth keeping; what failed, or empty.

    A heal has the page among its evidence: then it is on its run.
    """
    runs, ref, report = ctx.ws.registry.runs, ctx.ref, ctx.seen.report
    healed = "" if ctx.healed is None else ctx.healed.run_id
    try:
        run = entry["run"] = _logged(ctx, metrics(ctx, decision, entry))
        day = ref.end.date().isoformat()
        due = decision.kind not in ("stable", "too_few") or not any(c.get("report_day") == day for c in ctx.cycles)
        if due and report is not None:
            with tempfile.TemporaryDirectory() as scratch:
                page = Path(scratch) / f"window-{ref.index:06d}-{decision.kind}.html"
                if report.html(page):
                    entry["report"], entry["report_day"] = f"reports/{page.name}", day
                    if healed:
                        entry["report"], entry["report_run"] = REPORT, healed
                    else:
                        runs.log_file(run, page, "reports")
                else:
                    entry["drift"] = {}  # as where nothing could be computed: the status says so
    except SelfhealError as error:
        return str(error)
    return ""


def _to_evidently(ctx: Context, decision: Decision) -> str:
    """The report as a run of the model's project, where an Evidently workspace is set; what failed, or empty."""
    place, report, ref = ctx.ws.settings.evidently, ctx.seen.report, ctx.ref
    if not place or report is None:
        return ""
    from selfheal.drift.report.runs import WindowRun

    known = {"version": str(ctx.version), "window": str(ref.index)}
    run = WindowRun(ctx.name, ref.index, f"window {ref.index}: {decision.kind}", ref.end, (decision.kind,), known)
    try:
        report.pages.publish(place, run)
    except UnavailableError as error:
        _log.warning("%s, window %d: %s", ctx.name, ref.index, error)
        return str(error)
    return ""


def _logged(ctx: Context, numbers: dict[str, float]) -> str:
    """The watch run, which now has a window's numbers: that of the window before where the same version served it."""
    runs, ref = ctx.ws.registry.runs, ctx.ref
    before = ctx.cycles[-1] if ctx.cycles else {}
    known = before.get("run", "") if before.get("version") == ctx.version else ""

    def info() -> VersionInfo:
        return ctx.info(ctx.version)

    run = runs.watch_run(ctx.name, ctx.version, info, known)
    try:
        runs.log_metrics(run, numbers, ref.index, ref.end)
    except (NotFoundError, InputError):  # somebody deleted it
        runs.forget_watch(ctx.name)
        run = runs.watch_run(ctx.name, ctx.version, info)
        runs.log_metrics(run, numbers, ref.index, ref.end)
    return run


def metrics(ctx: Context, decision: Decision, entry: dict[str, Any]) -> dict[str, float]:
    """The numbers of one window, by the names that they have in MLflow."""
    seen = ctx.seen
    numbers: dict[str, float] = {
        "rows": float(ctx.ref.rows),
        "alarm": float(decision.alarm),
        "alarms confirmed": float(decision.confirmed),
        "healthy": float(entry["health"] in ("healthy", "cleared")),
        "data fault": float(bool(entry["data_fault"])),
        "rows refused": float(sum(r.rows for r in seen.refused)),
        "rows dropped": float(sum(r.rows for r in seen.dropped)),
        "latency p50 ms": seen.latency[0],
        "latency p99 ms": seen.latency[1],
    }
    for signal in seen.signals:
        if signal.bound:
            numbers[f"{signal.name} per bound"] = signal.value / signal.bound
        numbers |= {f"signal/{signal.name}": signal.value, f"signal/{signal.name} bound": signal.bound}
    if seen.report is not None:
        numbers |= {key: value for key, value in seen.report.values.items() if not key.startswith("signal/")}
    if seen.labelled:
        numbers |= {"accuracy": seen.accuracy, "labelled": float(seen.labelled)}
    numbers |= metrics_of(seen.estimate)
    for part in seen.segments:
        about = f"segment/{part['column']} {part['value']}"
        numbers |= {f"{about} per bound": part["ratio"]} if part["ratio"] is not None else {}
        numbers |= {f"{about} accuracy": part["accuracy"]} if part["labelled"] else {}
    return {PLACES.get(key, _UNFIT.sub("_", key)[:250]): float(value) for key, value in numbers.items()}
