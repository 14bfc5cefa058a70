"""What entries of the journal have to tell. Pure: an entry and the one question that it can't answer itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfheal.alerts.message import Message
from selfheal.table import Link
from selfheal.table.values import from_us

Intent = Mapping[str, Any]
Needed = Callable[[], int]
"""How many names the policy of record asks for."""

MOVES = {
    "promote": "promoted",
    "recall": "recalled",
    "manual": "moved to Production by hand",
    "rollback": "rolled back",
}


def told_by(model: str, links: Sequence[Link], needed: Needed) -> list[Message]:
    """The messages of entries that were closed since, oldest first."""
    messages = (_message(model, link, json.loads(link.intent), json.loads(link.outcome), needed) for link in links)
    return [message for message in messages if message is not None]


def _message(model: str, link: Link, intent: Intent, outcome: Intent, needed: Needed) -> Message | None:
    since = from_us(link.at).isoformat()
    if "change" in intent:
        return _changed(model, since, intent, outcome)
    tell = NOTES.get(link.kind)
    return None if tell is None else tell(model, since, intent, needed)


def _changed(model: str, since: str, intent: Intent, outcome: Intent) -> Message | None:
    """A change of stages: what serves now, or what may not any more."""
    change, before = intent["change"], intent["before"]
    if outcome.get("result") != "done" or change["kind"] == "adopted":
        return None
    to, was, by = change["to"], before["settled"], f"{change['actor']}: {change['reason']}"
    barred = sorted(set(change["quarantined"]) - set(before["quarantined"]))
    quarantine = f"in quarantine: {', '.join(f'version {v}' for v in barred)}" if barred else ""
    look, back = f"selfheal status {model}", f"to go back: selfheal rollback {model}"
    if change["kind"] == "restore":
        what = f"Production was empty or can't be loaded; version {to} serves"
        return Message("restored", what, since, by, f"to choose: selfheal promote {model} N", "failure", version=to)
    if to == was:
        what = f"{quarantine}; version {to} goes on serving"
        return Message("quarantined", what, since, by, look, version=to) if barred else None
    what = f"version {to} serves, in the place of {was}"
    if change["alarm"]:
        return Message("approval", f"{what}, with too few approvals", since, by, f"look at it; {back}", version=to)
    done = "; ".join(filter(None, (f"{MOVES.get(change['kind'], change['kind'])} by {by}", quarantine)))
    if change["kind"] == "rollback":
        return Message("rolled_back", what, since, done, look, version=to)
    return Message("promoted", what, since, done, f"{look}; {back}", "success", version=to)


def _question(model: str, since: str, intent: Intent, needed: Needed) -> Message | None:
    if intent["step"] != "asked":
        return None
    what = f"a question waits: {intent['reasons'][0]}"
    answers = f"selfheal audit {model} (answers: {', '.join(intent['options'])})"
    return Message("question", what, since, "", answers, run=intent["run_id"], version=intent["version"])


def _waits(model: str, since: str, intent: Intent, needed: Needed) -> Message:
    version = intent["version"]
    what = f"version {version} {'; '.join(intent['reasons'])}"
    by_hand = f"nothing, it is released when it may be; now: selfheal promote {model} {version}"
    return Message("waits", what, since, "", by_hand, version=version)


def _approved(model: str, since: str, intent: Intent, needed: Needed) -> Message | None:
    """One name of several; the last one is told by the promotion."""
    version, want = intent["version"], needed()
    if want < 2:
        return None
    what = f"version {version} was approved by {intent['actor']}; {want} names are needed"
    return Message("approval", what, since, "", f"selfheal approve {model} {version} --as NAME", version=version)


def _frozen(model: str, since: str, intent: Intent, needed: Needed) -> Message:
    until = f" until {intent['until'][:16].replace('T', ' ')} UTC" if intent.get("until") else ""
    what = f"the loop is frozen by {intent['actor']}{until}: {'; '.join(intent['reasons'])}"
    return Message("frozen", what, since, "", f"selfheal unfreeze {model}")


def _unfrozen(model: str, since: str, intent: Intent, needed: Needed) -> Message:
    done = "; ".join(intent["reasons"])
    return Message(
        "unfrozen", f"the loop goes on, by {intent['actor']}", since, done, f"selfheal status {model}", "info"
    )


def _trust(model: str, since: str, intent: Intent, needed: Needed) -> Message:
    if intent["step"] == "given":
        done = "; ".join(intent["reasons"])
        what = f"heals are released again, by {intent['actor']}"
        return Message("trust", what, since, done, f"selfheal status {model}", "info")
    what = f"heals are not trusted any more, each waits for labels, an audit or a person: {intent['reasons'][0]}"
    return Message("trust", what, since, "", f"selfheal history {model}; then selfheal trust {model}", "failure")


ONCE = {"given up": "given_up", "a rule on trial": "trial"}
"""Words of the loop's alerts that no condition stands for."""


def _said(model: str, since: str, intent: Intent, needed: Needed) -> Message | None:
    kind = ONCE.get(intent["what"])
    if kind is None:
        return None
    what = f"window {intent['window']}: {intent['what']}: {'; '.join(intent['reasons'])}"
    return Message(kind, what, since, "", f"selfheal status {model}", version=intent["version"])


NOTES: dict[str, Callable[[str, str, Intent, Needed], Message | None]] = {
    "fact": _question,
    "held": _waits,
    "approval": _approved,
    "freeze": _frozen,
    "unfreeze": _unfrozen,
    "alert": _said,
    "trust": _trust,
}
"""Kind of an entry that changes no stage → what it has to tell."""
