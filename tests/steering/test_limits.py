"""The budget and the calendar of a policy bind the loop's promotions and recalls; never roll-backs, refills, people."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from selfheal.errors import HeldError
from selfheal.loop import settle_stages, status
from selfheal.steering import promote, reconcile, release, rollback
from selfheal.steering.look import last_look
from selfheal.steering.releases import recall
from selfheal.steering.trusts import lose_trust
from selfheal.steering.waits import put_in
from tests.steering.given import NAME, POLICY, CrashError, crashing, kinds
from tests.steering.test_release import write

FRIDAY = datetime(2026, 5, 1, 17, 59, tzinfo=UTC)
CALENDAR = POLICY.replace("release: {", 'release: {not_during: ["Fri 18:00 - Mon 06:00"], ')
BUDGET = POLICY.replace("release: {", "release: {budget: {promotions: 2, per: 1d}, ")


def later(ws, **time: float):
    """The same installation, on a clock that stands at that time after a Friday evening."""
    return replace(ws, clock=lambda: FRIDAY + timedelta(**time))


def test_the_loop_releases_nothing_in_the_hours_that_the_policy_names(ws, caplog):
    write(ws, CALENDAR)
    weekend = later(ws, hours=5)
    for _ in range(2):
        done = release(weekend, NAME, 2)
        assert done.note == "version 2 waits for the end of Fri 18:00 - Mon 06:00 (UTC): release.not_during"
    assert kinds(ws).count("held") == 1 and len([r for r in caplog.records if "version 2 waits" in r.message]) == 1
    assert any("version 2 waits for the end of Fri" in text for text in status(weekend, NAME)["health"])
    settle_stages(weekend, NAME)
    assert ws.registry.production(NAME) == [1]
    settle_stages(later(ws, days=3), NAME)
    assert ws.registry.production(NAME) == [2]


def test_it_is_not_released_once_what_serves_has_changed(ws):
    write(ws, CALENDAR)
    release(later(ws, hours=5), NAME, 2)
    promote(ws, NAME, 3, "ann")
    settle_stages(later(ws, days=3), NAME)
    assert ws.registry.production(NAME) == [3]
    assert "what serves has changed since" in ws.registry.version(NAME, 2).tags["waits"]


@pytest.mark.parametrize(
    ("actor", "reason"), [("flow", "sensor"), ("flow", "labels: better"), ("audit", "audit: better")]
)
def test_trust_that_is_lost_meanwhile_leaves_only_what_is_proven(ws, actor, reason):
    write(ws, CALENDAR)
    put_in(later(ws, hours=5), NAME, 2, actor, over=1, reason=reason)
    lose_trust(ws, NAME, "2 of 3 judged heals harmed")
    settle_stages(later(ws, days=3), NAME)
    assert ws.registry.production(NAME) == [1 if reason == "sensor" else 2]
    waits = ws.registry.version(NAME, 2).tags["waits"]
    assert reason != "sensor" or waits == "labels, an audit or a person: 2 of 3 judged heals harmed"
    assert recall(later(ws, days=3), NAME, 3, 2, "seen before").note.startswith(
        "version 3 waits for a person, to be re"
    )


def test_the_minute_before_and_another_clock_on_the_wall(ws):
    write(ws, CALENDAR.replace("release: {", "release: {timezone: Europe/Berlin, "))
    with pytest.raises(HeldError, match=r"Mon 06:00 \(Europe/Berlin\)"):
        promote(later(ws), NAME, 2, "flow", over=1)
    write(ws, CALENDAR)
    assert promote(later(ws), NAME, 2, "flow", over=1).settled == 2


def test_people_roll_backs_and_refills_are_not_bound(ws):
    write(ws, CALENDAR.replace("release: {", "release: {budget: {promotions: 1, per: 1d}, "))
    promote(later(ws), NAME, 2, "flow", over=1)
    weekend = later(ws, hours=5)
    assert rollback(weekend, NAME, "watch", over=2, reason="worse").settled == 1
    assert promote(weekend, NAME, 3, "ann").settled == 3
    ws.registry.transition(NAME, 4, "Production")
    assert reconcile(weekend, NAME).version == 4
    ws.registry.transition(NAME, 4, "Archived")
    assert reconcile(weekend, NAME).alarm and len(ws.registry.production(NAME)) == 1


def test_beyond_the_budget_promotions_and_recalls_wait_and_go_on_when_there_is_room(ws):
    write(ws, BUDGET)
    promote(later(ws), NAME, 2, "flow", over=1)
    assert recall(later(ws, hours=1), NAME, 1, 2, "seen before").promoted
    done = release(later(ws, hours=2), NAME, 3)
    assert done.note == (
        "version 3 waits for the budget, 2 of 2 promotions in 1d (release.budget): not before 2026-05-02 17:59 UTC"
    )
    with pytest.raises(HeldError):
        promote(later(ws, hours=2), NAME, 4, "audit")
    settle_stages(later(ws, hours=23), NAME)
    assert ws.registry.production(NAME) == [1]
    settle_stages(later(ws, hours=24), NAME)
    assert ws.registry.production(NAME) == [3] and last_look(ws, NAME).actor == "flow"


def test_what_people_did_and_what_was_undone_costs_nothing(ws):
    write(ws, BUDGET)
    for version in (2, 3, 1):
        promote(later(ws), NAME, version, "ann")
    dying, _ = crashing(later(ws), 0)
    with pytest.raises(CrashError):
        promote(dying, NAME, 4, "flow", over=1)
    ws.registry.transition(NAME, 4, "Archived")  # a person took it away: the promotion is undone
    reconcile(later(ws), NAME)
    for version, over in ((2, 1), (3, 2)):
        promote(later(ws, hours=1), NAME, version, "flow", over=over)
    with pytest.raises(HeldError, match="2 of 2 promotions"):
        promote(later(ws, hours=1), NAME, 1, "flow", over=3)
