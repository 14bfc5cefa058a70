"""``selfheal history`` on a real home: what people and programs did, the losers of races too, safe to show."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from selfheal.cli.history import lines
from selfheal.loop import history
from selfheal.steering import approve, freeze, promote, recover, rollback
from selfheal.steering.reconciler import reconcile
from selfheal.table.chain import broken
from tests.cli.test_commands import invoke
from tests.cli.test_people import place, two, ws
from tests.steering.given import NAME, CrashError, Point

__all__ = ["place", "two", "ws"]


def lived(ws) -> None:
    """Two moves within one look, a change that lost, a roll-back, an approval, a freeze, and an alert."""
    promote(ws, NAME, 2, "flow", over=1, reason="sensor: °C\x1b[2J")
    dying = replace(ws, checkpoint=Point(0))
    with pytest.raises(CrashError):
        promote(dying, NAME, 3, "ada", reason="=HYPERLINK(1)")
    ws.registry.transition(NAME, 3, "Archived")
    recover(ws, NAME)
    ws.registry.transition(NAME, 4, "Production")
    ws.registry.transition(NAME, 3, "Production")
    reconcile(ws, NAME)
    rollback(ws, NAME, "bob", reason="complaints")
    approve(ws, NAME, 4, "ada")
    freeze(ws, NAME, "ann", "an incident")
    ws.table.journal_note(NAME, "alert", {"what": "data fault", "reasons": ["x"]}, "said", ws.clock())


def test_it_tells_who_did_what_newest_first_on_one_screen(place, ws):
    lived(ws)
    done = invoke(place, "history", NAME)
    assert done.exit_code == 0, done.output
    first, *rows = done.output.splitlines()
    assert first.split() == ["when", "(UTC)", "who", "what", "version", "why"]
    assert all(row.startswith(("today ", "yesterday ")) for row in rows), rows
    assert max(map(len, lines(history(ws, NAME), ws.clock(), 20, 90))) == 90, "cut where a screen is narrow"
    told = [row[19:].split() for row in rows]
    assert told[0][:2] == ["ann", "froze"] and told[1][:2] == ["ada", "promoted"]
    assert next(row for row in told if "approved" in row)[:3] == ["ada", "approved", "4"]
    assert ["bob", "rolled", "back", "3", "→", "2", "complaints"] in told
    by_hand = next(row for row in rows if "moved by hand" in row)
    assert "person (MLflow)" in by_hand and "version 3 was moved to Production (and [4], which were" in by_hand
    lost = next(row for row in rows if "undone" in row)
    assert "ada" in lost and "undone: version 3 was moved to Archived meanwhile" in lost
    assert "\x1b" not in done.output and "alert" not in done.output
    short = invoke(place, "history", NAME, "--last", "2").output.splitlines()
    assert len(short) == 4 and short[-1] == "the newest 2; --last N shows more"


def test_the_files_have_everything_with_its_evidence(place, ws):
    lived(ws)
    files = place / "history.json", place / "history.csv"
    done = invoke(place, "history", NAME, "--json", str(files[0]), "--csv", str(files[1]))
    assert done.exit_code == 0, done.output
    events = json.loads(files[0].read_text())["events"]
    assert [e["what"] for e in events][:2] == ["alert", "froze"] and len(events) == len(ws.table.journal(NAME))
    moved = next(e for e in events if e["what"] == "promoted" and e["who"] == "flow")
    assert (moved["from"], moved["to"], moved["version"], moved["outcome"]) == (1, 2, 2, "done")
    links = [(e["link"], e["hash"]) for e in reversed(events)]
    assert [link for link, _ in links] == list(range(1, len(events) + 1)), "each has its place in the chain"
    chain = ws.table.chain.links(NAME)
    assert links == [(each.link, each.hash) for each in chain]
    assert broken((each.link, each.digest, each.hash) for each in chain) == ""
    rows = list(csv.DictReader(files[1].read_text(encoding="utf-8").splitlines()))
    assert [row["entry"] for row in rows] == [str(e["entry"]) for e in events]
    assert [row["why"] for row in rows if "HYPERLINK" in row["why"]] == ["'=HYPERLINK(1)"]
    assert invoke(place, "history", "tyo").exit_code == 2
    assert "create it first" in invoke(place, "history", NAME, "--csv", "no/such/x.csv").output
