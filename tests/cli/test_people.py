"""``selfheal freeze``, ``unfreeze`` and ``approve`` on a real home with two models: what they say, write, exit with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from selfheal.registry.adoption import adopt_model
from selfheal.steering import promote
from selfheal.steering.trusts import lose_trust
from selfheal.steering.workspace import Workspace
from tests.cli.test_commands import invoke
from tests.steering.conftest import adopted, closed, copied
from tests.steering.given import NAME, POLICY, START, rows, send, toy, workspace_at

LATER = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two models: made once, copied for each test."""
    base = tmp_path_factory.getbasetemp() / "adopted"
    ws = workspace_at(copied(adopted(base), tmp_path_factory.mktemp("two") / "home"))
    adopt_model("other", toy().with_policy({}), ws.registry, ws.table)
    return closed(ws)


@pytest.fixture
def place(tmp_path: Path, two: Path) -> Path:
    """A folder whose home has two models."""
    copied(two, tmp_path / "home")
    return tmp_path


@pytest.fixture
def ws(place: Path) -> Iterator[Workspace]:
    opened = workspace_at(place / "home")
    yield opened
    opened.table.close()


def test_trust_is_given_again_with_a_name_and_a_reason(place, ws):
    lose_trust(ws, NAME, "2 of 3 judged heals harmed")
    assert "heals wait for labels, an audit or a person: 2 of 3" in invoke(place, "status", NAME).output
    done = invoke(place, "trust", NAME, "--why", "the unit is declared now", "--as", "ada")
    assert done.output == "toy: heals are released again; they waited because 2 of 3 judged heals harmed\n"
    assert invoke(place, "trust", NAME, "--why", "again", "--as", "ada").output == "toy: was trusted\n"
    assert "--as NAME" in invoke(place, "trust", NAME, "--why", "x", "--as", "flow").output


def test_one_model_is_frozen_shown_and_let_go(place, ws):
    file = place / "frozen.json"
    done = invoke(place, "freeze", NAME, "--why", "an incident", "--as", "ada", "--until", LATER, "--json", str(file))
    assert done.exit_code == 0, done.output
    assert f"toy: frozen by ada since {ws.table.freezes.find(NAME).since:%Y-%m-%d %H:%M} UTC, until " in done.output
    assert done.output.endswith(": an incident; version 1 serves\n")
    told = json.loads(file.read_text())
    assert told["frozen"][NAME]["freeze"]["until"] == LATER and told["failed"] == {}
    assert ws.table.freezes.find("other") is None
    again = invoke(place, "freeze", NAME, "--why", "a longer one", "--as", "bob")
    assert "it took the place of the freeze by ada since" in again.output

    status = invoke(place, "status", NAME, "--json", str(file))
    assert status.exit_code == 0, "frozen is not unhealthy"
    assert "  frozen    by bob since 20" in status.output and "UTC: a longer one" in status.output
    assert json.loads(file.read_text())[NAME]["frozen"]["why"] == "a longer one"

    ended = invoke(place, "unfreeze", NAME, "--as", "ada")
    assert (ended.exit_code, "toy: the loop goes on; it was frozen by bob since" in ended.output) == (0, True)
    assert invoke(place, "unfreeze", NAME).output.endswith("toy: was not frozen\n")
    assert "frozen" not in invoke(place, "status", NAME).output


def test_all_models_at_once_and_one_that_fails_keeps_no_other_from_it(place, ws):
    (place / "home" / "mlflow.db").rename(place / "home" / "away.db")
    done = invoke(place, "freeze", "--all", "--why", "an incident")
    assert done.exit_code == 1 and done.output.count("what was begun before could not be finished") == 2
    assert ws.table.freezes.find(NAME) and ws.table.freezes.find("other")
    (place / "home" / "away.db").rename(place / "home" / "mlflow.db")
    done = invoke(place, "unfreeze", "--all")
    assert (done.exit_code, done.output.count("the loop goes on")) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["freeze", "--why", "x"], "name one model, or give --all"),
        (["freeze", NAME, "--all", "--why", "x"], "name one model, or give --all"),
        (["freeze", NAME], "Missing option '--why'"),
        (["freeze", NAME, "--why", " "], "--why TEXT"),
        (["freeze", NAME, "--why", "x", "--as", " "], "--as NAME"),
        (["freeze", NAME, "--why", "x", "--until", "2020-01-01"], "which is over"),
        (["freeze", "tyo", "--why", "x"], "did you mean 'toy'"),
        (["unfreeze"], "name one model, or give --all"),
    ],
)
def test_bad_input_freezes_nothing(place, ws, arguments, words):
    done = invoke(place, *arguments)
    assert (done.exit_code, words in done.output, "Traceback" in done.output) == (2, True, False), done.output
    assert ws.table.freezes.find(NAME) is None


def test_two_names_approve_a_version(place, ws):
    (place / "rules").mkdir(exist_ok=True)
    (place / "rules" / "toy.yaml").write_text(POLICY.replace("release: {", "release: {approvers: 2, "))
    first = invoke(place, "approve", NAME, "2", "--as", "ada")
    assert (first.exit_code, first.output.splitlines()[-1]) == (0, "toy version 2 waits: 1 of 2 approvals (ada)")
    shown = invoke(place, "status", NAME).output
    assert "waits for 1 more approval: 1 of 2 approvals (ada), selfheal approve toy 2 --as NAME" in shown
    second = invoke(place, "approve", NAME, "2", "--as", "bob", "--json", str(place / "x.json"))
    assert second.output.splitlines()[-1] == "toy version 2 serves: 2 of 2 approvals (ada, bob)"
    told = {"model": NAME, "version": 2, "promoted": True, "approvals": ["ada", "bob"], "needed": 2}
    assert json.loads((place / "x.json").read_text()) == told and ws.registry.production(NAME) == [2]
    again = invoke(place, "approve", NAME, "2", "--as", "cyd")
    assert (again.exit_code, "version 2 serves already; there is nothing to approve" in again.output) == (0, True)
    assert "quarantine: 2" in invoke(place, "rollback", NAME).output
    back = invoke(place, "rollback", NAME, "--to", "2").output
    assert "toy version 2 was in quarantine, for it had been rolled back; your word lifts that" in back
    assert "quarantine: 1" in back and ws.registry.production(NAME) == [2]
    assert invoke(place, "approve", NAME, "9", "--as", "ada").exit_code == 2
    assert invoke(place, "approve", NAME, "3", "--as", "flow").exit_code == 2


WATCHES = """
import sys
from selfheal.cli import main
try:
    main(["status", "toy", "--watch"])
except SystemExit as done:
    print("exit", done.code)
print("loaded", *sorted({"torch", "mlflow", "pandas", "sklearn", "scipy", "evidently", "prefect"} & set(sys.modules)))
"""


def test_status_is_shown_anew_until_ctrl_c_and_waits_for_no_imports(place, ws):
    (place / "rules").mkdir(exist_ok=True)
    policy = POLICY.replace("release: {", "release: {budget: {promotions: 3, per: 1d}, ")
    (place / "rules" / "toy.yaml").write_text(policy)
    promote(ws, NAME, 2, "flow")
    ws.table.outbox.set_mark(NAME, "ran", "300")
    environ = os.environ | {"SELFHEAL_HOME": str(place / "home"), "SELFHEAL_RULES": str(place / "rules")}
    command = [sys.executable, "-c", WATCHES]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as child:
        shown: list[str] = []
        while len([line for line in shown if line.startswith("toy: ")]) < 2:
            shown.append(child.stdout.readline())
            assert shown[-1], shown
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
    assert "exit" not in rest or "exit 0" in rest, rest
    assert rest.splitlines()[-1] == "loaded", rest
    screen = "".join(shown)
    assert "UTC, every 2 s, Ctrl-C ends it" in shown[0] and "  2  Production  sensor" in screen
    assert "  next run  due 20" in screen and "  budget    1 of 3 promotions in 1d" in screen


def test_a_dry_run_says_what_it_would_do_and_does_nothing(place, ws):
    (place / "rules").mkdir(exist_ok=True)
    (place / "rules" / "toy.yaml").write_text(POLICY)
    quiet = invoke(place, "monitor", NAME, "--dry")
    assert quiet.exit_code == 0 and "would settle the stages first: version 1 is the first" in quiet.output
    assert ws.table.journal(NAME) == []
    promote(ws, NAME, 2, "flow", over=1)
    send(ws, rows(200, 1), 0)
    entries = ws.table.journal(NAME)
    far, file = (START + timedelta(days=1)).isoformat(), place / "dry.json"
    dry = invoke(place, "monitor", NAME, "--dry", "--until", far, "--json", str(file))
    assert "toy window 0: " in dry.output and "  would roll version 2 back to 1\n" in dry.output
    told = json.loads(file.read_text())
    assert told["dry"] and told["foreseen"][0]["would"] == ["roll version 2 back to 1"]
    assert ws.table.journal(NAME) == entries and ws.table.cycles(NAME) == []
    assert ws.registry.production(NAME) == [2]
    both = invoke(place, "monitor", NAME, "--dry", "--clear", "0")
    assert (both.exit_code, "give one of them" in both.output) == (2, True)
