"""Where a model stands, as one plain record: for ``selfheal status``, a page, or a health check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from selfheal.adapter_file import glimpse
from selfheal.alerts.conditions import LEFT_ALONE
from selfheal.alerts.conditions import ills as ills_of
from selfheal.errors import NotFoundError, SelfhealError
from selfheal.loop.ahead import ahead
from selfheal.loop.asked import last_told
from selfheal.loop.confirm import trial_of
from selfheal.loop.context import HISTORY
from selfheal.loop.decide import nominal, verdict_of, watched
from selfheal.loop.expected import of_serving
from selfheal.loop.harm import standing_of_heals
from selfheal.loop.judgement import score
from selfheal.loop.logged import LABELS, READ, assumed, standing_of
from selfheal.loop.questions import open_question
from selfheal.loop.watch import held_back
from selfheal.policy import Policy
from selfheal.registry.versions import VersionInfo
from selfheal.steering.look import PRODUCTION, STAGING, Look, last_look
from selfheal.steering.models import serving_pointer
from selfheal.steering.policies import POLICY, policy_of_record
from selfheal.steering.shadowing import Compared
from selfheal.steering.troubles import JOURNALED, troubles
from selfheal.steering.trusts import lost_trust
from selfheal.steering.waits import WAITS, orders
from selfheal.steering.workspace import Workspace
from selfheal.table import Freeze, JournalEntry, Pointer

LASTING = 2
"""Windows in a row in which a segment alarms before its model is called degraded: one of a dozen does so by chance."""

TREND = 32
"""Windows whose figures are shown in a row."""


def status(ws: Workspace, name: str, *, last: int = 10) -> dict[str, Any]:
    """Everything worth knowing about a model now.

    Parameters
    ----------
    last
        Cycles to show.

    Returns
    -------
    dict
        ``model, healthy, health, frozen, production, versions, cycles, refused, dropped, log, trend, evidently, drift,
        segments, estimate, asked, score, patience, watch, shadow, quarantine, withdrawn, false_heals, audit_pending,
        question, policy, alerts, journal, mlflow, ahead``; JSON-able. ``ahead``: see
        :func:`~selfheal.loop.ahead.ahead`. Without MLflow the ``versions`` are empty and ``mlflow`` says why.
        ``refused, dropped``: rows refused, and rows answered that are in no log, since the last window.
        ``segments``: the declared parts of the newest window, each against its own healthy rows.
        ``estimate``: the accuracy to expect of the version that serves. ``asked``: the accuracy by labels that were
        asked for. ``score``: how often labels said that a decision was right.
        ``log``: how a log of the owner's stands (``from, state, reasons, late, labels``), None for the own table.
        ``alerts``: places that could not be told. ``evidently``: of the last windows, why one is in no workspace.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away.
    """
    pointer = serving_pointer(ws, name)
    changed_part, words = glimpse(pointer.adapter)
    look = last_look(ws, name) or Look(settled=pointer.version)
    record = policy_of_record(ws, name)
    cycles = ws.table.cycles(name, last=HISTORY)
    versions, away = _versions(ws, name)
    journal = ws.table.journal(name, last=JOURNALED)
    own = [c for c in cycles if c["decision"] != "too_few" and c.get("version") not in look.others]
    newest: Mapping[str, Any] = own[-1] if own else {}
    ills = _standing(ws, name, versions) | ({"mlflow": away} if away else {})
    since = datetime.fromisoformat(cycles[-1]["end"]) if cycles else None
    refused = ws.table.refusals.between(name, since)
    dropped = ws.table.gaps.between(name, since)
    if (refused or dropped) and not ws.table.refusals.served_since(name, since):
        what = "refused" if not dropped else "refused or answered without being logged"
        ills["refused"] = f"since the last window every row was {what}: {'; '.join(map(str, [*refused, *dropped]))}"
    log = _log_of(ws, name, record.policy, cycles)
    if log is not None and log["state"] not in ("", READ):
        ills["log"] = "; ".join(log["reasons"])
    if log is not None and log["labels"]:
        ills["labels"] = f"labels: {log['labels']}"
    if lost := lost_trust(ws, name):
        ills["trust"] = f"heals wait for labels, an audit or a person: {lost} (selfheal trust {name})"
    waiting = [f"version {v} waits for {why}" for v, why in orders(versions, look).items()]
    health = [*ills.values(), *_ills(newest, pointer.version), *_open(journal), *waiting]
    frozen = ws.table.freezes.find(name)
    served = watched(look, cycles)
    return {
        "model": name,
        "healthy": not health,
        "health": health,
        "frozen": None if frozen is None else _frozen(frozen),
        "production": {
            "version": pointer.version,
            "adapter": words,
            "changed_part": changed_part,
            "pinned": look.pinned,
            "settled_by": look.actor,
            "previous": look.previous,
            **_settled(journal, look, pointer),
            "base_version": pointer.base_version,
            "base_digest": pointer.base_digest,
            "trial": next((trial_of(v.tags) for v in versions if v.version == pointer.version), None),
        },
        "ahead": ahead(ws, name, record.policy),
        "versions": [_version(info, look) for info in versions],
        "cycles": [_cycle(c) for c in cycles[-last:]],
        "refused": [asdict(r) for r in refused],
        "dropped": [asdict(r) for r in dropped],
        "log": log,
        "trend": _trend(cycles[-TREND:]),
        "evidently": [c["evidently"] for c in cycles[-TREND:] if c.get("evidently")],
        "drift": {"signals": newest.get("signals", []), "drifted": newest.get("drifted", [])},
        "segments": newest.get("segments", []),
        "estimate": of_serving(newest, pointer.version),
        "asked": last_told(ws, name),
        "score": score(cycles),
        "patience": newest.get("patience", [0, *record.policy.heal.patience]),
        "watch": {
            "windows": len(nominal(served)),
            "of": record.policy.release.watch_windows,
            "verdicts": [verdict_of(c) for c in served],
        },
        "shadow": _shadow(ws, name, versions, record.policy.release.shadow_windows),
        "quarantine": sorted(look.quarantined),
        "withdrawn": sorted(look.vetoed),
        "false_heals": standing_of_heals(ws, name, record.policy),
        "question": _waiting(ws, name),
        "audit_pending": [v.version for v in versions if v.stage == STAGING and v.tags.get("verdict") == "audit"],
        "policy": {"digest": record.policy.digest, "fault": record.fault},
        "alerts": [asdict(t) for t in ws.table.outbox.targets(name) if t.tries and t.waiting],
        "journal": [_entry(e) for e in journal],
        "mlflow": away,
    }


def _settled(journal: Sequence[JournalEntry], look: Look, pointer: Pointer) -> dict[str, str]:
    """Since when it serves, and why; the reason of a change of long ago is in the history."""
    entry = next((e for e in journal if e.id == look.swap), None)
    at = pointer.settled_at if entry is None else entry.at
    return {"since": at.isoformat(), "why": "" if entry is None else entry.intent.get("change", {}).get("reason", "")}


def _trend(cycles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the last windows: rows, rows that came late, accuracy, and each signal as a multiple of its bound."""
    names = dict.fromkeys(s["name"] for c in cycles for s in c.get("signals", ()))
    return {
        "rows": [c.get("rows") for c in cycles],
        "late": sum(c.get("late", 0) for c in cycles),
        **{kind: sum(r["rows"] for c in cycles for r in c.get(kind, ())) for kind in ("refused", "dropped")},
        "accuracy": [c.get("accuracy") for c in cycles],
        "signals": {name: [_share_of_bound(c, name) for c in cycles] for name in names},
    }


def _share_of_bound(cycle: Mapping[str, Any], name: str) -> float | None:
    signal = next((s for s in cycle.get("signals", ()) if s["name"] == name), None)
    if signal is None or signal["value"] is None or not signal["bound"]:
        return None
    return float(signal["value"] / signal["bound"])


def _frozen(freeze: Freeze) -> dict[str, Any]:
    """A freeze in JSON's types."""
    until = None if freeze.until is None else freeze.until.isoformat()
    return {"by": freeze.by, "why": freeze.why, "since": freeze.since.isoformat(), "until": until}


def _log_of(ws: Workspace, name: str, policy: Policy, cycles: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How the owner's log stood when it was last read, and how many rows came too late for the last windows."""
    log = policy.foreign
    if log is None:
        return None
    late = sum(c.get("late", 0) for c in cycles)
    labels = "; ".join(standing_of(ws, name, LABELS).get("reasons", []))
    known = {"from": log.source, "state": "", "reasons": [], "late": late, "labels": labels, "assumed": assumed(log)}
    return known | standing_of(ws, name)


def _waiting(ws: Workspace, name: str) -> str:
    """The question that the owner of the data could answer, or empty."""
    asked = open_question(ws, name)
    return "" if asked is None else asked.text


def _versions(ws: Workspace, name: str) -> tuple[Sequence[VersionInfo], str]:
    try:
        return ws.registry.glance(name), ""
    except NotFoundError:
        return [], f"MLflow has no registered model {name!r}"
    except SelfhealError as error:
        return [], str(error)


def _standing(ws: Workspace, name: str, versions: Sequence[VersionInfo]) -> dict[str, str]:
    """What is wrong whatever the windows say: what this look finds, and what only a service's reconciler can."""
    ills = troubles(ws, name)
    if versions and PRODUCTION not in {v.stage for v in versions}:
        ills["production"] = f"no version of {name!r} is in Production; replicas keep serving what they have"
    beat = ws.table.heartbeats.last(name)
    said = beat.complaints() if beat else {}
    return ills | {kind: words for kind, words in said.items() if kind in ills or kind in ("production", "stages")}


def _shadow(ws: Workspace, name: str, versions: Sequence[VersionInfo], wanted: int) -> list[dict[str, Any]]:
    """What scores beside the version that serves: answers so far, and what they say."""
    counts, known = ws.table.shadows.counts(ws.table.schema(name)), ws.table.shadows.versions(name)
    tags = {info.version: info.tags for info in versions}
    answers = {version: Compared.of(tags.get(version, {})) for version in sorted(known)}
    return [
        {"version": version, "answers": counts.get(version, 0), "agreeing": said.agreeing, "of": wanted}
        | {"promised": said.promised if said.seen else None, "fault": said.fault}
        | {"differs": said.windows[-1][2] if said.windows else None}
        for version, said in answers.items()
    ]


def _ills(newest: Mapping[str, Any], serving: int) -> list[str]:
    """What is wrong by the newest window; a heal of it that serves by now, after an answer say, has undone it."""
    heal, watch = newest.get("heal") or {}, newest.get("watch") or {}
    undone = bool(heal.get("promoted")) or heal.get("version") == serving
    lines = [f"window {newest['index']}: {held_back(watch)}"] if watch.get("held") else []
    if newest.get("decision") == "failed":
        lines.append(f"window {newest['index']} was given up: {'; '.join(newest['reasons'])}")
    elif newest.get("data_fault"):
        lines.append(f"data fault in window {newest['index']}: {'; '.join(newest['data_fault'])}")
    elif newest.get("confirmed") and newest.get("health") not in LEFT_ALONE and not undone:
        lines.append(
            f"degraded by drift that nothing has undone, window {newest['index']}: {'; '.join(newest['reasons'])}"
        )
    if words := ills_of({"decision": "", "reasons": [], **newest}).get("retrain"):
        lines.append(f"window {newest['index']}: {words}")
    if newest.get("failed_heal") and not undone:
        lines.append(f"degraded: window {newest['index']}: {'; '.join(newest['failed_heal'])}")
    if newest.get("signals") and not newest.get("drift"):
        lines.append(f"window {newest['index']} has no drift report; the log says why")
    lines += [
        f"{s['column']} {s['value']}: degraded for {s['alarms']} windows, while the rest may be well: {s['reason']}"
        for s in newest.get("segments", ())
        if s["alarms"] >= LASTING
    ]
    if heal.get("failure"):
        lines.append(f"the heal of window {newest['index']} failed: {heal['failure']}")
    return lines


def _open(journal: Sequence[JournalEntry]) -> list[str]:
    return [f"{e.kind} of {e.at:%Y-%m-%d %H:%M:%S} was not finished" for e in journal if e.outcome is None]


def _version(info: VersionInfo, look: Look) -> dict[str, Any]:
    return {
        "version": info.version,
        "stage": info.stage,
        "base": info.base_version,
        "diagnosis": info.lineage.diagnosis,
        "changed_part": info.tags.get("changed_part", ""),
        "parent": info.tags.get("parent", ""),
        "window": info.tags.get("window", ""),
        "created": info.created.isoformat(),
        "waits": info.tags.get(WAITS, "") if info.stage == STAGING else "",
        "quarantined": info.version in look.quarantined,
        "withdrawn": info.version in look.vetoed,
    }


def _cycle(record: Mapping[str, Any]) -> dict[str, Any]:
    heal, watch = record.get("heal") or {}, record.get("watch") or {}
    return {
        **{k: record.get(k) for k in ("index", "start", "end", "rows", "version", "decision", "reasons", "health")},
        **{k: record.get(k) for k in ("accuracy", "labelled", "estimate", "drifted", "mlflow")},
        "refused": record.get("refused", []),
        "dropped": record.get("dropped", []),
        "late": record.get("late", 0),
        "early": record.get("early", ""),
        "strange": record.get("strange", 0),
        "fractions": record.get("fractions", []),
        "revision": _revision(record.get("revision")),
        "signals": [s["name"] for s in record.get("signals", []) if s["alarm"]],
        "heal": {k: heal.get(k) for k in ("decision", "diagnosis", "version", "promoted", "note")} if heal else None,
        "watch": {k: watch.get(k) for k in ("verdict", "by", "rolled_back")} if watch else None,
    }


def _revision(revision: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the window's rows say with those that came late."""
    return {k: revision[k] for k in ("at", "late", "alarm", "reasons", "report")} if revision else None


def _entry(entry: JournalEntry) -> dict[str, Any]:
    change = entry.intent.get("change", {})
    words = change.get("reason", "") or "; ".join(entry.intent.get("reasons", []))
    return {
        "at": entry.at.isoformat(),
        "kind": entry.kind,
        "version": change.get("to", entry.intent.get("version")),
        "actor": change.get("actor", entry.intent.get("actor", "")),
        "reason": entry.intent.get("digest", "")[:12] if entry.kind == POLICY else words,
        "done": entry.outcome is not None,
    }
