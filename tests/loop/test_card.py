"""A version's card: what broke, what was done, its limits, how to undo it; its summary is what the journal repeats."""

from __future__ import annotations

from typing import Any

from selfheal.loop.card import LIMITS, card
from selfheal.registry.versions import CARD

ABOUT: dict[str, Any] = {
    "window": 7, "span": "2026-01-01 00:00 to 2026-01-01 01:00 UTC", "rows": 1200, "broke": ["data: 4.7 of its bound"],
    "words": ["temp: °C → °F"], "reasons": ["measurement: [evil](http://x) <b>`temp`</b>"], "diagnosis": "sensor",
    "parent": 3, "verdict": "promote", "run": "abc",
}  # fmt: skip


def sections(text: str) -> dict[str, str]:
    return dict(part.split("\n\n", 1) for part in text.split(CARD)[1:])


def test_it_says_what_one_must_know_and_takes_nothing_for_markup():
    text = card("fraud", **ABOUT | {"broke": ["[evil](http://x) <b>`temp`</b>"]})
    assert text.partition(CARD)[0] == "temp: °C → °F\n\n- measurement: [evil](http://x) <b>`temp`</b>"
    told = sections(text)
    assert list(told) == ["What broke", "What was done", "Limits", "To undo it", "Evidence"]
    assert told["What broke"] == r"\[evil\](http://x) &lt;b&gt;\`temp\`&lt;/b&gt;"
    assert "1,200 rows of window 7" in told["What was done"] and "from version 3" in told["What was done"]
    assert "](get-artifact?path=plots%2Fbefore-after.svg&run_uuid=abc)" in told["What was done"]
    assert told["Limits"].endswith(LIMITS["sensor"]) and told["Limits"].startswith("No label was used")
    assert told["To undo it"].startswith("`selfheal rollback fraud`") and "run abc" in told["Evidence"]


def test_what_waits_was_fitted_to_labels_or_is_on_trial_says_so():
    changed = {"verdict": "audit", "labels": 120.0, "trial": ["gift"], "diagnosis": "concept", "broke": []}
    told = sections(card("fraud", **ABOUT | changed))
    assert told["To undo it"].startswith("It waits in Staging")
    assert "fitted to 120 labels" in told["Limits"] and told["Limits"].endswith("On trial until labels confirm: gift.")
    assert told["What broke"] == "somebody asked for a heal by hand"
