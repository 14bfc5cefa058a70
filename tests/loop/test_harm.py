"""Heals are judged once their watch is over; where too many harmed the loop asks, until a person trusts it again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from selfheal.alerts.gathering import gather
from selfheal.cli.standing import standing
from selfheal.errors import InputError
from selfheal.loop import history, load, monitor, status
from selfheal.loop.harm import judge_heals, judgement, standing_of_heals
from selfheal.loop.records import HEAL_JUDGED
from selfheal.loop.trial import waiting
from selfheal.steering import promote, release, trust
from selfheal.steering.look import last_look
from selfheal.steering.waits import WAITS
from selfheal.table import JournalEntry
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send

FAR = START.replace(year=2027)
COLUMNS = ("temperature", "dew")


def serve(ws, first: int, celsius: bool) -> None:
    """A labelled window that what serves answers, and a run that handles it."""
    frame = rows(200, first)
    ids = send(ws, in_celsius(frame, *COLUMNS) if celsius else frame, first)
    ws.table.add_labels(NAME, ids[:100], frame["y"].tolist()[:100], ws.clock())
    monitor(ws, NAME, FAR)


def judged(ws) -> list[tuple[int, bool]]:
    return [(e.intent["version"], e.intent["harmful"]) for e in ws.table.journal(NAME, kind=HEAL_JUDGED)]


def test_a_healer_that_harms_has_to_ask(ws):
    policy = POLICY.replace("[2, 3]", "[9, 9]").replace("watch_windows: 2", "watch_windows: 1")
    (ws.settings.rules / "toy.yaml").write_text(policy)
    (line,) = (text for text in standing(status(ws, NAME)) if text.startswith("  harmed"))
    assert line == "  harmed    no evidence yet whether more than 1/1000 of heals harm (heal.false_heals)"

    promote(ws, NAME, 2, "flow", over=1)  # °C to °F, on data that are in °C
    judge_heals(load(ws, NAME))
    assert judged(ws) == [], "its watch has not ended"
    serve(ws, 200, celsius=True)
    assert judged(ws) == [(2, False)]
    promote(ws, NAME, 3, "flow", over=2)  # °F for one column only
    serve(ws, 400, celsius=True)
    assert ws.registry.production(NAME) == [2]
    assert judged(ws) == [(2, False), (3, True)]
    judge_heals(load(ws, NAME))
    assert len(judged(ws)) == 2, "once"

    told = status(ws, NAME)
    assert told["false_heals"] | {"e_value": 0, "reason": ""} == {
        "judged": 2, "harmful": 1, "share": 0.001, "e_value": 0, "exceeded": True, "allowed": "1/1000", "reason": ""
    }  # fmt: skip
    words = "1 of 2 judged heals harmed; allowed 1/1000 (heal.false_heals), e-value"
    assert any(text.startswith("heals wait for") and words in text for text in told["health"])
    done = release(ws, NAME, 4)
    assert not done.promoted and done.note.startswith("version 4 waits for labels, an audit or a person: 1 of 2 judged")
    info = ws.registry.version(NAME, 4)
    ws.registry.set_tag(NAME, 4, "parent", "2")
    assert waiting([ws.registry.version(NAME, 4)], last_look(ws, NAME)), "labels and an audit may release it"

    assert trust(ws, NAME, "ada", "mended").startswith("1 of 2 judged heals harmed")
    assert standing_of_heals(ws, NAME, load(ws, NAME).policy)["judged"] == 0, "the count begins anew"
    assert trust(ws, NAME, "ada", "again") == ""
    judge_heals(load(ws, NAME))
    assert status(ws, NAME)["healthy"]
    assert release(ws, NAME, info.version).note.endswith("4 is in Production") or WAITS in info.tags
    gather(ws, NAME)
    told = [row.record for row in ws.table.outbox.alerts(NAME)]
    assert [m["urgency"] for m in told if m["kind"] == "trust"] == ["failure", "info"]
    acts = [(e.who, e.what) for e in history(ws, NAME) if e.what.startswith("trust")]
    assert acts == [("ada", "trust given"), ("", "trust lost")]


@pytest.mark.parametrize(("actor", "why"), [("", "x"), ("flow", "x"), ("audit", "x"), ("ada", " ")])
def test_only_a_person_with_a_reason_trusts(ws, actor, why):
    with pytest.raises(InputError, match="journaled"):
        trust(ws, NAME, actor, why)


def heal(actor: str = "flow") -> JournalEntry:
    change = {"to": 7, "actor": actor, "reason": "healed"}
    return JournalEntry(3, NAME, "promote", datetime.now(UTC), {"change": change}, [], {"result": "done"})


def back(actor: str, reason: str, *, turned: bool = False) -> JournalEntry:
    change = {"to": 1, "actor": actor, "reason": reason, "turned": turned}
    return JournalEntry(4, NAME, "rollback", datetime.now(UTC), {"change": change}, [], {"result": "done"})


def window(verdict: str, by: str = "data", **more) -> dict:
    return {"index": 1, "watch": {"verdict": verdict, "by": by}} | more


@pytest.mark.parametrize(
    ("given", "harmful"),
    [
        ((heal(), back("watch", "worse by labels"), [], True), True),
        ((heal(), back("watch", "the world turned", turned=True), [window("worse", "data")], True), None),
        ((heal(), back("watch", "the world turned", turned=True), [window("worse", "labels")], True), True),
        ((heal(), back("watch", "it turned", turned=True), [window("better"), window("worse", "labels")], True), False),
        ((heal(), back("watch", "its rule was not confirmed by 2026-01-03"), [window("better")], True), None),
        ((heal(), back("ada", "I do not like it"), [window("better")], True), None),
        ((heal(), None, [window("none", failed_heal=["dew lies at 9 of its natural bound"])], False), True),
        ((heal(), None, [window("undecided"), window("better")], False), None),
        ((heal(), None, [window("undecided"), window("better")], True), False),
        ((heal(), None, [window("none")], True), None),
        ((heal("audit"), None, [], True), False),
    ],
)
def test_what_is_evidence(given, harmful):
    told = judgement(*given, labels=lambda: 0)
    assert (None if told is None else told.harmful) is harmful
    assert told is None or asdict(told)["heal"] == 3


def test_labels_that_speak_for_neither_are_evidence_of_no_harm():
    given = (heal(), None, [window("none")], True)
    assert judgement(*given, labels=lambda: 29) is None
    assert judgement(*given, labels=lambda: 30).harmful is False
