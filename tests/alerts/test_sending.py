"""Alerts arrive: each with one id, in order per model, through a place that fails at random and kill -9."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from selfheal.alerts import sending, tell, told_at_the_end
from selfheal.alerts.conditions import RAN
from selfheal.cli.standing import standing
from selfheal.loop import status
from selfheal.steering import freeze, promote, rollback, unfreeze
from selfheal.table.outbox import FIRST_WAIT, LONGEST_WAIT
from tests.steering.given import NAME


def changes(ws, k: int) -> None:
    """Something to tell."""
    freeze(ws, NAME, "ann", f"incident {k}")
    unfreeze(ws, NAME, "ann")


def identities(ws) -> list[str]:
    return [f"{NAME}-{row.id}" for row in ws.table.outbox.alerts(NAME)]


def test_a_promotion_and_a_roll_back_are_told_once_each(ws, sink):
    promote(ws, NAME, 2, "flow", over=1, reason="sensor: temperature: °C → °F\x1b[2J")
    rollback(ws, NAME, "watch", reason="window 7: worse")
    for _ in range(3):
        tell(ws, NAME)
    first, second = sink.taken
    assert (first["title"], first["type"]) == ("selfheal toy: version 2 serves, in the place of 1", "success")
    lines = first["message"].splitlines()
    assert lines[0] == "version 2 serves, in the place of 1"
    assert lines[1].startswith("since: 20") and lines[1].endswith(" UTC")
    assert lines[2] == "done: promoted by flow: sensor: temperature: °C → °F?[2J"
    assert lines[3] == "next: selfheal status toy; to go back: selfheal rollback toy"
    assert lines[4:] == [f"alert: {identities(ws)[0]}"]
    assert "rolled back by watch: window 7: worse; in quarantine: version 2" in second["message"]
    assert sink.names() == identities(ws) and ws.table.outbox.targets(NAME)[0].waiting == 0


def test_a_place_that_fails_at_random_is_told_everything_in_order(ws, sink, at_once):
    dice = random.Random(0)
    sink.fails = lambda: dice.random() < 0.6
    for k in range(4):
        changes(ws, k)
        tell(ws, NAME)
        at_once()
    for _ in range(100):
        if ws.table.outbox.targets(NAME)[0].waiting:
            tell(ws, NAME)
            at_once()
    assert sink.names() == identities(ws) and len(sink.names()) == 8
    assert sink.asked > len(sink.taken), "it did fail"


def test_after_a_failure_it_waits_longer_and_longer(ws, sink, at_once, caplog):
    changes(ws, 0)
    sink.fails = lambda: True
    tell(ws, NAME)
    tell(ws, NAME)
    assert sink.asked == 1, "the second waits"
    (target,) = ws.table.outbox.targets(NAME)
    assert (target.waiting, target.tries, target.shown) == (2, 1, f"json://{sink.url}")
    assert "500" in target.error and "again in 0:00:05" in caplog.text
    (shown,) = [text for text in standing(status(ws, NAME)) if text.startswith("  alerts")]
    assert shown.startswith(f"  alerts    2 not delivered to json://{sink.url}: Failed to send JSON")
    row = ws.table.outbox.alerts(NAME)[0]
    waits = [ws.table.outbox.failed(row, target.target, "", "") for _ in range(12)]
    assert waits[0] == 2 * FIRST_WAIT and waits[-1] == LONGEST_WAIT and waits == sorted(waits)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize(("point", "arrive"), [("alerts written", 1), ("alert sent", 2)])
def test_kill_9_between_the_row_and_the_message(ws, sink, monkeypatch, point, arrive):
    """Before it is sent nothing is lost; after it is sent it comes again, under the same id."""
    monkeypatch.setattr(sending, "ALERTS_TTL", timedelta(seconds=0.2))
    changes(ws, 0)
    ws.table.close()

    def die(step: str) -> None:
        if step == point:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        tell(replace(ws, checkpoint=die), NAME)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    written = identities(ws)
    assert len(written) == 2
    until = time.monotonic() + 60
    while len(set(sink.names())) < 2 and time.monotonic() < until:
        tell(ws, NAME)
    names = sink.names()
    assert list(dict.fromkeys(names)) == written == identities(ws) and names.count(written[0]) == arrive


def test_two_senders_tell_it_once(ws, sink):
    changes(ws, 0)
    other = replace(ws)
    sink.fails = lambda: tell(other, NAME) or False  # while the first message is on its way
    tell(ws, NAME)
    assert sink.names() == identities(ws) and len(sink.names()) == 2


def test_a_new_place_hears_of_the_last_day_and_no_more(ws, sink):
    changes(ws, 0)
    silent = replace(ws, settings=replace(ws.settings, alerts=""))
    tell(silent, NAME)
    assert len(identities(ws)) == 2 and sink.taken == [], "a row, whether anybody is told or not"
    tell(ws, NAME)
    assert sink.names() == identities(ws)


def test_an_address_that_is_none_and_a_missing_apprise_are_said(ws, sink, caplog, monkeypatch):
    changes(ws, 0)
    tell(replace(ws, settings=replace(ws.settings, alerts="smoke://signal")), NAME)
    assert "apprise knows no such address" in ws.table.outbox.targets(NAME)[0].error
    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setattr(sending, "_warned", set())
    for _ in range(2):
        tell(ws, NAME)
    assert caplog.text.count("pip install 'selfheal[worker]'") == 1 and sink.taken == []


def test_a_finished_run_gives_a_sign_of_life_and_one_that_fails_none(ws, sink, caplog):
    watched = replace(ws, settings=replace(ws.settings, heartbeat_url=f"http://{sink.url}/ping/secret"))
    changes(ws, 0)
    with pytest.raises(ZeroDivisionError), told_at_the_end(watched, NAME):
        _ = 1 / 0
    assert ws.table.outbox.mark(NAME, RAN) is None and len(sink.names()) == 2
    with told_at_the_end(watched, NAME):
        pass
    assert sink.taken[-1] == {"path": "/ping/secret"}
    assert float(ws.table.outbox.mark(NAME, RAN)[0]) > 0
    away = replace(ws, settings=replace(ws.settings, heartbeat_url="http://127.0.0.1:9/secret"))
    with caplog.at_level(logging.WARNING), told_at_the_end(away, NAME):
        pass
    assert "SELFHEAL_HEARTBEAT_URL was not told" in caplog.text and "secret" not in caplog.text


def test_a_database_that_is_away_fails_nobody(ws, sink, home, caplog):
    (home / "selfheal.db").rename(home / "away.db")
    with told_at_the_end(ws, NAME):
        pass
    assert "alerts were not sent" in caplog.text
