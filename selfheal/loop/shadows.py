"""Before the loop promotes: what waits in Staging is held, window by window, against what the gate measured of it.

Its shadow answers were given to the requests themselves, beside those of the version that serves. A window agrees where
the share of decisions that differ is what the gate saw on the heal's window, within chance, and where the version sees
nothing unusual that the one that serves does not see.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selfheal.errors import SelfhealError
from selfheal.loop.context import YARDSTICK_WINDOWS, Serving
from selfheal.loop.decide import NOT_COMPARED
from selfheal.registry.versions import VersionInfo
from selfheal.steering.look import STAGING
from selfheal.steering.models import load_version
from selfheal.steering.quarantine import ALIKE
from selfheal.steering.shadowing import KEPT, SHADOW, Compared
from selfheal.steering.waits import order_of

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel

FEWEST = 100
"""Shadow answers below which a window says nothing: chance alone moves a share of a quarter by 15 points then."""

SHARE_Z = 3.5
"""Standard errors by which a share may differ from what the gate saw, as in the share signal."""

WORDS = 300
"""Characters of a fault: the tag that holds it is to be read whole."""

_log = logging.getLogger("selfheal.loop")


def compare_shadows(serving: Serving) -> Serving:
    """Compare what waits for its shadow answers in the windows that were handled since; the same, with what it says.

    A store that is away changes nothing, which is logged: a later run asks again.
    """
    if not serving.policy.release.shadow_windows or serving.versions is None:
        return serving
    versions = dict(serving.versions)
    for info in serving.versions.values():
        order = order_of(info)
        if info.stage != STAGING or order is None or order.kind != "promote":
            continue
        try:
            tag = compared(serving, info).to_tag()
            if tag != info.tags.get(SHADOW):
                serving.ws.registry.set_tag(serving.name, info.version, SHADOW, tag)
                versions[info.version] = replace(info, tags={**info.tags, SHADOW: tag})
        except SelfhealError as error:
            _log.warning("%s: the shadow of version %d was not compared: %s", serving.name, info.version, error)
    return replace(serving, versions=versions)


def compared(serving: Serving, info: VersionInfo) -> Compared:
    """What is known of a version's shadow, with the windows that were handled since.

    Raises
    ------
    SelfhealError
        A store is away; nothing was changed.
    """
    look, said = serving.look, Compared.of(info.tags)
    if look.settled is None:
        return said
    model = load_version(serving.ws, serving.name, info).with_policy(serving.policy)
    if (said.against, said.swap) != (look.settled, look.swap):
        said = Compared(look.settled, look.swap, *promised(serving, info, model))
    healed = int(info.tags.get("window", "-1"))
    last = max([healed, *(index for index, *_ in said.windows)])
    for cycle in serving.cycles:
        if cycle["index"] > last and cycle["swap"] == look.swap and cycle["decision"] not in NOT_COMPARED:
            said = _with(serving, info, model, said, cycle)
    return said


def promised(serving: Serving, info: VersionInfo, model: MonitoredModel) -> tuple[float, int]:
    """Share of decisions that a version changes on the rows that the gate saw, and how many there are."""
    rows = serving.ws.registry.sample(serving.name, info)
    if rows is None or rows.empty:
        return 0.0, 0
    return round(float(np.mean(model.predict(rows) != serving.model.predict(rows))), 4), len(rows)


def agreement(differs: float, rows: int, said: float, seen: int) -> str:
    """Why a share of ``rows`` decisions is not what the gate saw in ``seen`` others; empty where it is, within chance.

    Shares that differ by less than two versions that are taken for the same (:data:`ALIKE`) do agree.

    >>> agreement(0.20, 500, 0.22, 2_000)
    ''
    >>> agreement(0.40, 500, 0.22, 2_000)
    '40.0% of 500 decisions differ, the gate saw 22.0% (bound 7.6 points)'
    """
    pooled = (differs * rows + said * seen) / (rows + seen)
    bound = max(SHARE_Z * math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / seen)), ALIKE)
    if abs(differs - said) <= bound:
        return ""
    return f"{differs:.1%} of {rows} decisions differ, the gate saw {said:.1%} (bound {100 * bound:.1f} points)"


def _with(
    serving: Serving, info: VersionInfo, model: MonitoredModel, said: Compared, cycle: Mapping[str, Any]
) -> Compared:
    """The comparison with one window more; one without enough shadow answers only leaves its fault."""
    ws, name, index = serving.ws, serving.name, cycle["index"]
    ref = ws.table.window(name, index)
    shadow, served = ws.table.shadows.answers(ws.table.schema(name), info.version, said.against, ref.start, ref.end)
    rows = len(shadow)
    if rows < FEWEST:
        remedy = "write a larger release.shadow" if rows else "is the model served by `selfheal serve`?"
        return replace(said, fault=f"window {index} has {rows} shadow answers (at least {FEWEST}); {remedy}")
    differs = float(np.mean(model.decide(shadow) != model.decide(served)))
    fault = _decides(said, differs, rows) or _unhealthy(serving, model, cycle)
    window = (index, rows, round(differs, 4), not fault)
    fault = f"window {index}: {fault}"[:WORDS] if fault else ""
    return replace(said, windows=(*said.windows, window)[-KEPT:], fault=fault)


def _decides(said: Compared, differs: float, rows: int) -> str:
    if not said.seen:
        return "the rows that the gate saw are not kept: a person decides"
    return agreement(differs, rows, said.promised, said.seen)


def _unhealthy(serving: Serving, model: MonitoredModel, cycle: Mapping[str, Any]) -> str:
    """What a version finds unusual in a window, and more so than the one that serves; empty where nothing is."""
    from selfheal.drift.signals import SIGNAL_ROWS, signals

    ws, name = serving.ws, serving.name
    window = serving.source.read(ws.table.window(name, cycle["index"]), SIGNAL_ROWS)  # as many as the inspection's
    known = {s["name"]: s["value"] for s in cycle["signals"]}
    alarms = [s for s in signals(model, window.frame, ws.table.recent(name, YARDSTICK_WINDOWS)) if s.alarm]
    return "; ".join(f"{s.name}: {s.reason}" for s in alarms if s.value > (known.get(s.name) or 0.0))
