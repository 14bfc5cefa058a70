"""``selfheal init`` and ``check``: before anything is registered, in plain words; and nothing is written over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfheal import Policy
from selfheal.drill.check import fate
from selfheal.drill.recognised import recognise
from tests.cli.test_commands import here, invoke, place
from tests.steering.given import NAME

__all__ = ["here", "place"]
pytestmark = pytest.mark.xdist_group("prefect")

N = 600


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    numbered = {f"v{k}": rng.normal(size=N) for k in range(1, 7)}
    return pd.DataFrame({
        "temperature_f": rng.normal(60, 9, N).round(1), "amount": rng.gamma(2, 50, N).round(2), **numbered,
        "hour": rng.integers(0, 24, N), "site": np.repeat(["a", "b", "c"], N // 3), "no: 1\n# x": rng.normal(size=N),
        "kind": rng.choice(["x", "y", None], N), "age": rng.integers(18, 90, N), "opened": pd.Timestamp("2026-01-01"),
        "order_id": range(7, N + 7), "code": [f"c{i}" for i in rng.permutation(N)], "one": 1.0,
        "bought": np.where(rng.random(N) < 0.2, "yes", "no"), "handling_min": rng.integers(2, 240, N),
    })  # fmt: skip


def test_what_the_rows_say_is_written_and_stays(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_parquet("rows.parquet")
    asked = ["init", "shop-eu", "--reference", "rows.parquet", "--target", "bought"]
    done = invoke(tmp_path, *asked, "--json", "seen.json")
    assert done.exit_code == 0, done.output
    assert "selfheal check shop-eu" in done.output and "leave out 'opened': column 'opened' holds dates" in done.output
    path, factory = tmp_path / "rules" / "shop-eu.yaml", tmp_path / "shop_eu_model.py"
    text = path.read_text()
    for line in (
        "# classes: no 80.0%, yes 20.0%", "# block: v1 to v6, 6 columns alike", '# "no: 1\\n# x": numbers',
        "# temperature_f: numbers in steps of 0.1; in °F", "# amount: numbers in steps of 0.01",
        "# hour: whole numbers; a part of date or time", "# site: 3 words; stands still", "# one: LEAVE IT OUT",
        "#   measurement: [temperature_f, amount, handling_min]    # unit", "#   context: [site]",
        '#   # by values also: ["no: 1\\n# x", "age"]    # if measured', "#   prior_band: [0.07, 0.6]",
        "# code: LEAVE IT OUT: it seems to name rows", "# order_id: LEAVE IT OUT: it numbers the rows",
    ):  # fmt: skip
        assert line in text, text
    seen = recognise(frame, "bought")
    declared = text.replace("# declare:", "declare:").replace("#   ", "  ")
    for content in (text, declared):
        path.write_text(content)
        Policy.load(path).check(seen.features, ["no", "yes"])
    assert Policy.load(path).declare.context == ("site",)
    assert (
        "raise NotImplementedError" in factory.read_text()
        and "'opened', 'order_id', 'code', 'one'" in factory.read_text()
    )
    assert len(json.loads(Path("seen.json").read_text())["columns"]) == 18

    again = invoke(tmp_path, *asked)
    assert (again.exit_code, "shop-eu.yaml is there and stays" in again.output) == (1, True)
    assert path.read_text() == declared
    path.unlink()
    factory.write_text("# mine\n")
    assert invoke(tmp_path, *asked).exit_code == 0
    assert path.read_text() == text and factory.read_text() == "# mine\n", "a factory that was filled in stays"
    assert invoke(tmp_path, *asked, "--force").exit_code == 0 and "NotImplementedError" in factory.read_text()

    told = invoke(tmp_path, "check", "shop-eu")
    assert told.exit_code == 2 and "shop_eu_model.py, line 11, in build: raise NotImplementedError" in told.output


@pytest.mark.parametrize(
    ("file", "target", "words"),
    [
        ("rows.csv", "boughd", "no column 'boughd'; did you mean 'bought'?"),
        ("rows.csv", "amount", "so it is no class; selfheal heals classifiers"),
        ("rows.csv", "kind", "have no 'kind'; leave them out"),
        ("rows.csv", "one", "has 1 class"),
        ("rows.xlsx", "bought", "give the rows as .parquet or .csv"),
        ("half.parquet", "bought", "half.parquet cannot be read"),
        ("none.csv", "bought", "holds no rows"),
    ],
)
def test_rows_that_are_none_are_refused_by_name(frame, tmp_path: Path, file: str, target: str, words: str) -> None:
    frame.to_csv("rows.csv", index=False)
    Path("rows.xlsx").write_bytes(b"x")
    Path("half.parquet").write_bytes(b"PAR1 and no more")
    frame[:0].to_csv("none.csv", index=False)
    done = invoke(tmp_path, "init", "shop", "--reference", file, "--target", target)
    assert (done.exit_code, words in done.output, "Traceback" in done.output) == (2, True, False), done.output
    assert not (tmp_path / "rules").exists()


def test_a_place_that_cannot_be_written_is_said(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_csv("rows.csv", index=False)
    (tmp_path / "rules").write_text("a file, and no folder")
    done = invoke(tmp_path, "init", "shop", "--reference", "rows.csv", "--target", "bought")
    assert (done.exit_code, "may this user write there?" in done.output) == (2, True), done.output


FACTORY = """\
import selfheal
from tests.steering.given import rows, toy


def build(n=700):
    model = toy()
    return selfheal.MonitoredModel(model.backbone, model.head, rows(n, 0), target="y")


def other():
    return build(90)
"""


def test_a_check_says_what_can_be_healed_and_registers_nothing(tmp_path: Path) -> None:
    Path("mine_model.py").write_text(FACTORY)
    (tmp_path / "rules").mkdir()
    policy = tmp_path / "rules" / "mine.yaml"
    policy.write_text(
        "model: mine\ntarget: y\nmonitor: {min_rows: 100}\nheal: {max_changed: 0.9}\ndeclare: {measurement: [dew]}\n"
    )
    done = invoke(tmp_path, "check", "mine", "--json", "check.json")
    assert done.exit_code == 0, done.output
    for line in (
        "mine: can be adopted (3 columns, 2 classes, 700 rows of reference, accuracy",
        "healthy   0 of 10 healthy windows of 116 rows would alarm",
        "unit: dew °F → °C: accuracy", "stuck sensor: column 'dew'", "there are no rules",
        "selfheal adopt mine\n",
    ):  # fmt: skip
        assert line in done.output, done.output
    told = json.loads(Path("check.json").read_text())
    kinds = {f["fault"]: f["kind"] for f in told["fates"]}
    assert kinds["unit: dew °F → °C"] == "heals" and kinds["missing column"] == "names" and told["harmful"] == 0
    assert not (tmp_path / "home").exists(), "nothing is registered"

    short = invoke(tmp_path, "check", "mine", "--factory", "mine_model.py:other")
    assert "the reference has 90 rows, and a drill needs 600" in short.output and "min_rows is 100" in short.output
    policy.write_text("model: yours\n")
    wrong = invoke(tmp_path, "check", "mine")
    assert (wrong.exit_code, "the policy is for model 'yours', not 'mine'" in wrong.output) == (2, True)
    nowhere = invoke(tmp_path, "check", "nobodys")
    assert (nowhere.exit_code, "selfheal init nobodys" in nowhere.output) == (2, True)


def test_a_check_refuses_what_the_store_would(place: Path, tmp_path: Path) -> None:
    """Columns that differ from those already logged under the name."""
    Path("toy_model.py").write_text(FACTORY.replace("rows(n, 0)", 'rows(n, 0).astype({"wind": int})'))
    done = invoke(place, "check", NAME)
    assert (done.exit_code, "'wind'" in done.output, "Traceback" in done.output) == (2, True, False), done.output


def test_what_became_of_a_fault() -> None:
    figures = {"accuracy": 0.7, "log_loss": 0.5}
    row = {
        "scenario": "s", "reason": "why", "harmful": False, "acted": False, "decision": "refuse", "questions": 0,
        "diagnosis": "unknown", "mechanism": "sensor", "before": figures, "after": figures,
        "undrifted": {"accuracy": 0.9},
    }  # fmt: skip
    assert (fate(row).kind, fate(row).words) == ("misses", "accuracy 0.90 → 0.70; why")
    assert fate(row | {"undrifted": None}).kind == "leaves" and fate(row | {"diagnosis": "data_fault"}).kind == "names"
    assert fate(row | {"decision": "audit"}).words == "labels; why"
    healed = fate(row | {"acted": True, "after": {"accuracy": 0.89}})
    assert (healed.kind, healed.words) == ("heals", "accuracy 0.90 → 0.70 → 0.89; why")
    assert fate(row | {"acted": True, "harmful": True}).kind == "harms"
