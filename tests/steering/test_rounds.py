"""What the reconciler beside a service finds and tells, with a real MLflow store that is there, away, or emptied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from selfheal.loop import status
from selfheal.registry.door import Door
from selfheal.registry.lineage import BASE
from selfheal.serving import reconciler
from selfheal.serving.reconciler import Rounds
from selfheal.steering import promote
from selfheal.steering.reconciler import Settled, reconcile
from selfheal.steering.stages import archive
from selfheal.steering.troubles import ALARM_FOR, alarm, troubles
from selfheal.steering.workspace import Workspace
from tests.steering.given import NAME, POLICY, stages
from tests.table.test_heartbeat import STALE_S, let_pass


@pytest.fixture
def rounds(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    monkeypatch.setattr(reconciler, "BEAT_S", 0.0)
    yield Rounds(ws, NAME)


def told(ws: Workspace) -> dict[str, str]:
    beat = ws.table.heartbeats.last(NAME)
    return beat.complaints() if beat else {}


def write_policy(ws: Workspace, text: str) -> None:
    (ws.settings.rules / f"{NAME}.yaml").write_text(text)


def test_a_healthy_model_has_a_heartbeat_and_nothing_to_tell(ws: Workspace, rounds: Rounds) -> None:
    rounds.go()
    beat = ws.table.heartbeats.last(NAME)
    assert beat is not None and (beat.holder, beat.complaints()) == (rounds.holder, {})
    assert status(ws, NAME)["health"] == []
    rounds.end()
    assert ws.table.heartbeats.last(NAME) is None


def test_an_invalid_policy_is_told_until_it_is_mended(
    ws: Workspace, rounds: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    write_policy(ws, POLICY)
    rounds.go()
    assert told(ws) == {}
    write_policy(ws, POLICY.replace("vote: 1", "vot: 1"))
    rounds.go()
    rounds.go()
    assert len([r for r in caplog.records if "vot" in r.getMessage()]) == 1  # said once
    assert f"{NAME}.yaml" in told(ws)["policy"] and "vot" in told(ws)["policy"] and "(since 20" in told(ws)["policy"]
    health = status(ws, NAME)["health"]
    assert health == [told(ws)["policy"]]
    write_policy(ws, POLICY)
    rounds.go()
    assert told(ws) == {} and status(ws, NAME)["health"] == []


def test_a_host_without_the_file_tells_what_the_newest_window_says(ws: Workspace, rounds: Rounds) -> None:
    ws.table.record_cycle(NAME, 0, {"decision": "stable", "faults": ["rules/toy.yaml:3: unknown key"]})
    rounds.go()
    assert "unknown key" in told(ws)["policy"]
    write_policy(ws, POLICY)
    rounds.go()
    assert told(ws) == {}


def test_production_that_nothing_can_fill_is_told(ws: Workspace, rounds: Rounds, home: Path) -> None:
    rounds.go()
    ws.models.clear()
    shutil.rmtree(home / "cache")
    for version in stages(ws):
        ws.registry.transition(NAME, version, "Archived")
        ws.registry.set_tag(NAME, version, BASE, '{"adapter_digest": "0", "base_digest": "0"}')
    rounds.go()
    assert "can be loaded" in told(ws)["production"] and "(since 20" in told(ws)["production"]
    assert "stages" not in told(ws)  # they are looked at


def test_an_empty_production_is_told_by_status_before_anybody_fills_it(ws: Workspace, rounds: Rounds) -> None:
    rounds.go()
    ws.registry.transition(NAME, 1, "Archived")
    assert "no version of 'toy' is in Production" in str(status(ws, NAME)["health"])
    rounds.go()
    assert stages(ws)[1] == "Production"
    assert list(told(ws)) == ["restored"] and "comes back to Production" in told(ws)["restored"]
    assert status(ws, NAME)["health"] == [told(ws)["restored"]]
    journal = ws.table.journal(NAME)
    assert alarm(journal, ws.clock() + ALARM_FOR + timedelta(hours=1)) == ""  # it is no alarm for ever
    promote(ws, NAME, 2, "ann")
    assert troubles(ws, NAME) == {}


def test_a_store_that_is_away_is_told_and_found_again(ws: Workspace, rounds: Rounds, home: Path) -> None:
    rounds.go()
    (home / "mlflow.db").rename(home / "away.db")
    rounds.go()
    let_pass(ws.settings.database_url, STALE_S + 1)
    assert "nobody has looked" in told(ws)["stages"] and "mlflow.db" in told(ws)["stages"]
    assert not (home / "mlflow.db").exists()
    assert told(ws)["stages"][:40] in str(status(ws, NAME)["health"])
    (home / "away.db").rename(home / "mlflow.db")
    rounds.go()
    assert told(ws) == {} and status(ws, NAME)["health"] == []
    archive(ws, NAME, 3, "ann")


def test_a_database_that_fails_is_outlived(ws: Workspace, rounds: Rounds, home: Path) -> None:
    rounds.go()
    (home / "selfheal.db").rename(home / "away-state.db")
    rounds.go()
    assert not (home / "selfheal.db").exists()
    (home / "away-state.db").rename(home / "selfheal.db")
    rounds.go()
    assert told(ws) == {}


def test_a_store_that_nobody_wrote_to_is_not_asked_again_and_a_stage_that_moved_is_settled_at_once(
    ws: Workspace, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    reconciling = reconcile

    def counted(ws: Workspace, name: str) -> Settled:
        asked.append(name)
        return reconciling(ws, name)

    monkeypatch.setattr("selfheal.steering.reconciler.reconcile", counted)
    for _ in range(4):
        rounds.go()
    assert len(asked) <= 2  # the first may find something to settle
    before = len(asked)
    ws.registry.store.transition(NAME, 2, "Production")
    rounds.go()
    assert len(asked) == before + 1 and ws.registry.production(NAME) == [2]
    monkeypatch.setattr(reconciler, "WHOLE_S", 0.0)
    rounds.go()
    rounds.go()
    assert len(asked) >= before + 2  # what only the database knows is looked for now and then


def test_a_store_behind_a_server_says_no_stamp(ws: Workspace) -> None:
    assert ws.registry.stamp is not None
    assert Door(replace(ws.settings, tracking_uri="http://127.0.0.1:9")).stamp is None
