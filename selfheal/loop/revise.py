"""A window whose rows came late in numbers is looked at anew: a revision of its record and report, and nothing more.

It never heals, raises no alert a second time and does not count for patience: what was decided of the window stays.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from selfheal.errors import SelfhealError
from selfheal.loop.context import Context, Serving
from selfheal.loop.expected import as_entry
from selfheal.loop.inspect import inspect
from selfheal.loop.logged import LOOKED_BACK
from selfheal.loop.record import plain

LATE_SHARE = 0.05
"""Share of a window's rows that came late from which its record is revised, and again with every further such share:
fewer move no statistic of a window beyond what is natural between windows."""

_log = logging.getLogger("selfheal.loop")


def revise(serving: Serving) -> Serving:
    """Look anew at the last windows that many rows came late for; the result joins their records."""
    due = [c for c in serving.cycles[-LOOKED_BACK:] if _is_due(c)]
    revisions = {c["index"]: _revised(serving, c) for c in due}
    cycles = ({**c, "revision": revisions[c["index"]]} if c["index"] in revisions else c for c in serving.cycles)
    return replace(serving, cycles=tuple(cycles)) if revisions else serving


def _is_due(cycle: Mapping[str, Any]) -> bool:
    late, known = cycle.get("late", 0), (cycle.get("revision") or {}).get("late", 0)
    return bool(late) and late - known > LATE_SHARE * (cycle["held"] + late)


def _revised(serving: Serving, cycle: Mapping[str, Any]) -> dict[str, Any]:
    ref = serving.ws.table.window(serving.name, cycle["index"])
    ctx = inspect(serving.at(replace(ref, too_few=False), newest=False))
    seen = ctx.seen
    signals = [f"{s.name}: {s.reason}" for s in seen.signals]
    entry = {
        "at": serving.ws.clock().isoformat(),
        "version": serving.version,
        "late": cycle["late"],
        "held": seen.size,
        "alarm": seen.alarm,
        "problems": list(seen.problems),
        "reasons": list(seen.problems) or signals,
        "signals": [plain(asdict(s)) for s in seen.signals],
        "drifted": [] if seen.report is None else list(seen.report.drifted),
        "estimate": as_entry(seen.estimate),
        "report": _page(ctx),
    }
    serving.ws.table.amend_cycle(serving.name, ref.index, revision=entry)
    share = cycle["late"] / (cycle["held"] + cycle["late"])
    _log.info("%s, window %d: revised, %.1f %% of its rows came late", serving.name, ref.index, 100 * share)
    return entry


def _page(ctx: Context) -> str:
    """The report beside that of the window; where it is kept, or empty: MLflow being away loses a page."""
    if ctx.seen.report is None:
        return ""
    try:
        run = ctx.ws.registry.runs.watch_run(ctx.name, ctx.version, lambda: ctx.info(ctx.version))
        with tempfile.TemporaryDirectory() as scratch:
            page = Path(scratch) / f"window-{ctx.ref.index:06d}-revised.html"
            if not ctx.seen.report.html(page):
                return ""
            ctx.ws.registry.runs.log_file(run, page, "reports")
            return f"reports/{page.name}"
    except SelfhealError as away:
        _log.warning("%s, window %d: the revised report was not kept: %s", ctx.name, ctx.ref.index, away)
        return ""
