"""What /health and /metrics say of the stages, the policy and the reconciler, in words, with the time since when."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from selfheal.serving import standing, watchdog
from selfheal.serving.app import ScoringApp
from selfheal.serving.watchdog import Reconciler
from selfheal.table.heartbeat import STALE_S
from tests.serving.test_swap import until
from tests.table.test_heartbeat import let_pass


@pytest.fixture
def keep_well() -> Iterator[Reconciler]:
    """The keeper of a process that makes progress."""
    code = "import os, time\nwhile True: os.write(1, b'.'); time.sleep(0.01)"
    kept = Reconciler([sys.executable, "-S", "-c", code], {}, starts_s=0.0)
    yield kept
    kept.close()


def gauge(service: Any, name: str) -> float:
    """The value of one of our metrics."""
    found = re.search(rf'^selfheal_{name}{{model="weather"}} (\S+)$', service.get("/metrics"), re.MULTILINE)
    assert found, name
    return float(found[1])


def reasons(service: Any) -> str:
    told = service.get("/health")
    assert (told["status"] == "degraded") == bool(told["reasons"])
    return "\n".join(told["reasons"])


def test_every_metric_is_documented(place, serve_in_thread, root, keep_well):
    with serve_in_thread(place.config()) as service, place.table() as table:
        table.heartbeats.beat("weather", "host:1", {})
        service.app.pages.standing = standing.Standing(service.app.source, keep_well)
        service.app.source.look()
        names = set(re.findall(r"^# TYPE (\w+)", service.get("/metrics"), re.MULTILINE))
    page = (root / "docs" / "http.md").read_text()
    assert {"selfheal_stages_age_seconds", "selfheal_reconciler_hung_total"} <= names
    assert not [name for name in names if f"`{name}`" not in page]
    rules = yaml.safe_load((root / "infra/prometheus/selfheal.rules.yaml").read_text())["groups"][0]["rules"]
    asked = {name.removesuffix("_bucket") for rule in rules for name in re.findall(r"selfheal_\w+", rule["expr"])}
    assert len(asked) > 10 and not asked - names


def test_what_the_reconcilers_found_is_told_until_it_is_mended(place, serve_in_thread, forms):
    found = {"policy": "rules/weather.yaml:3: unknown key 'vot'", "production": "Production of 'weather' is empty"}
    with serve_in_thread(place.config(poll_s=0.02, beat_s=0.0)) as service, place.table() as table:
        table.heartbeats.beat("weather", "host:1", found)
        for kind, words in found.items():
            assert until(lambda kind=kind: gauge(service, f"{kind}_fault") == 1)
            assert re.search(rf"{re.escape(words)} \(since 20\S+ \S+ UTC\)", reasons(service))
        assert service.ask("/ping", None)[0] == 200
        assert service.post("/invocations", forms.split(place.model.reference.iloc[:2]))[0] == 200
        assert gauge(service, "stages_fault") == gauge(service, "restored_fault") == 0 < gauge(service, "degraded")
        table.heartbeats.beat("weather", "host:1", {})
        assert until(lambda: reasons(service) == "")
        assert gauge(service, "policy_fault") == gauge(service, "production_fault") == gauge(service, "degraded") == 0


def test_stages_that_nobody_looks_at_are_told(place, serve_in_thread, monkeypatch):
    with serve_in_thread(place.config(poll_s=0.02, beat_s=0.0)) as service, place.table() as table:
        assert reasons(service) == ""  # a reconciler may still be starting
        monkeypatch.setattr(standing, "UNWATCHED_S", 0.0)
        assert "no reconciler looks at the stages" in reasons(service)
        table.heartbeats.beat("weather", "host:1", {})
        assert until(lambda: reasons(service) == "")
        table.heartbeats.miss("weather", "host:1", "MLflow cannot be reached")
        let_pass(place.url, STALE_S + 1)
        assert until(lambda: gauge(service, "stages_fault") == 1)
        assert re.search(r"nobody has looked .* since 20.* UTC .*: MLflow cannot be reached", reasons(service))
        assert gauge(service, "stages_age_seconds") > STALE_S
        table.heartbeats.beat("weather", "host:2", {})  # that of another host does as well
        assert until(lambda: reasons(service) == "")


def test_a_stopped_reconciler_is_told_although_another_host_looks(place, keep_well, monkeypatch):
    monkeypatch.setattr(watchdog, "STALE_S", 0.3)
    app = ScoringApp(place.config(), keep_well)
    try:
        app.table.heartbeats.beat("weather", "host:2", {})
        app.source.look()
        assert until(lambda: app.pages.complaints() == [])
        keep_well._child.send_signal(signal.SIGSTOP)
        assert until(lambda: any("no progress since" in words for words in app.pages.complaints()))
        told = {name: value for name, _, value in app.standing.gauges()}
        assert told["reconciler_fault"] == 1 and told["reconciler_age_seconds"] > 0.3 and told["stages_fault"] == 0
        assert (told["reconciler_ended_total"], told["reconciler_hung_total"]) == (0, 0)
    finally:
        app.close()


def test_a_freeze_is_shown_and_is_no_fault(place, serve_in_thread):
    with serve_in_thread(place.config(poll_s=0.02, beat_s=0.0)) as service, place.table() as table:
        table.heartbeats.beat("weather", "host:1", {})
        assert service.get("/health")["frozen"] == "" and gauge(service, "frozen") == 0
        table.freezes.set("weather", "ann", "an incident", None, datetime.now(UTC))
        assert until(lambda: gauge(service, "frozen") == 1)
        assert re.fullmatch(r"by ann since 20.* UTC: an incident", service.get("/health")["frozen"])
        assert reasons(service) == "" and gauge(service, "degraded") == 0
        table.freezes.lift("weather", "ann", datetime.now(UTC))
        assert until(lambda: service.get("/health")["frozen"] == "")
