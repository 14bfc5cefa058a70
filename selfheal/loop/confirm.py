"""A heal that rests on a new rule goes on trial: labels of rows that the rule covers confirm it, or take it back.

Until they do it serves for a bounded event time (``until_confirmed``), warns a day before that ends, and is then taken
back.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

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

UNCONFIRMED = "its rule was not confirmed by"
"""Begins the reason of a roll-back that no evidence asks for."""

WARNING = timedelta(days=1)
"""Before the end, in event time."""

_log = logging.getLogger("selfheal.loop")


def probation(policy: Policy, rules: Sequence[str], end: datetime) -> dict[str, str]:
    """Tags of a version that rests on rules on trial, healed on a window that ended then; none where it does not."""
    times = [rule.until_confirmed.time for rule in policy.rule_set if rule.name in rules and rule.until_confirmed]
    return {ON_TRIAL: ",".join(rules), UNTIL: (end + min(times)).isoformat()} if times else {}


def trial_of(tags: Mapping[str, str]) -> dict[str, str] | None:
    """What a version with these tags is on trial for: ``rules`` and ``until``; None where it is not."""
    return {"rules": tags[ON_TRIAL], "until": tags[UNTIL]} if tags.get(ON_TRIAL) else None


def look_after(serving: Serving) -> Serving:
    """Confirm what serves on trial, take it back where labels refute it or its time is over, or warn of that.

    A store that is away, a pin and a freeze change nothing; they are logged.
    """
    try:
        info = serving.info(serving.version)
        if not info.tags.get(ON_TRIAL):
            return serving
        says, words = _said(serving, info.tags[ON_TRIAL].split(","), int(info.tags.get("window", "0")))
        if says == "better":
            serving.ws.registry.set_tag(serving.name, serving.version, CONFIRMED, words)
            serving.ws.registry.set_tag(serving.name, serving.version, ON_TRIAL, "")
            return serving
        if says == "worse":
            return _taken_back(serving, f"labels refute its rule: {words}")
        return _timed(serving, datetime.fromisoformat(info.tags[UNTIL]), words, warned=WARNED in info.tags)
    except SelfhealError as error:
        _log.warning("%s: the rules on trial were not looked after: %s", serving.name, error)
        return serving


def _said(serving: Serving, names: Sequence[str], window: int) -> tuple[Says, str]:
    """What labels since the heal's window say of its rules: the worst of them."""
    import pandas as pd

    from selfheal.healing.labels.rows import class_index
    from selfheal.healing.labels.rules import rule_trial

    model, rules = serving.model, [r for r in serving.policy.rule_set if r.name in names]
    windows = [(frame.loc[labels.notna()], labels.dropna()) for frame, labels in labelled_since(serving, window)]
    if not rules:
        return "undecided", "its rules are gone from the policy"
    rows = model.model_units(pd.concat([model.reference.iloc[:0], *(frame for frame, _ in windows)]))
    known = [class_index(model, labels) for _, labels in windows]
    labels = model.classes_[np.concatenate([np.empty(0, dtype=np.int64), *known])]
    order: tuple[Says, ...] = ("worse", "undecided", "better")
    trials = {rule.name: rule_trial(rule, rows, labels) for rule in rules}
    worst = min(trials, key=lambda rule: order.index(trials[rule].says))
    verdict = trials[worst]
    return verdict.says, f"`{worst}` was right on {verdict.candidate} of {verdict.answered} labelled rows"


def _timed(serving: Serving, until: datetime, words: str, *, warned: bool) -> Serving:
    """Whether its time is over, by the clock of events; a warning a day before."""
    if not serving.cycles:
        return serving
    now = datetime.fromisoformat(serving.cycles[-1]["end"])
    if now >= until:
        return _taken_back(serving, f"{UNCONFIRMED} {until:%Y-%m-%d %H:%M} ({words})")
    if now >= until - WARNING and not warned:
        _say(serving, f"{words}; unconfirmed, it is taken back at {until:%Y-%m-%d %H:%M}: send labels of its rows")
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
