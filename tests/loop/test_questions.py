"""What only the owner of the data knows: asked once, journaled, answered in a word, and acted on by the gate."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from selfheal.errors import InputError, RefusedError
from selfheal.loop import answer_question, evidence_place, load, monitor, open_question, status
from selfheal.loop.questions import FACT, OpenQuestion, facts
from selfheal.steering import promote
from tests.steering.given import NAME, POLICY, START, rows, send, stages

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

FAR = START.replace(year=2027)
WINDOW = 500
LONG = POLICY.replace("200 rows", f"{WINDOW} rows").replace("cooldown: 1m", "cooldown: 0s")


def recalibrated(seed: int) -> pd.DataFrame:
    """Degrees that read fifteen more, and a fifth wider: no conversion that anybody lists."""
    frame = rows(WINDOW, seed)
    return frame.assign(temperature=frame["temperature"] * 1.2 + 15)


def windows(ws, first: int, *frames: pd.DataFrame):
    """The frames as windows from the ``first`` on, handled."""
    for k, frame in enumerate(frames, first):
        send(ws, frame, WINDOW * k)
    return monitor(ws, NAME, FAR)


def asked(ws, policy: str = LONG) -> OpenQuestion:
    """The question that comes of two drifted windows."""
    (ws.settings.rules / "toy.yaml").write_text(policy)
    cycles = windows(ws, 0, recalibrated(50), recalibrated(51))
    assert (cycles[-1].heal.decision, cycles[-1].heal.asks) == ("audit", "fact")
    question = open_question(ws, NAME)
    assert question is not None
    return question


def steps(ws) -> list[str]:
    return [e.intent["step"] for e in ws.table.journal(NAME, kind=FACT)]


def held(ws) -> list[bool | None]:
    return [fact["holds"] for fact in facts(load(ws, NAME))]


def test_a_question_says_when_and_shows_the_column_before_now_and_after(ws):
    question = asked(ws)
    assert (
        question.text.startswith("Did `temperature` change on 2026-01-01 00:00, so that 0.8") and question.window == 1
    )
    assert question.options == ("yes", "no", "unknown")
    medians = {when: extent[1] for when, extent in question.evidence["temperature"].items()}
    assert medians["now"] > medians["before"] + 20 and abs(medians["after"] - medians["before"]) < 3
    assert question.command == "selfheal audit toy [--yes | --no | --unknown] --as NAME"
    told = status(ws, NAME)
    assert told["question"] == question.text and not told["healthy"]
    assert [e.intent["what"] for e in ws.table.journal(NAME, kind="alert")] == ["a question"]
    first, second = (row.record for row in ws.table.outbox.alerts(NAME))
    assert (first["kind"], second["kind"], first["run"]) == ("question", "alarm", question.run_id)
    assert first["what"] == f"a question waits: {question.text}"
    assert first["next"] == "selfheal audit toy (answers: yes, no, unknown)"
    waits = next(v for v in told["versions"] if v["version"] == question.version)["waits"]
    assert waits == "an answer (selfheal audit), or a person"
    drawn = ws.registry.runs.artifact(question.run_id, "plots/question.svg").decode()
    assert ">temperature<" in drawn and ">wind<" not in drawn
    assert evidence_place(ws, question) == f"run {question.run_id}, plots/question.svg (selfheal ui shows it)"
    info = ws.registry.version(NAME, question.version)
    assert "### What broke\n\ndata: " in info.description and "It waits in Staging" in info.description
    assert info.description.startswith(info.summary) and "###" not in info.summary
    with ws.registry._door.asked("read a run") as client:
        numbers = client.get_run(ws.table.cycles(NAME)[-1]["run"]).data.metrics
    first = [f"1 health/{n}" for n in ("1 healthy", "2 data per bound", "3 rules per bound")]
    assert sorted(numbers)[:3] == first and numbers[first[1]] > 1.0


def test_yes_releases_the_very_version_that_was_asked_about_and_holds_while_it_serves(ws):
    question = asked(ws)
    before = len(stages(ws))
    done = answer_question(ws, NAME, "yes", "ada")
    assert done.promoted and done.healed.version == question.version, done.note
    assert stages(ws)[question.version] == "Production" and len(stages(ws)) == before
    assert steps(ws) == ["asked", "answered"]
    assert ws.table.journal(NAME, kind=FACT)[-1].intent["actor"] == "ada"
    assert open_question(ws, NAME) is None and status(ws, NAME)["question"] == ""
    with pytest.raises(RefusedError, match="nothing is asked of 'toy'"):
        answer_question(ws, NAME, "no", "ada")
    assert held(ws) == [True]
    cycles = windows(ws, 2, recalibrated(52))
    assert cycles[-1].decision.kind == "stable", "model units: nothing alarms"
    promote(ws, NAME, 1, "ada")
    assert held(ws) == []


def test_no_takes_the_guess_away_and_brings_the_next_one(ws):
    question = asked(ws)
    done = answer_question(ws, NAME, "no", "ada")
    assert not done.promoted and stages(ws)[question.version] == "Archived"
    assert held(ws)[0] is False and done.healed.question != question.text
    # It is not asked again while the change lasts, though every window alarms.
    windows(ws, 2, recalibrated(52))
    texts = [e.intent["reasons"][0] for e in ws.table.journal(NAME, kind=FACT) if e.intent["step"] == "asked"]
    assert len(texts) == len(set(texts)) <= 2
    # The next change of these columns is another.
    windows(ws, 3, rows(WINDOW, 60), rows(WINDOW, 61))
    assert held(ws) == []


def test_who_does_not_know_is_asked_for_labels_instead(ws):
    question = asked(ws)
    done = answer_question(ws, NAME, "unknown", "ada")
    assert done.healed is None and "--out rows.csv" in done.note
    assert stages(ws)[question.version] == "Staging" and open_question(ws, NAME) is None
    heal = windows(ws, 2, recalibrated(52))[-1].heal
    assert (heal.decision, heal.asks) == ("audit", "labels")


def test_a_question_is_open_once_and_goes_with_the_change(ws):
    asked(ws)
    windows(ws, 2, recalibrated(52))
    assert steps(ws) == ["asked"]
    windows(ws, 3, rows(WINDOW, 60), rows(WINDOW, 61))
    assert open_question(ws, NAME) is None


def test_manual_approval_still_has_the_say(ws):
    asked(ws, LONG.replace("bake_windows: 1", "bake_windows: 1, approval: manual"))
    done = answer_question(ws, NAME, "yes", "ada")
    assert not done.promoted and "release.approval is manual" in done.note


def test_what_is_no_answer_changes_nothing(ws):
    question = asked(ws)
    with pytest.raises(InputError, match=r"'maybe' is no answer to .Did `temperature`.*answers: yes, no, unknown"):
        answer_question(ws, NAME, "maybe", "ada")
    with pytest.raises(InputError, match="journaled under a name: --as NAME"):
        answer_question(ws, NAME, "yes", " ")
    assert open_question(ws, NAME) == question


def test_an_answer_survives_a_crash_and_the_next_heal_goes_by_it(ws):
    question = asked(ws)

    def die(step: str) -> None:
        if step == "answered":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_question(replace(ws, checkpoint=die), NAME, "yes", "ada")
    assert held(ws) == [True] and stages(ws)[question.version] == "Staging"
    heal = windows(ws, 2, recalibrated(52))[-1].heal
    assert (heal.decision, heal.promoted) == ("promote", True), heal.reasons
    assert list(stages(ws).values()).count("Production") == 1
