"""The commands on a real home: what they print, write and exit with. Bad input is refused by name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from selfheal.cli import main
from selfheal.steering import Workspace
from tests.steering.given import NAME, START, in_celsius, rows, send, workspace_at

UNTIL = (START + timedelta(days=1)).isoformat()
#: The tests of this file share one home: made once, and kept in one process.
pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which ``toy`` was adopted by the command, from a file."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "my_models.py").write_text("from tests.steering.given import toy\n\nnot_a_model = 3\n")
    (folder / "rules").mkdir()
    done = invoke(folder, "adopt", NAME, f"{folder / 'my_models.py'}:toy", "--json", str(folder / "adopted.json"))
    assert done.exit_code == 0, done.output
    assert "toy: adopted as base 1; version 1" in done.output
    assert "selfheal serve toy" in done.output
    return folder


def invoke(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Result:
    places = {"SELFHEAL_HOME": str(folder / "home"), "SELFHEAL_RULES": str(folder / "rules"), **(environ or {})}
    return CliRunner().invoke(main, list(arguments), env=places)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Elsewhere than the checkout, and the path as it was afterwards: a factory's folder is put on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        monkeypatch.delenv(name, raising=False)


def commands() -> Sequence[str]:
    return list(main.commands)


def test_the_commands_in_the_order_of_use() -> None:
    names = ["demo", "init", "check", "adopt", "serve", "up", "monitor", "heal", "audit"]
    names += ["status", "history", "approve", "promote", "rollback", "freeze", "unfreeze", "trust", "score"]
    names += ["labels", "drill", "report", "evidence", "verify", "ui"]
    assert commands() == names


@pytest.mark.parametrize("name", commands())
def test_every_help_has_an_example_that_parses(name: str, tmp_path: Path) -> None:
    done = invoke(tmp_path, name, "--help")
    assert done.exit_code == 0
    example = done.output.partition("Example:\n")[2].strip()
    words = f" {example}".rpartition(" selfheal ")[2].split()
    assert words[0] == name
    command = main.commands[name]
    parser = command.make_parser(click.Context(command))
    parser.parse_args(words[1:])


def test_adoption_and_adoption_again(place: Path) -> None:
    told = json.loads((place / "adopted.json").read_text())
    assert (told["name"], told["version"], told["stage"], told["new"]) == (NAME, 1, "Production", True)
    again = invoke(place, "adopt", NAME, f"{place / 'my_models.py'}:toy")
    assert again.exit_code == 0
    assert "nothing new" in again.output


def test_adopt_takes_the_factory_and_the_rules_that_init_wrote(place: Path, tmp_path: Path) -> None:
    nowhere = invoke(place, "adopt", NAME)
    assert (nowhere.exit_code, "no factory 'toy_model.py:build' in" in nowhere.output) == (2, True), nowhere.output
    assert "or begin: selfheal init toy" in nowhere.output
    (tmp_path / "toy_model.py").write_text("from tests.steering.given import toy as build\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "toy.yaml").write_text("model: toy\nmonitor: {min_rows: 123}\n")
    theirs = invoke(place, "adopt", NAME, environ={"SELFHEAL_RULES": str(tmp_path / "rules")})
    assert "nothing new; its policy was renewed" in theirs.output, theirs.output
    again = invoke(place, "adopt", NAME)  # as it was, where there is no file of rules
    assert "its policy was renewed" in again.output, again.output


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("my_models.py", "names no factory"),
        ("nowhere.py:toy", "no file 'nowhere.py'"),
        ("no_such_package_at_all:toy", "no module 'no_such_package_at_all'"),
        ("{}/my_models.py:tyo", "has no 'tyo'; did you mean 'toy'?"),
        ("{}/my_models.py:not_a_model", "gives a int; it must return a selfheal.MonitoredModel"),
    ],
)
def test_a_factory_that_is_none_is_refused_by_name(place: Path, factory: str, words: str) -> None:
    done = invoke(place, "adopt", "other", factory.format(place))
    assert (done.exit_code, done.output.count("Traceback")) == (2, 0)
    assert f"error: {words}" in done.output or words in done.output


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import no_such_dependency_of_mine",
            "broken.py, line 1, in <module>: import no_such_dependency_of_mine: Module",
        ),
        (
            "def make():\n    open('/no/such/net.pt')",
            "broken.py, line 2, in make: open('/no/such/net.pt'): FileNotFoundError",
        ),
        (
            "import pandas\nmake = lambda: pandas.read_csv('no.csv')",
            "broken.py, line 2, in <lambda>: make = lambda: pandas",
        ),
        ("def make(:", "broken.py, line 1: invalid syntax"),
    ],
)
def test_a_defect_in_the_users_file_is_named_where_it_is(place: Path, tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "broken.py").write_text(f"{code}\n")
    for spec in ("broken.py:make", "broken:make"):
        sys.modules.pop("broken", None)
        done = invoke(place, "adopt", "other", spec)
        assert (done.exit_code, words in done.output, "Traceback" in done.output) == (2, True, False), done.output


def ask_for_labels(place: Path, tmp_path: Path) -> None:
    """Rows out, most of them filled in, and what they say of the accuracy."""
    asked = tmp_path / "rows.csv"
    drawn = invoke(place, "labels", NAME, str(asked), "--ask", "10")
    assert (drawn.exit_code, "10 rows of window 1 written; fill in the column label" in drawn.output) == (0, True)
    lines = asked.read_text().splitlines()
    assert (lines[0], len(lines)) == ("prediction_id,label,temperature,dew,wind", 11)
    asked.write_text("\n".join([lines[0], *(line.replace(",,", ",1,", 1) for line in lines[1:9]), *lines[9:]]) + "\n")
    back = invoke(place, "labels", NAME, str(asked), "--json", str(tmp_path / "labels.json"))
    assert back.output.splitlines()[-2].startswith("8 stored, 0 wait")
    told = json.loads((tmp_path / "labels.json").read_text())["accuracy"]
    said = "accuracy {value:.3f} ({low:.3f} to {high:.3f}) in window 1, by {labels} labels".format(**told)
    assert back.output.splitlines()[-1] == f"{said} that were asked for"
    assert f"  asked     {said}" in invoke(place, "status", NAME).output
    assert "give --ask N with it" in invoke(place, "labels", NAME, str(asked), "--window", "1").output


def nothing_new_mends_nothing(place: Path) -> None:
    again, dry = (invoke(place, "monitor", NAME, "--until", UNTIL, *more) for more in ((), ("--dry",)))
    assert (again.exit_code, "no window closed since" in again.output) == (1, True), again.output
    assert (dry.exit_code, "no window to look at" in dry.output) == (1, True), dry.output


def refusal(place: Path, *command: str) -> str:
    done = invoke(place, *command)
    assert done.exit_code == 2, done.output
    return done.output


def monitored_at(now: datetime, place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a run says when it is that time by the earlier of two clocks."""
    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "now", lambda self: now)
        return str(invoke(place, "monitor", NAME).output)


def test_monitor_status_labels_promote_rollback(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = workspace_at(place / "home")
    quiet = invoke(place, "monitor", NAME, "--until", UNTIL)
    assert (quiet.exit_code, "no window closed since the last look; one closes " in quiet.output) == (0, True)
    assert invoke(place, "heal", NAME).exit_code == 2
    ids = [name for seed in (1, 2) for name in send(ws, rows(200, seed), 200 * (seed - 1))]
    assert "no window closed" in monitored_at(START, place, monkeypatch), "though by this machine's clock they have"
    done = invoke(place, "monitor", NAME, "--until", UNTIL, "--json", str(tmp_path / "cycles.json"))
    assert done.exit_code == 0, done.output
    assert "toy window 0: healthy" in done.output
    told = json.loads((tmp_path / "cycles.json").read_text())
    assert [c["index"] for c in told["cycles"]] == [0, 1]

    send(ws, in_celsius(rows(200, 3), "temperature").assign(wind=7.0), 400)
    broken = invoke(place, "monitor", NAME, "--until", UNTIL)
    assert broken.exit_code == 1, broken.output
    assert "data fault: column 'wind'" in broken.output
    nothing_new_mends_nothing(place)

    ws.table.set_health(NAME, [1], "unhealthy")
    cleared = invoke(place, "monitor", NAME, "--clear", "1", "--until", UNTIL)
    assert (cleared.exit_code, "toy window 1: counts as healthy" in cleared.output) == (1, True), "2 is at fault still"
    assert len(ws.table.recent(NAME, 9)) == 2
    assert invoke(place, "monitor", NAME, "--clear", "9").exit_code == 2, "not processed yet"
    assert invoke(place, "monitor", NAME, "--clear", "2").exit_code == 2, "a data fault is nobody's yardstick"

    status = invoke(place, "status", NAME, "--json", str(tmp_path / "status.json"))
    assert status.exit_code == 1
    assert "toy: needs a look" in status.output
    assert "serves    version 1, adapter: none" in status.output
    assert json.loads((tmp_path / "status.json").read_text())[NAME]["production"]["version"] == 1

    labels_file = tmp_path / "labels.csv"
    labels_file.write_text("prediction_id,label\n" + "".join(f"{i},1\n" for i in [*ids[:5], "later"]))
    labelled = invoke(place, "labels", NAME, str(labels_file))
    assert labelled.output.splitlines()[-1].startswith("5 stored, 1 wait")
    labels_file.write_text(f"prediction_id,label\n{ids[0]},maybe\n")
    assert "'maybe'" in refusal(place, "labels", NAME, str(labels_file))
    ask_for_labels(place, tmp_path)

    pinned = invoke(place, "promote", NAME, "1", "--pin")
    assert "toy version 1 serves, pinned" in pinned.output
    assert invoke(place, "promote", NAME, "9").exit_code == 2
    nothing = invoke(place, "rollback", NAME)
    assert (nothing.exit_code, "no version before 1" in nothing.output) == (1, True)
    ws.table.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "tyo"], "did you mean 'toy'"),
        (["monitor", "tyo"], "did you mean 'toy'"),
        (["monitor", NAME, "--until", "tomorrow"], "'tomorrow' is no time"),
        (["promote", NAME, "one"], "'one' is not a valid integer"),
        (["labels", NAME, "nowhere.csv"], "does not exist"),
        (["status", NAME, "--json", "no/such/folder/x.json"], "create it first"),
        (["heel", NAME], "No such command 'heel'"),
    ],
)
def test_bad_input_is_exit_2_by_name_and_without_traceback(place: Path, arguments: list[str], words: str) -> None:
    done = invoke(place, *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_an_unreachable_registry_is_exit_1_with_the_remedy(place: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = invoke(place, "promote", NAME, "1", environ=away)
    assert (done.exit_code, "127.0.0.1:9" in done.output) == (1, True)
    assert "Traceback" not in done.output


def test_ui_points_to_a_server_that_somebody_else_runs(place: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PREFECT_API_URL": "http://127.0.0.1:10/api"}
    done = invoke(place, "ui", "--prefect", environ=away)
    assert done.exit_code == 0
    shown = [line.split("  ")[-1].strip() for line in done.output.splitlines()]
    assert shown[:3] == [
        "http://127.0.0.1:9",
        "http://127.0.0.1:9/#/models/toy?workflowType=machine_learning",
        "http://127.0.0.1:10/runs",
    ]


def test_no_command_makes_what_is_away(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("prediction_id,label\nr1,1\n")
    uses = (["status"], ["promote", NAME, "1"], ["monitor", NAME], ["serve", NAME], ["labels", NAME, "labels.csv"])
    for arguments in uses:
        done = invoke(tmp_path, *arguments)
        assert done.exit_code != 0 and "Traceback" not in done.output, (arguments, done.output)
    assert not list(tmp_path.rglob("*.db*"))


def test_an_empty_home_says_how_to_begin(tmp_path: Path) -> None:
    done = invoke(tmp_path, "status")
    assert done.exit_code == 2
    assert "selfheal adopt --help" in done.output


def told(**changed: Any) -> dict[str, Any]:
    production = {
        "version": 3,
        "adapter": ["temp: °F → °C"],
        "changed_part": "input map",
        "pinned": True,
        "settled_by": "flow",
        "previous": 2,
    }
    version = {"version": 3, "stage": "Production", "diagnosis": "sensor", "waits": ""}
    cycle = {"index": 12, "decision": "heal", "reasons": ["data: 54 of the bound"], "heal": {"decision": "promote"}}
    return {
        "model": "rain",
        "healthy": False,
        "health": ["the heal of window 9 failed"],
        "production": production,
        "versions": [version, version | {"version": 4, "stage": "Staging", "waits": "an audit"}],
        "cycles": [cycle | {"index": 11, "decision": "stable", "heal": None}, cycle],
        "watch": {"windows": 2, "of": 3, "verdicts": ["better", "undecided"]},
        "refused": [],
        "quarantine": [2],
        "audit_pending": [4],
        "question": "",
        **changed,
    }


def test_standing_says_what_is_wrong_first_and_the_newest_on_top() -> None:
    from selfheal.cli.standing import standing

    assert standing(told()) == [
        "rain: needs a look",
        "  !         the heal of window 9 failed",
        "  serves    version 3, adapter: input map, pinned, settled by flow, before it version 2",
        "            temp: °F → °C",
        "  watch     2 of 3 windows: better, undecided",
        "  versions    4  Staging     sensor; waits for an audit",
        "              3  Production  sensor",
        "  windows    12  heal → promote  data: 54 of the bound",
        "             11  stable",
        "  audit     versions 4 wait for labels or a person",
        "  barred    versions 2 were rolled back",
    ]


def test_standing_draws_the_last_windows_and_stays_on_one_screen() -> None:
    from selfheal.cli.standing import standing

    trend = {"rows": [100, 200, 50], "late": 3, "refused": 0, "accuracy": [None, None, 0.9]}
    trend["signals"] = {"data": [0.1, 0.5, 2.4], "rules": [0.0, None, 0.0]}
    production = told()["production"] | {"since": "2026-01-02T03:04:05+00:00", "why": "sensor:\x1b[2J\n°C"}
    archived = [{"version": v, "stage": "Archived", "diagnosis": "", "waits": ""} for v in range(1, 30)]
    shown = standing(told(trend=trend, production=production, versions=archived))
    assert "settled by flow, since 2026-01-02 03:04 UTC, before it version 2" in shown[2]
    assert shown[3] == "  because   sensor:?[2J °C"
    assert "  data      ▁▃█  2.4 of its bound" in shown and "  rules     ▁ ▁  0 of its bound" in shown
    assert "  rows      ▅█▃  50 in the last window, 3 late" in shown
    assert "  accuracy    ▇  0.900 by the labels that have come" in shown
    assert "                 and 23 more, archived" in shown and len(shown) < 24


def test_json_is_strict_whatever_the_record_holds(tmp_path: Path) -> None:
    import numpy as np
    import pandas as pd

    from selfheal.cli.output import write_json
    from selfheal.table import LabelReport

    record = {
        "when": START,
        "every": timedelta(minutes=5),
        "nan": float("nan"),
        "numpy": np.float64(0.5),
        "array": np.array([1, 2]),
        "frame": pd.DataFrame({"a": [1.0, np.nan]}),
        "set": {3, 1},
        "report": LabelReport(1, 2, 3),
        4: Path("x"),
    }
    write_json(tmp_path / "x.json", record)
    assert json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda c: pytest.fail(c)) == {
        "when": START.isoformat(),
        "every": 300.0,
        "nan": None,
        "numpy": 0.5,
        "array": [1, 2],
        "frame": [{"a": 1.0}, {"a": None}],
        "set": [1, 3],
        "report": {"stored": 1, "pending": 2, "refused": 3},
        "4": "x",
    }
    assert not list(tmp_path.glob("*.part"))
