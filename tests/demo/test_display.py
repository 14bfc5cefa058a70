"""What the demo says, on a terminal and off it, in 80 and in 120 columns; and the report's JSON."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from selfheal.demo.display import Display
from selfheal.demo.results import Accuracy, ActResult, Report, Requests


def act(name: str, missing: tuple[str, ...] = (), part: str = "ReflexiveLayer") -> ActResult:
    return ActResult(
        name=name,
        model="fraud",
        signals=("data", "rules"),
        diagnosis="data_fault",
        decision="promote",
        changed_part=part,
        reasons=("temperature: °C → °F [exact]",),
        accuracy=Accuracy(clean=0.801, broken=0.69, after=0.7954, constant=0.69),
        production_version=12,
        seconds=11.2,
        missing=missing,
    )


def rendered(report: Report, width: int) -> str:
    out = io.StringIO()
    display = Display(Console(file=out, width=width, highlight=False))
    display.title()
    with display.step("sending [365] days"):
        pass
    display.act(1, report.acts[0].name, "nothing happens")
    display.done(report.acts[0])
    display.summary(report, Path("/srv/home"))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_everything_is_there_and_fits(width: int) -> None:
    report = Report((act("metric units"), act("calm")), Requests(200, 0, 0), 93.4)
    text = rendered(report, width)
    assert max(len(line) for line in text.splitlines()) <= width
    folded = "".join(text.split())
    for words in (
        "sending [365] days", "metric units", "°C → °F [exact]", "ReflexiveLayer", "data_fault", "promote",
        ".80 → .69 → .80 | .69", "12",
        "200 requests, 0 failed, 0 mixed versions", "SELFHEAL_HOME=/srv/home selfheal ui",
    ):  # fmt: skip
        assert "".join(words.split()) in folded, words
    assert ("ReflexiveLayer" in text) and ("…" not in text)


def test_what_went_wrong_is_named() -> None:
    report = Report((act("calm", missing=("two versions are in Production",)),), Requests(10, 1, 2), 5.0)
    assert report.missing == [
        "calm: two versions are in Production", "requests: 1 of 10 failed", "requests: 2 answers mix versions"
    ]  # fmt: skip
    text = rendered(report, 100)
    assert text.count("two versions are in Production") == 2 and "✗" in text


def test_json_is_the_contract() -> None:
    found = Report((act("calm"),), Requests(10, 0, 0), 93.44).to_json()
    assert found == {
        "acts": [
            {
                "name": "calm",
                "model": "fraud",
                "signals": ["data", "rules"],
                "diagnosis": "data_fault",
                "decision": "promote",
                "changed_part": "ReflexiveLayer",
                "reasons": ["temperature: °C → °F [exact]"],
                "accuracy": {"clean": 0.801, "broken": 0.69, "after": 0.7954, "constant": 0.69},
                "production_version": 12,
            }
        ],
        "requests": {"sent": 10, "failed": 0, "mixed_versions": 0},
        "seconds": 93.4,
    }


def test_share_of_the_loss_recovered() -> None:
    assert Accuracy(0.8, 0.7, 0.79, 0.7).recovered == pytest.approx(0.9)
    assert math.isnan(Accuracy(0.8, 0.8, 0.8, 0.7).recovered)
