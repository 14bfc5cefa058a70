"""A window without the power for a verdict takes back none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from click.testing import CliRunner

from selfheal.cli import main
from selfheal.loop import monitor, status
from tests.steering.given import NAME, POLICY, START, rows, send

SECONDS = POLICY.replace("200 rows, min_rows: 100", "200s, min_rows: 20").replace("[2, 3]", "[1, 1]")


def test_a_last_window_of_a_few_rows_hides_no_drift_before_it(ws, monkeypatch: pytest.MonkeyPatch):
    (ws.settings.rules / f"{NAME}.yaml").write_text(SECONDS)
    drifted = rows(226, 3)
    drifted = drifted.assign(temperature=drifted["temperature"] + 4, dew=drifted["dew"] + 8)  # another population
    for seconds, sent in ((0, rows(200, 1)), (200, drifted[:200]), (400, drifted[200:])):
        send(ws, sent, seconds)
    monkeypatch.setenv("SELFHEAL_HOME", str(ws.settings.home))
    monkeypatch.setenv("SELFHEAL_RULES", str(ws.settings.rules))
    done = CliRunner().invoke(main, ["monitor", NAME, "--until", (START + timedelta(seconds=600)).isoformat()])
    assert done.exit_code == 1, done.output
    first, loud, few = ws.table.cycles(NAME, last=3)
    assert first["health"] == "healthy"
    assert (loud["heal"]["decision"], loud["heal"]["diagnosis"]) == ("refuse", "unknown"), (
        "a window of a few rows after it takes no heal from it"
    )
    assert (few["decision"], few["health"]) == ("too_few", "none")
    assert status(ws, NAME)["health"][0].startswith("degraded by drift that nothing has undone, window 1: data: ")

    send(ws, rows(200, 5), 600)
    (calm,) = monitor(ws, NAME, START + timedelta(seconds=800))
    assert (calm.decision.kind, calm.record["health"]) == ("stable", "healthy")
    assert not status(ws, NAME)["health"]
