"""What runs and lines say, on records as the loop writes them."""

from __future__ import annotations

from typing import Any

import pytest

from flows import wording

HEAL: dict[str, Any] = {
    "decision": "promote",
    "diagnosis": "sensor",
    "reasons": ["measurement: temp: °F → °C"],
    "words": ["temp: °F → °C"],
    "version": 3,
    "promoted": True,
    "note": "version 3 is in Production",
    "failure": "",
    "run_id": "abc",
    "candidates": [{"name": "measurement", "kind": "mechanism", "explained": True, "value": 0.1234567, "bound": None}],
}
STABLE: dict[str, Any] = {
    "index": 12,
    "version": 2,
    "decision": "stable",
    "alarm": False,
    "reasons": ["data: 0.5 of the natural bound"],
    "signals": [{"name": "data", "alarm": False, "value": 0.5, "bound": 1.0, "reason": ""}],
    "health": "healthy",
    "heal": None,
    "watch": None,
    "report": "",
}


def record(**changed: Any) -> dict[str, Any]:
    return {**STABLE, **changed}


def healed(**changed: Any) -> dict[str, Any]:
    return record(decision="heal", health="unhealthy", heal={**HEAL, **changed})


@pytest.mark.parametrize(
    ("given", "state", "well", "message"),
    [
        (record(), "Healthy", True, "healthy: data 0.5 (bound 1)"),
        (record(decision="too_few", reasons=["90 rows"], health="none"), "Too few rows", True, "too few rows: 90 rows"),
        (record(decision="drift", reasons=["a", "b"], health="waiting"), "Drift", True, "drift: a (and 1 more)"),
        (
            record(decision="alarm", alarm=True, reasons=["data: 9", "rules: 2", "cooldown"], health="unhealthy"),
            "Alarm",
            False,
            "alarm: data: 9; cooldown",
        ),
        (record(decision="data_fault", reasons=["x"], health="unhealthy"), "Data fault", False, "data fault: x"),
        (healed(), "Promoted", True, "promoted v3: sensor, temp: °F → °C"),
        (healed(decision="recall", version=1), "Recalled", True, "recalled v1: sensor, temp: °F → °C"),
        (
            healed(decision="audit", promoted=False, note="version 3 waits for an audit"),
            "Waiting",
            False,
            "sensor, temp: °F → °C; version 3 waits for an audit",
        ),
        (
            healed(decision="refuse", diagnosis="unknown", words=[], version=None, promoted=False, reasons=["no"]),
            "Refused",
            False,
            "refused: unknown; no",
        ),
        (
            healed(decision="refuse", diagnosis="data_fault", words=[], version=None, promoted=False, reasons=["swap"]),
            "Data fault",
            False,
            "data fault: data_fault; swap",
        ),
        (
            healed(decision="failed", diagnosis="", words=[], version=None, promoted=False, failure="it died"),
            "Heal failed",
            False,
            "heal failed: it died",
        ),
        (
            record(
                decision="alarm",
                health="unhealthy",
                watch={"rolled_back": True, "version": 4, "against": 2, "reasons": ["worse"], "verdict": "worse"},
            ),
            "Rolled back",
            False,
            "rolled back v4 to v2: worse",
        ),
    ],
)
def test_state_health_and_message(given: dict[str, Any], state: str, well: bool, message: str) -> None:
    assert wording.state(given) == state
    assert wording.healthy(given) is well
    assert wording.message(given) == message
    assert wording.line("rain", given) == f"rain window 12: {message}"


def test_a_run_over_several_windows_tells_of_the_last_that_is_not_plain() -> None:
    assert wording.summary([]) == ("Nothing new", "no window closed since the last look")
    assert wording.summary([record()])[0] == "Healthy"
    promoted, stable = healed() | {"index": 13}, record(index=14)
    assert wording.summary([record(), promoted, stable]) == (
        "Promoted",
        "window 13: promoted v3: sensor, temp: °F → °C",
    )


def test_runs_are_named_after_their_windows() -> None:
    assert wording.run_name("rain", []) == "rain: no window closed"
    assert wording.run_name("rain", [12]) == "rain window 12"
    assert wording.run_name("rain", [9, 10, 12]) == "rain windows 9 to 12"


def test_a_page_is_kept_for_what_is_more_than_a_line() -> None:
    assert not wording.worth_a_page(record())
    assert wording.worth_a_page(healed())
    page = wording.page("rain", healed())
    assert page.startswith("# rain, window 12: promoted")
    assert "| measurement | mechanism | True | 0.1235 |  |" in page
    assert "`abc`" in page


def test_traffic_cannot_write_markup() -> None:
    page = wording.page("rain", record(decision="data_fault", reasons=["'<script>x</script>' | [a](http://b)"]))
    assert "<script>" not in page
    assert r"\[a\](http://b)" in page
    assert r"\|" in page


@pytest.mark.parametrize(("name", "key"), [("Rain_v2", "rain-v2"), ("fraud", "fraud"), ("_", "model")])
def test_artifact_keys_are_what_prefect_allows(name: str, key: str) -> None:
    assert wording.slug(name) == key
