"""The healer answers as recorded: a quick part of the sample here, the whole in a proof (`python -m tests.sample`)."""

from __future__ import annotations

from itertools import groupby

import pytest

from tests.sample import __main__ as command
from tests.sample import replay
from tests.sample.answers import Answer, ask, differences, near
from tests.sample.cases import Case, cases

QUICK = {
    "synthetic | clean | 700": "stable",
    "synthetic | offset | 700": "measurement",
    "synthetic | conversion °F → °C | 700 | a quarter of the rows": "two senders",
    "synthetic | conversion °F → °C | 700 | 300 labels against it": "measurement",
    "synthetic | clean | 700 | a column is away": "column 'x0' is missing",
    "synthetic | clean | 700 | 60 labels": "stable",
    "synthetic | label flip | 700 | labels before": "late_labels",
    "synthetic | prior up | 700": "prior",
    "synthetic | prior down | 700 | costs 1 : 5": "prior",
    "synthetic | clipped | 700": "broken column",
    "synthetic | evasion | 700": "columns moved together",
    "synthetic | recurring | 700": "recall",
    "synthetic | recurring, back | 700": "recall",
    "breast cancer | cancer unit | 700": "measurement",
    "twins | twin: sensor | 700": "measurement",
    "mixed | mixed: shares | 700": "prior",
    "mixed | mixed: sensor and shares | 700": "measurement and prior",
    "weather | weather °F → °C 03 | 700": "measurement",
    "weather | weather °F → °C 03 | 700 | turned back": "recall",
    "weather | weather natural 05 | 700": "inputs moved",
    "own | own 00 | 700": "inputs moved",
    "synthetic | new pattern, rule | 700": "new_rule",
}
"""Case → how its first reason begins: of every group but one, in some 9 s of CPU."""

CASES = {case.name: case for case in cases()}


@pytest.fixture(scope="session")
def golden() -> dict[str, Answer]:
    return replay.recorded()


@pytest.mark.parametrize("names", [list(g) for _, g in groupby(QUICK, lambda name: name.split(" | ")[0])], ids=str)
def test_the_healer_answers_as_recorded(names: list[str], golden: dict[str, Answer]) -> None:
    report = replay.Report(replay.exceptions())
    for name in names:
        answer = ask(CASES[name])
        report.take(name, golden[name], answer)
        if name not in report.listed:
            assert answer["reasons"][0].startswith(QUICK[name])
    assert report.differ == {}


def test_the_sample_holds_every_group_mechanism_and_decision(golden: dict[str, Answer]) -> None:
    assert list(golden) == list(CASES), "board.jsonl is of other cases; see `python -m tests.sample --record`"
    assert len(golden) >= 400
    assert {answer["decision"] for answer in golden.values()} == {
        "promote", "recall", "audit", "keep", "refuse", "watched",
    }  # fmt: skip
    assert {answer["diagnosis"] for answer in golden.values()} == {
        "stable", "benign", "data_fault", "sensor", "population", "prior", "concept", "unknown", "",
    }  # fmt: skip


@pytest.mark.prove
def test_the_whole_sample() -> None:
    """Some six CPU minutes in two processes; resumes from build/prove."""
    assert command.main([]) == 0


# ------------------------------------------------------------------ what counts as a difference

WAS = {"decision": "audit", "diagnosis": "sensor", "reasons": ["gain 0.123 (bound 0.008)", "x0: °C → °F"]}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"decision": "promote"}, ["decision: audit → promote"]),
        ({"changed_part": "input map"}, ["changed_part: None → input map"]),
        ({"reasons": ["gain 0.124 (bound 0.008)", "x0: °C → °F"]}, []),
        ({"reasons": ["gain 0.9", "x0: °C → °F"]}, ["- gain 0.123 (bound 0.008)", "+ gain 0.9"]),
        ({"reasons": ["x0: °C → °F", "gain 0.123 (bound 0.008)"]}, ["reasons in another order"]),
        ({"adapter": "0123"}, []),
    ],
)  # fmt: skip
def test_differences(changed: Answer, told: list[str]) -> None:
    assert differences(WAS, WAS | changed) == told


def test_numbers_are_near_in_their_last_place_or_within_two_percent() -> None:
    assert near("1 of 9", "1 of 10") is True
    assert near("e-value 1.23e+04", "e-value 1.24e+04") is True
    assert near("e-value 1.23e+04", "e-value 1.33e+04") is False
    assert near("row 500 of 1000", "row 520 of 1000") is False
    assert near("x − 0.5", "x + 0.5") is False


def test_a_difference_is_accepted_only_as_it_is_listed() -> None:
    listed = [{"cases": "own | *", "becomes": "refuse sensor", "why": "the gate asks for the cost"}]
    report = replay.Report(listed)
    report.take("own | own 01 | 700", WAS, WAS | {"decision": "refuse"})
    report.take("own | own 02 | 700", WAS, WAS | {"decision": "promote"})
    assert list(report.listed) == ["own | own 01 | 700"]
    assert list(report.differ) == ["own | own 02 | 700"]
    assert report.stale == []
    assert replay.Report(listed).stale == ["own | *"]


def test_recording_is_refused_on_a_dirty_tree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay, "_git", lambda *words: " M selfheal/healing/gate.py")
    monkeypatch.setattr(replay, "record", lambda found: pytest.fail("recorded"))
    assert command.main(["--record"]) == 2
    assert "clean working tree" in capsys.readouterr().out


def test_a_case_that_raises_is_an_answer_that_differs() -> None:
    answer = replay._safely(Case("own", "no such case", 700))
    assert answer["decision"] == "error"
    assert "no such case" in answer["reasons"][0]
