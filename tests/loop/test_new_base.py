"""Another base under the same name: its windows, yardstick and facts are its own, and a switch back is one too."""

from __future__ import annotations

import json
import threading

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from selfheal.cli.standing import standing
from selfheal.errors import InputError
from selfheal.loop import load, monitor, pending, status
from selfheal.loop.heals import heal, heal_window, memory
from selfheal.loop.questions import FACT, facts, open_question
from selfheal.loop.records import FAILED
from selfheal.loop.watch import judged
from selfheal.model import MonitoredModel
from selfheal.registry.adoption import adopt_model
from selfheal.serving import ServingConfig
from selfheal.steering import promote, rollback
from selfheal.steering.policies import policy_of_record
from tests.serving.conftest import running
from tests.serving.test_swap import ask_on, until
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send, toy

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

N = 200
FAR = START.replace(year=2027)
NEW = 5
"""The version with its identity adapter: the template has four."""


def cold(n: int, seed: int) -> pd.DataFrame:
    """The same weather as the new base knows it."""
    return in_celsius(rows(n, seed), "temperature", "dew")


def trained_on_celsius(reference: pd.DataFrame | None = None) -> MonitoredModel:
    """What the toy becomes when it is trained anew, on degrees Celsius."""
    body, head = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), toy().head
    with torch.no_grad():
        body[0].weight.copy_(torch.tensor([[1.8 / 15, 1.8 / 15, 0.0], [-1.8 / 15, -1.8 / 15, 0.0]]))
        body[0].bias.copy_(torch.tensor([-46 / 15, 46 / 15]))
    policy = yaml.safe_load(POLICY.replace("temperature > 70", "temperature > 21"))
    return MonitoredModel(body, head, cold(2400, 0) if reference is None else reference, policy=policy, name=NAME)


def adopted_anew(ws) -> MonitoredModel:
    model = trained_on_celsius()
    done = adopt_model(NAME, model, ws.registry, ws.table)
    assert (done.version, done.stage, done.base_version) == (NEW, "Staging", 2)
    assert str(done).endswith(f"selfheal promote {NAME} {NEW}")
    return model


def a_fact(ws) -> None:
    """A question about the base that serves, and its answer."""
    ctx = load(ws, NAME)
    told = {"question": "Did `wind` double?", "columns": {"wind": {"scale": 2.0, "offset": 0.0}}, "holds": False}
    asked = {
        "step": "asked", "window": 99, "start": "", "end": "", "version": None, "against": 1, "run_id": "",
        "manifest": ctx.model.manifest, "reasons": ["Did `wind` double?"], "options": ["no"],
        "answers": {"no": [told]}, "evidence": {},
    }  # fmt: skip
    ws.table.journal_note(NAME, FACT, asked, "asked", ws.clock())
    assert open_question(ws, NAME) is not None
    entry = ws.table.journal(NAME, kind=FACT)[-1].id
    answered = {"step": "answered", "window": 99, "asked": entry, "answer": "no", "actor": "ada"}
    ws.table.journal_note(NAME, FACT, answered, "answered", ws.clock())


def test_fractions_in_whole_numbers_are_said_and_no_fault(ws) -> None:
    """Of one in a column of codes nothing else says a word; all of them may be another unit."""

    def whole(n: int, seed: int) -> pd.DataFrame:
        return cold(n, seed).assign(wind=lambda frame: frame["wind"].round())

    adopt_model(NAME, trained_on_celsius(whole(2400, 0)), ws.registry, ws.table)
    promote(ws, NAME, NEW, "ada")
    send(ws, whole(N, 103), 0)
    send(ws, whole(N, 104).assign(wind=lambda f: f["wind"].where(np.arange(N) > 2, 3.5)), N)
    sound, broken = monitor(ws, NAME, FAR)
    assert "fractions" not in sound.record and broken.record["health"] == "healthy"
    (said,) = status(ws, NAME)["cycles"][-1]["fractions"]
    assert said.startswith(
        "3 of 200 rows hold a fraction in 'wind', such as 3.5, which was whole in all of the reference"
    )
    assert any(said in line for line in standing(status(ws, NAME)))


def test_what_was_learnt_of_a_base_is_not_carried_to_another(ws):
    for k in range(3):
        send(ws, rows(N, 100 + k), N * k)
    assert [c.record["health"] for c in monitor(ws, NAME, FAR)] == ["healthy"] * 3
    a_fact(ws)
    model = adopted_anew(ws)
    assert load(ws, NAME).version == 1 and len(facts(load(ws, NAME))) == 1

    # A person promotes while a window is being healed, and in the middle of the next one.
    send(ws, cold(N, 103), 3 * N)
    send(ws, rows(N // 2, 104), 4 * N)
    (window,) = pending(ws, NAME, FAR)
    late = load(ws, NAME).at(window)
    promote(ws, NAME, NEW, "ada")
    assert ws.table.journal(NAME)[-1].intent["change"]["reason"].startswith("from base 1 to base 2")
    assert policy_of_record(ws, NAME).policy.digest == model.policy.digest, "without a file, that of its adoption"
    assert facts(load(ws, NAME)) == () and [v for v, _, _ in memory(load(ws, NAME).at(ref(ws, 0)))] == [NEW]
    assert load(ws, NAME).healthy() == [], "its yardstick begins with its own reference"
    assert status(ws, NAME)["estimate"] is None, "what was expected of the other base is not expected of this one"
    registered = ws.registry.versions(NAME)
    healed = heal(late).healed
    assert healed is not None and healed.decision == FAILED
    assert "was changed to base 2" in healed.failure and ws.registry.versions(NAME) == registered
    send(ws, cold(N // 2, 105), 4 * N + N // 2)
    before, cut = (c.record for c in monitor(ws, NAME, FAR))
    assert before["decision"] == "too_few" and before["strange"] == N, before["reasons"]
    assert "another base answered 200 more" in before["reasons"][0]
    assert (cut["decision"], cut["health"], cut["strange"]) == ("stable", "healthy", N // 2), cut["reasons"]
    with pytest.raises(InputError, match="was answered by another base"):
        heal_window(ws, NAME, ref(ws, 0))

    # What suits it does not alarm; labels may take it back, data say nothing of which network is better.
    send(ws, cold(N, 106), 5 * N)
    (quiet,) = monitor(ws, NAME, FAR)
    assert not quiet.decision.alarm and quiet.watch.verdict == "none"
    assert len(load(ws, NAME).healthy()) == 2 and [c["index"] for c in load(ws, NAME).cycles] == [3, 4, 5]
    told = status(ws, NAME)
    assert (told["production"]["base_version"], told["cycles"][-2]["strange"]) == (2, N // 2)

    # Back again: the windows before the switch are its yardstick, those between are not.
    rollback(ws, NAME, "ada")
    assert [len(frame) for frame in load(ws, NAME).healthy()] == [N] * 3
    assert load(ws, NAME).look.others == {NEW} and facts(load(ws, NAME)) == ()
    send(ws, rows(N, 107), 6 * N)
    assert not monitor(ws, NAME, FAR)[-1].decision.alarm


def ref(ws, index: int):
    return ws.table.window(NAME, index)


def test_labels_decide_about_a_base_that_a_person_chose(ws):
    """The new one was trained on degrees that do not come: data are silent, labels take it back."""
    adopted_anew(ws)
    promote(ws, NAME, NEW, "ada")
    for k in range(2):
        frame = rows(N, 110 + k)
        ids = send(ws, frame, N * k)
        (cycle,) = monitor(ws, NAME, FAR)
        if k == 0:
            assert cycle.watch.verdict == "none"
            assert judged(load(ws, NAME).at(ref(ws, 0)))[1] is None
            ws.table.add_labels(NAME, ids, frame["y"].tolist(), START)
    assert cycle.watch.verdict == "worse" and cycle.watch.by == "labels" and cycle.watch.rolled_back
    assert ws.registry.production(NAME) == [1] and load(ws, NAME).look.quarantined == {NEW}


def test_a_service_swaps_base_and_adapter_together_and_fails_no_request(ws):
    new, old = adopted_anew(ws), toy()
    frame = rows(20, 5).drop(columns="y")
    body = json.dumps({"dataframe_split": {"columns": list(frame), "data": frame.to_numpy().tolist()}}).encode()
    answers: list = []
    failures: list = []
    stop = threading.Event()
    with running(ServingConfig(NAME, ws.settings.database_url, ws.settings.cache, poll_s=0.05)) as service:
        thread = threading.Thread(target=ask_on, args=(service.address, body, stop, answers, failures))
        thread.start()
        for version, act in ((1, None), (NEW, promote), (1, rollback)):
            if act:
                act(ws, NAME, *([NEW] if act is promote else []), "ada")
            assert until(lambda v=version: answers and answers[-1]["model_version"] == v)
        stop.set()
        thread.join(20)
    assert failures == [] and {a["model_version"] for a in answers} == {1, NEW}
    expected = {1: old.predict_proba(frame), NEW: new.predict_proba(frame)}
    for answer in answers:
        np.testing.assert_allclose(answer["predictions"], expected[answer["model_version"]], rtol=0, atol=1e-5)
