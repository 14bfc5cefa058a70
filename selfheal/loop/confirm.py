"""A heal that rests on a new rule goes on trial: labels of rows that the rule covers confirm it, or take it back.

Until they do it serves for a bounded event time (``until_confirmed``), warns a day before that ends, and is then taken
back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from selfheal.errors import RefusedError, SelfhealError
from selfheal.loop.alerts import alert
from selfheal.loop.context import Serving, load
from selfheal.loop.trial import labelled_since
from selfheal.policy import Policy
from selfheal.steering.actors import WATCH
from selfheal.steering.stages import rollback
from selfheal.steering.stand import stand_of

if TYPE_CHECKING:
    from selfheal.healing.sequential import Says

ON_TRIAL, UNTIL = "on_trial", "on_trial_until"
"""Tags of a version: rules that labels must confirm, and the event time at which it is taken back unconfirmed."""

CONFIRMED = "confirmed"
"""Tag of a version: what labels said of its rules."""

WARNED = "on_trial_warned"
"""Tag of a version: that its end was announced."""

WARNING = timedelta(days=1)
"""Before the end, in event time."""

_log = logging.getLogger("selfheal.loop")


def probation(policy: Policy, rules: Sequence[str], end: datetime) -> dict[str, str]:
    """Tags of a version that rests on rules on trial, healed on a window that ended then; none where it does not."""
    times = [rule.until_confirmed.time for rule in policy.rule_set if rule.name in rules and rule.until_confirmed]
    return {ON_TRIAL: ",".join(rules), UNTIL: (end + min(times)).isoformat()} if times else {}


def look_after(serving: Serving) -> Serving:
    """Confirm what serves on trial, take it back where labels refute it or its time is over, or warn of that.

    A store that is away, a pin and a freeze change nothing; they are logged.
    """
    try:
        info = serving.info(serving.version)
        if not info.tags.get(ON_TRIAL):
            return serving
        says, told = _said(serving, info.tags[ON_TRIAL].split(","), int(info.tags.get("window", "0")))
        if says == "better":
            serving.ws.registry.set_tag(serving.name, serving.version, CONFIRMED, told)
            serving.ws.registry.set_tag(serving.name, serving.version, ON_TRIAL, "")
            return serving
        if says == "worse":
            return _taken_back(serving, f"labels refute its rule: {told}")
        return _timed(serving, datetime.fromisoformat(info.tags[UNTIL]), told, warned=WARNED in info.tags)
    except SelfhealError as error:
        _log.warning("%s: the rules on trial were not looked after: %s", serving.name, error)
        return serving


def _said(serving: Serving, names: Sequence[str], window: int) -> tuple[Says, str]:
    """What labels since the heal's window say of its rules: the worst of them."""
    from selfheal.healing.sequential import audit

    rows = labelled_since(serving, window)
    order: tuple[Says, ...] = ("worse", "undecided", "better")
    found: list[tuple[Says, str]] = []
    for rule in (r for r in serving.policy.rule_set if r.name in names):
        right: list[int] = []
        for frame, labels in rows:
            known = labels.notna() & rule.fires(serving.model.model_units(frame))
            right += [1 if str(label) == str(rule.vote) else -1 for label in labels[known].map(_plain)]
        told = audit(right)
        found.append((told.says, f"`{rule.name}` was right on {told.candidate} of {told.answered} labelled rows"))
    return min(found, key=lambda one: order.index(one[0]), default=("undecided", "its rules are gone from the policy"))


def _plain(label: object) -> object:
    """A whole number as one: labels of a column with gaps come back as floats."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _timed(serving: Serving, until: datetime, told: str, *, warned: bool) -> Serving:
    """Whether its time is over, by the clock of events; a warning a day before."""
    if not serving.cycles:
        return serving
    now = datetime.fromisoformat(serving.cycles[-1]["end"])
    if now >= until:
        return _taken_back(serving, f"its rule was not confirmed by {until:%Y-%m-%d %H:%M} ({told})")
    if now >= until - WARNING and not warned:
        _say(serving, f"{told}; unconfirmed, it is taken back at {until:%Y-%m-%d %H:%M}: send labels of its rows")
        serving.ws.registry.set_tag(serving.name, serving.version, WARNED, "yes")
    return serving


def _taken_back(serving: Serving, why: str) -> Serving:
    ws, name = serving.ws, serving.name
    try:
        rollback(ws, name, WATCH, over=serving.version, reason=why)
    except RefusedError as error:
        why = f"{why}, but {error}"
    _say(serving, why)
    return load(ws, name, stand_of(ws, name), until=serving.until)


def _say(serving: Serving, why: str) -> None:
    last = serving.cycles[-1]["index"] if serving.cycles else 0
    alert(serving.at(serving.ws.table.window(serving.name, last)), "a rule on trial", [why])
