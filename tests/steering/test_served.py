"""Which version served when, for logs that do not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from selfheal.steering import promote
from selfheal.steering.reconciler import reconcile
from selfheal.steering.served import served_since
from tests.steering.given import NAME, START


def test_the_journal_tells_what_served_since_when(ws) -> None:
    assert [version for _, version in served_since(ws, NAME)] == [1], "what was adopted, before anybody looked"
    for hours, version in ((1, 2), (2, 3)):
        at = replace(ws, clock=lambda hours=hours: START + timedelta(hours=hours))
        reconcile(at, NAME)
        promote(at, NAME, version, "ann", reason="she says so")
        reconcile(at, NAME)
    found = served_since(ws, NAME)
    assert [version for _, version in found] == [1, 2, 3]
    assert [at for at, _ in found[1:]] == [START + timedelta(hours=1), START + timedelta(hours=2)]
