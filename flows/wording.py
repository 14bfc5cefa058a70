"""What a cycle decided, in words: one state name, one line, one page. Pure: it reads the record of a cycle.

The record is what :func:`selfheal.loop.record` wrote, with the window's ``index`` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

QUIET = {
    "stable": "Healthy",
    "too_few": "Too few rows",
    "drift": "Drift",
    "alarm": "Alarm",
    "data_fault": "Data fault",
    "failed": "Given up",
}
HEALED = {"promote": "Promoted", "recall": "Recalled"}
NOT_HEALED = {"audit": "Waiting", "keep": "Kept", "refuse": "Refused", "failed": "Heal failed"}


def state(record: Record) -> str:
    """One or two words: the name of the state that a run ends in."""
    watch = record.get("watch") or {}
    if watch.get("rolled_back") or watch.get("held"):
        return "Rolled back" if watch["rolled_back"] else "Worse, frozen"
    heal = record.get("heal")
    return QUIET[record["decision"]] if heal is None else heal_state(heal)


def heal_state(heal: Record) -> str:
    """The state of a heal: ``Waiting`` is what the gate accepted and somebody must still allow."""
    if heal["diagnosis"] == "data_fault":
        return QUIET["data_fault"]
    if heal["decision"] in HEALED:
        waits = "Observed" if heal["version"] is None else "Waiting"  # nothing was registered: release.approval
        return HEALED[heal["decision"]] if heal["promoted"] else waits
    return NOT_HEALED[heal["decision"]]


def healthy(record: Record) -> bool:
    """Whether nobody need look: no fault, no confirmed alarm, or one that was healed."""
    return record["health"] != "unhealthy" or bool((record.get("heal") or {}).get("promoted"))


def message(record: Record) -> str:
    """What was decided and why, in one line."""
    watch, heal = record.get("watch") or {}, record.get("heal")
    if watch.get("rolled_back"):
        return f"rolled back v{watch['version']} to v{watch['against']}: {_first(watch['reasons'])}"
    if watch.get("held"):
        return f"v{watch['version']} is worse than v{watch['against']}: {watch['reasons'][-1]}"
    if heal is not None:
        return heal_message(heal)
    words = QUIET[record["decision"]].lower()
    reasons = _why(record)
    return f"{words}: {reasons}" if reasons else words


def heal_message(heal: Record) -> str:
    """What a heal came to, e.g. ``promoted v3: sensor, temp: °F to °C``."""
    name = heal_state(heal).lower()
    if heal["decision"] == "failed":
        return f"{name}: {heal['failure']}"
    what = ", ".join([heal["diagnosis"], *heal["words"]])
    if name in ("waiting", "observed"):
        return f"{what}; {heal['note']}"
    if heal["version"] is None:
        return f"{name}: {what}; {_first(heal['reasons'])}".rstrip("; ")
    return f"{name} v{heal['version']}: {what}"


def line(model: str, record: Record) -> str:
    """One line of a list of windows."""
    return f"{model} window {record['index']}: {message(record)}"


def maintained(record: Record) -> str:
    """What a maintain run came to, in one line.

    >>> maintained({"version": 3, "settled": True, "judged": [4, 5], "revised": [], "deleted": 0})
    'version 3 serves now; windows judged by labels: 2'
    """
    parts = {
        f"version {record['version']} serves now": record["settled"],
        f"windows judged by labels: {len(record['judged'])}": record["judged"],
        f"windows revised with late rows: {len(record['revised'])}": record["revised"],
        f"old rows deleted: {record['deleted']:,}": record["deleted"],
    }
    return "; ".join(words for words, there in parts.items() if there) or "nothing to do"


def run_name(model: str, windows: Sequence[int]) -> str:
    """The name of a monitor run: which windows it looks at."""
    if not windows:
        return f"{model}: no window closed"
    if len(windows) == 1:
        return f"{model} window {windows[0]}"
    return f"{model} windows {windows[0]} to {windows[-1]}"


def summary(records: Sequence[Record]) -> tuple[str, str]:
    """State name and message of a run over several windows: those of the last one that is not plain healthy."""
    if not records:
        return "Nothing new", "no window closed since the last look"
    telling = [r for r in records if state(r) not in ("Healthy", "Too few rows")]
    chosen = telling[-1] if telling else records[-1]
    where = "" if len(records) == 1 else f"window {chosen['index']}: "
    return state(chosen), where + message(chosen)


def worth_a_page(record: Record) -> bool:
    """Whether more is to be said than a line."""
    watch = record.get("watch") or {}
    return record["decision"] not in ("stable", "too_few") or bool(watch.get("rolled_back") or watch.get("held"))


def page(model: str, record: Record) -> str:
    """The decision, its reasons and where its evidence lies, as Markdown."""
    heal, watch = record.get("heal"), record.get("watch") or {}
    parts = [f"# {model}, window {record['index']}: {state(record).lower()}", _escaped(message(record))]
    parts.append(_bullets("Why", record["reasons"]))
    if watch.get("reasons"):
        parts.append(_bullets(f"Watch over v{watch['version']}: {watch['verdict']}", watch["reasons"]))
    if heal:
        parts.append(_bullets(f"Heal: {heal['diagnosis'] or 'no diagnosis'}", [*heal["reasons"], heal["note"]]))
        parts.append(_candidates(heal["candidates"]))
        parts.append(f"MLflow run of the heal: `{heal['run_id']}`" if heal["run_id"] else "")
    if record.get("report"):
        run = "the run of the heal" if record.get("report_run") else f"the watch run of version {record['version']}"
        parts.append(f"Drift report: `{record['report']}` on {run}")
    return "\n\n".join(p for p in parts if p) + "\n"


def slug(model: str) -> str:
    """A model's name as Prefect allows it in the key of an artifact: lower case letters, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"


def _why(record: Record) -> str:
    """The figures of a quiet window; of an alarm the signal, and what keeps it from a heal; else the first reason."""
    reasons = record["reasons"]
    if record["decision"] == "stable":
        return _measured(record.get("signals", ()))
    if record["alarm"] and len(reasons) > 1:
        return f"{reasons[0]}; {reasons[-1]}"
    return _first(reasons)


def _first(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""


def _measured(signals: Sequence[Record]) -> str:
    return ", ".join(f"{s['name']} {_cell(s['value'])} (bound {_cell(s['bound'])})" for s in signals)


def _bullets(title: str, lines: Sequence[str]) -> str:
    kept = [f"- {_escaped(text)}" for text in lines if text]
    return "\n".join([f"**{_escaped(title)}**", "", *kept]) if kept else ""


def _candidates(rows: Sequence[Record]) -> str:
    """The table of candidates, without the columns that do not fit a page."""
    columns = ("name", "kind", "explained", "measure", "value", "bound", "changed_share", "reason")
    shown = [c for c in columns if any(c in row for row in rows)]
    if not shown:
        return ""
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(_escaped(_cell(row.get(c))) for c in shown) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    """Names and values come from traffic: they must not become markup, nor end a table's cell."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", flat)
