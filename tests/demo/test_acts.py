"""What an act makes of its windows' records, how it scores, and how its home is laid out."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from selfheal.demo import data, home, streams
from selfheal.demo.acts import NEW_RULE, Checks, verdict_of
from selfheal.demo.home import clear, demo_settings, free_home, settle_environment
from selfheal.demo.replay import Answer
from selfheal.demo.score import accuracies
from selfheal.model import MonitoredModel
from selfheal.policy import Policy


def cycle(decision: str, **more: Any) -> dict[str, Any]:
    alarm = decision in ("alarm", "heal")
    signals = [{"name": "rules", "alarm": alarm}, {"name": "data", "alarm": alarm}]
    blank = {
        "decision": decision,
        "alarm": alarm,
        "signals": signals,
        "heal": None,
        "watch": None,
        "reasons": [decision],
    }
    return blank | more


HEAL = {
    "diagnosis": "sensor",
    "decision": "promote",
    "changed_part": "input map",
    "reasons": ["°C → °F"],
    "failure": "",
}
ROLLED = {"rolled_back": True, "reasons": ["farther"]}
HELD = {"rolled_back": False, "held": True, "reasons": ["frozen"]}


@pytest.mark.parametrize(
    ("cycles", "expected"),
    [
        ([cycle("stable")], ((), "stable", "keep", "none", ("stable",))),
        ([cycle("alarm"), cycle("stable")], (("data", "rules"), "stable", "keep", "none", ("alarm",))),
        (
            [cycle("alarm"), cycle("heal", heal=HEAL)],
            (("data", "rules"), "sensor", "promote", "input map", ("°C → °F",)),
        ),
        ([cycle("data_fault")], ((), "data_fault", "refuse", "none", ("data_fault",))),
        ([cycle("alarm", watch=ROLLED)], (("data", "rules"), "worse", "rollback", "none", ("farther",))),
        ([cycle("alarm", watch=HELD)], (("data", "rules"), "worse", "rollback", "none", ("frozen",))),
        ([], ((), "stable", "keep", "none", ())),
    ],
)
def test_the_verdict_is_the_loops_own_word(cycles: list[dict[str, Any]], expected: tuple[Any, ...]) -> None:
    verdict = verdict_of(cycles)
    found = (verdict.signals, verdict.diagnosis, verdict.decision, verdict.changed_part, verdict.reasons)
    assert found == expected


def test_checks_collect_what_is_missing() -> None:
    checks = Checks()
    checks.must(True, "never said")
    checks.equal("decision", "keep", "promote")
    assert checks.missing == ["decision is 'keep', not 'promote'"]


def test_streams_hand_out_every_row_once_and_know_what_was_there_before_the_fault() -> None:
    stream = streams.rain()
    first, second = stream.take(1), stream.take(2, data.in_celsius)
    assert len(first.rows) == 365 and len(second.rows) == 730
    assert second.rows.ids[0] == "day-365" and first.until == second.rows.times[0]
    np.testing.assert_allclose(second.rows.frame["temperature"] * 1.8 + 32, second.clean["temperature"])
    assert "target" not in first.rows.frame and second.labels.tolist() == second.clean_labels.tolist()
    with pytest.raises(ValueError, match="the stream has"):
        stream.take(100)


def test_before_the_new_pattern_the_same_payments_were_honest() -> None:
    stream = streams.fraud()
    stream.take(1)
    later = stream.take(2)
    changed = later.rows.frame["amount"].ne(later.clean["amount"])
    assert changed.mean() == pytest.approx(streams.PATTERN_SHARE, abs=0.02)
    assert later.labels[changed].all() and later.labels[~changed].tolist() == later.clean_labels[~changed].tolist()


def test_four_accuracies() -> None:
    import pandas as pd
    import torch

    rows = pd.DataFrame({"a": [-1.0, 1.0, 2.0, -2.0], "y": [0, 1, 1, 0]})
    model = MonitoredModel(torch.nn.Identity(), torch.nn.Linear(1, 1), reference=rows, target="y")
    with torch.no_grad():
        model.head.weight.fill_(1.0)
        model.head.bias.zero_()
    labels = np.array([0, 1, 1, 1])
    frame = rows[["a"]]
    slice_ = streams.Slice(streams.Rows(-frame, [], []), labels, frame, labels)
    answered = [Answer(frame, np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]]), 2)]
    found = accuracies(model, slice_, answered)
    assert (found.clean, found.broken, found.after, found.constant) == (0.75, 0.25, 1.0, 0.75)


def test_the_demo_plays_in_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFHEAL_DATABASE_URL", "postgresql://production/never")
    place = free_home(tmp_path, keep=False)
    settings = demo_settings(place)
    assert settings.database_url == f"sqlite:///{tmp_path}/demo/selfheal.db"
    (place / "old").mkdir(parents=True)
    clear(settings)
    assert not (place / "old").exists()
    for name in home.MODELS:
        assert Policy.load(settings.rules / f"{name}.yaml").model == name
    assert free_home(tmp_path, keep=True) == tmp_path / "demo-2"
    before = dict(os.environ)
    monkeypatch.setenv("PREFECT_API_URL", "http://production/api")
    try:
        settle_environment(settings)
        assert os.environ["SELFHEAL_DATABASE_URL"] == settings.database_url
        assert "PREFECT_API_URL" not in os.environ
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_the_owners_rule_fits_the_policy() -> None:
    policy = yaml.safe_load((home.policies() / "fraud.yaml").read_text(encoding="utf-8"))
    policy["rules"].append(NEW_RULE)
    assert Policy.load(policy).rule_set[-1].knowledge == "new"
