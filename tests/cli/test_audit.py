"""`selfheal audit`: rows out, answers in, or asked on the spot; what is wrong with a file is said by name."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from selfheal.cli import main
from selfheal.cli.audit import read_answers, write_rows
from selfheal.errors import InputError
from selfheal.healing.labels.asked import Asked
from selfheal.loop import Audit, load
from selfheal.loop.questions import FACT
from tests.loop.test_audit import register, windows
from tests.steering.conftest import home, template  # noqa: F401  the adopted home of the loop's tests
from tests.steering.given import NAME, START, workspace_at

UNTIL = (START + timedelta(days=1)).isoformat()


def invoke(place: Path, *arguments: str, given: str | None = None) -> Result:
    environ: Mapping[str, str] = {"SELFHEAL_HOME": str(place), "SELFHEAL_RULES": str(place / "rules")}
    return CliRunner().invoke(main, ["audit", *arguments], env=environ, input=given)


@pytest.fixture
def truth(home: Path) -> pd.Series:  # noqa: F811
    """A home with a version that waits for an audit; the truth of its rows."""
    ws = workspace_at(home)
    known = windows(ws)
    register(ws)
    ws.table.close()
    return known


def fill(path: Path, truth: pd.Series, *, flip: bool = False) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = str(truth[row["prediction_id"]] ^ flip)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_rows_out_answers_in_and_the_version_serves(home: Path, truth: pd.Series, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "rows.csv"
    done = invoke(home, NAME, "--out", str(file))
    assert done.exit_code == 0, done.output
    assert "rows written" in done.output and f"--answers {file}" in done.output
    with file.open() as written:
        assert written.readline().strip() == "prediction_id,label,temperature,dew,wind"
    empty = invoke(home, NAME, "--answers", str(file))
    assert (empty.exit_code, "holds no label" in empty.output) == (2, True)
    fill(file, truth)
    done = invoke(home, NAME, "--answers", str(file), "--json", str(tmp_path / "audit.json"))
    assert done.exit_code == 0, done.output
    assert "version 5 passed and serves: of 4 rows" in done.output
    told = json.loads((tmp_path / "audit.json").read_text())
    assert (told["verdict"], told["promoted"], told["against"]) == ("passed", True, 1)
    nothing = invoke(home, NAME, "--out", str(file))
    assert (nothing.exit_code, "nothing waits for an audit" in nothing.output) == (0, True)
    assert invoke(home, NAME, "--answers", str(file)).exit_code == 2


def test_asked_on_the_spot_stopped_and_taken_up_again(home: Path, truth: pd.Series) -> None:  # noqa: F811
    stopped = invoke(home, NAME, "--ask", given="maybe\n0\nstop\n")
    assert stopped.exit_code == 0, stopped.output
    assert "'maybe' is not one of '0', '1', 'stop'" in stopped.output
    assert "stopped; 1 answers are kept" in stopped.output and "temperature" in stopped.output
    refused = invoke(home, NAME, "--ask", given="0\n1\n" * 20)
    assert refused.exit_code in (0, 1), refused.output
    assert "(2 of at most 20)" in refused.output
    assert "wrong in at most" in refused.output


def test_without_a_terminal_it_says_what_to_do(home: Path, truth: pd.Series) -> None:  # noqa: F811
    done = invoke(home, NAME)
    assert (done.exit_code, "--out rows.csv" in done.output) == (2, True)
    unknown = invoke(home, "tyo", "--ask")
    assert (unknown.exit_code, "did you mean 'toy'" in unknown.output) == (2, True)
    served = invoke(home, NAME, "--version", "1", "--ask")
    assert (served.exit_code, "only one in Staging" in served.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'prediction_id'"),
        ("prediction_id,answer\na,1\n", "no column 'label'"),
        ("prediction_id,label\na,\n", "holds no label"),
        ("prediction_id,label\na,1\na,0\n", "labels 'a' both '1' and '0'"),
        ("\xff\xfe", "cannot be read as CSV"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=words):
        read_answers(file)


def test_texts_from_traffic_are_no_formulas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"kind": ["=cmd()", "card"], "amount": [-1.5, 2.0]}, index=["-1", "b"])
    found = Audit("m", 2, 1, Asked((0, 1), frame, ((0, 1), (1, 0))))
    write_rows(found, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["'-1", "", "'=cmd()", "-1.5"]
    rows[1][1] = "1"
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert read_answers(tmp_path / "rows.csv") == {"-1": "1"}


# ------------------------------------------------------------------ a fact, before labels


@pytest.fixture
def asking(home: Path) -> Path:  # noqa: F811
    """A home in which a question waits."""
    ws = workspace_at(home)
    told = load(ws, NAME)
    fact = {"columns": {"wind": {"scale": 1.852, "offset": 0.0, "words": "knots → km/h"}}, "question": "?"}
    intent = {
        "step": "asked", "window": 7, "start": "2026-03-03T08:00", "end": "2026-03-03T09:00", "version": 2,
        "against": told.version, "manifest": told.model.manifest, "reasons": ["Did `wind` change from km/h to knots?"],
        "options": ["yes", "no", "unknown"], "run_id": "abc",
        "answers": {o: [fact | {"holds": holds}] for o, holds in (("yes", True), ("no", False), ("unknown", None))},
        "evidence": {"wind": {"before": [1, 9.5, 20], "now": [0.5, 5.1, 11], "after": [1, 9.5, 20]}},
    }  # fmt: skip
    ws.table.journal_note(NAME, FACT, intent, "asked", ws.clock())
    ws.table.close()
    return home


def test_a_question_is_shown_with_what_to_type(asking: Path, tmp_path: Path) -> None:
    done = invoke(asking, NAME, "--json", str(tmp_path / "question.json"))
    assert done.exit_code == 0, done.output
    first, where, *_ = done.output.splitlines()
    assert first == "Did `wind` change from km/h to knots?"
    assert "2026-03-03T08:00 to 2026-03-03T09:00; version 2 waits" in where
    assert "after" in done.output and "5.1" in done.output
    assert "answer it: selfheal audit toy [--yes | --no | --unknown] --as NAME" in done.output
    assert json.loads((tmp_path / "question.json").read_text())["options"] == ["yes", "no", "unknown"]


def test_it_is_asked_on_the_spot_and_stopping_answers_nothing(asking: Path) -> None:
    assert "answer it:" in invoke(asking, NAME, "--ask", given="stop\n").output
    done = invoke(asking, NAME, "--ask", "--as", "ada", given="perhaps\nunknown\n")
    assert (done.exit_code, "toy: unknown (by ada); labels can tell too" in done.output) == (0, True), done.output
    assert invoke(asking, NAME, "--yes").exit_code == 1, "it was answered"


def test_answers_that_cannot_be_are_refused(asking: Path) -> None:
    assert invoke(asking, NAME, "--yes", "--no").exit_code == 2
    both = invoke(asking, NAME, "--yes", "--out", "rows.csv")
    assert (both.exit_code, "give one of --yes" in both.output) == (2, True)
    odd = invoke(asking, NAME, "--answer", "miles")
    assert (odd.exit_code, "'miles' is no answer to" in odd.output) == (2, True), odd.output
