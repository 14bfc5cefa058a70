"""Policies: every fault is named with file, line and the nearest valid name."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import traceback
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selfheal.errors import PolicyError
from selfheal.policy import Policy, WindowSpec, format_duration, parse_duration

FULL = """\
model: fraud
target: is_fraud
rules:
  - {name: deep_v14, when: v14 < -1.5, vote: 1}
  - name: new_gift_card_pattern
    when: amount > 400 AND merchant_type = 'gift_card'
    vote: 1
    knowledge: new
declare:
  measurement: [amount]
  stable_class: 1
  prior_band: [0.01, 0.5]
monitor: {every: 5m, window: 1h, lateness: 1m, min_rows: 500}
heal: {patience: [2, 3], cooldown: 30m, max_changed: 0.3}
release: {approval: auto, ambiguous: audit, bake_windows: 1, watch_windows: 3}
cost: {false_positive: 1, false_negative: 5}
"""


def test_the_contracts_example_loads_and_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "fraud.yaml"
    path.write_text(FULL)
    policy = Policy.load(path)
    assert policy.rule_set[1].knowledge == "new"
    assert policy.monitor.window == WindowSpec(duration=dt.timedelta(hours=1))
    (tmp_path / "again.yaml").write_text(policy.to_yaml())
    again = Policy.load(tmp_path / "again.yaml")
    assert again == policy
    assert again.digest == policy.digest
    policy.check(["v14", "amount", "merchant_type"], [0, 1])


@pytest.mark.parametrize(
    ("wrong", "line", "says"),
    [
        (FULL.replace("monitor: {every", "monitor: {evry"), 13, "did you mean 'every'"),
        (FULL.replace("declare:", "declair:"), 9, "did you mean 'declare'"),
        (FULL.replace("max_changed: 0.3", "max_changed: 3"), 14, "at most 1"),
        (FULL.replace("window: 1h", "window: soon"), 13, "365 rows"),
        (FULL.replace("[2, 3]", "[3, 2]"), 14, "needed <= windows"),
        (FULL.replace("v14 < -1.5", "v14 <"), 4, "not an SQL expression"),
        (FULL.replace("approval: auto", "approval: later"), 15, "'auto', 'manual' or 'observe'"),
        (FULL.replace("new_gift_card_pattern", "deep_v14"), 1, "used twice"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, wrong: str, line: int, says: str) -> None:
    path = tmp_path / "fraud.yaml"
    path.write_text(wrong)
    with pytest.raises(PolicyError, match=f"fraud.yaml, line {line}: ") as caught:
        Policy.load(path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", r"p\.yaml holds list, not a mapping"),
        ("rain", r"p\.yaml holds str, not"),
        ("rules: [1,\n  2", r"(?s)p\.yaml is not YAML: .*line 2, column 4:\n +2\n"),
        ("\x00", r"p\.yaml is not YAML"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=words):
        Policy.load(path)


def test_it_is_held_against_the_models_columns_and_classes(tmp_path: Path) -> None:
    policy = Policy.load({"rules": [{"name": "r", "when": "v41 < 1", "vote": 1}]})
    with pytest.raises(PolicyError, match=r"'v41'.*did you mean 'v14'"):
        policy.check(["v14"], [0, 1])
    with pytest.raises(PolicyError, match="no class of the model"):
        Policy.load({"declare": {"stable_class": 7}}).check(["v14"], [0, 1])
    with pytest.raises(PolicyError, match="exactly two"):
        Policy.load({"cost": {"false_positive": 1, "false_negative": 1}}).check(["v14"], [0, 1, 2])


COLUMNS = {"country": "str", "weight_kg": "float", "pressure_mm": "float", "min_m": "float", "thrust_lbs": "float"}
COLUMNS |= {"band_0": "float", "band_1": "float"}


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        ({"measurement": ["country"]}, r"declare\.measurement names column 'country', which holds text.*leave it out"),
        ({"units": {"country": "kg"}}, r"declare\.units names column 'country', which holds text"),
        (
            {"units": {"weight_kg": "km"}},
            r"weight_kg is 'km', a unit of length, .* in 'kg', a unit of mass; write kg",
        ),
        ({"units": {"weight_kg": "lb", "pressure_mm": "mmHg", "min_m": "months", "thrust_lbs": "lbf"}}, ""),
        ({"measurement": ["band"]}, ""),
        ({"measurement": ["bands"]}, "names column 'bands', which the model does not have"),
        ({"units": {"weight_kg": {"mine": 1.0, "theirs": 2.5}}, "measurement": ["weight_kg"]}, ""),
    ],
)
def test_what_cannot_be_meant_is_refused_of_a_policy_that_is_new(declare: dict[str, object], says: str) -> None:
    policy = Policy.load({"declare": declare})
    with pytest.raises(PolicyError, match=says) if "does not have" in says else nullcontext():
        policy.check(list(COLUMNS), [0, 1])
    with pytest.raises(PolicyError, match=says) if says else nullcontext():
        policy.check(list(COLUMNS), [0, 1], kinds=COLUMNS)


@given(st.integers(0, 10**7))
def test_durations_read_back(seconds: int) -> None:
    value = dt.timedelta(seconds=seconds)
    assert parse_duration(format_duration(value)) == value


LOG = """\
model: fraud
log:
  from: "postgresql://reader:${LOG_PASSWORD}@db/scored"
  table: scored.fraud
  columns: {prediction_id: request_id, event_time: ts, probabilities: [p_ok, p_fraud], version: v, weight: w, order: n}
  rename: {amt: amount}
  labels: {from: claims, columns: {prediction_id: claim, label: is_fraud, known_at: closed_at}, matures: 14d}
monitor: {window: 365 rows}
"""


def test_a_log_is_read_and_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "fraud.yaml"
    path.write_text(LOG)
    policy = Policy.load(path)
    assert policy.log is not None and policy.log.labels is not None
    assert (policy.log.is_sql, policy.log.labels.is_sql) == (True, False)
    assert policy.log.labels.matures == dt.timedelta(days=14)
    assert policy.digest.startswith("fbce4cc03f3c2f6e"), "as the release that had no log.query journaled it"
    assert [policy.log.theirs(name) for name in ("amount", "v14")] == ["amt", "v14"]
    path.write_text(policy.to_yaml())
    assert "from: postgresql://reader:${LOG_PASSWORD}@db/scored" in path.read_text()
    assert Policy.load(path) == policy
    policy.check(["v14", "amount"], [0, 1])


@pytest.mark.parametrize(("value", "words"), [("1/0", "a fraction"), ("often", "a fraction"), (1, "above 0")])
def test_a_share_that_is_none_is_refused(value: object, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        Policy.load({"heal": {"false_heals": value}})
    policy = Policy.load({"heal": {"false_heals": 0.02}})
    assert Policy.loads(policy.to_yaml()).heal.false_heals == Fraction(1, 50)
    assert policy.digest != Policy.load(None).digest


def test_a_policy_without_a_log_keeps_its_digest() -> None:
    """What older releases journaled is compared with it."""
    policy = Policy.load({"model": "fraud"})
    content = {key: value for key, value in policy.model_dump(mode="json").items() if key not in ("log", "serve")}
    assert content["heal"].pop("false_heals") == "1/1000"
    assert [content["release"].pop(key) for key in ("shadow", "shadow_windows")] == [0.0, 0]
    assert content["monitor"].pop("sentinel") is False
    assert (content["declare"].pop("labels_by_lot"), content["declare"].pop("segments")) == (False, [])
    assert policy.digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert Policy.load({"model": "fraud", "log": {"from": "x"}}).digest != Policy.load({"model": "fraud"}).digest


@pytest.mark.parametrize(
    ("wrong", "line", "says"),
    [
        (LOG.replace("order: n", "oder: n"), 5, "did you mean 'order'"),
        (LOG.replace("known_at", "known_on"), 7, "unknown key 'log.labels.columns.known_on'; did you mean 'known_at'"),
        (LOG.replace("from: claims", "form: claims"), 7, "did you mean 'from'"),
        (LOG.replace("  table: scored.fraud\n", ""), 2, "name the table or view to read"),
        (LOG.replace("from: claims", "from: claims, table: t"), 7, "a folder, which has no tables"),
        (LOG.replace("from: claims", "from: claims, query: SELECT 1"), 7, "query: from is a folder, which takes none"),
        (
            LOG.replace("table: scored.fraud", "table: a\n  query: SELECT 1"),
            2,
            "log.table names what to read; remove one",
        ),
        (LOG.replace("table: scored.fraud", "query: SELECT 1; DELETE FROM x"), 2, "without a semicolon"),
        (LOG.replace("table: scored.fraud", "query: DELETE FROM x"), 2, "one SELECT is read"),
        (LOG.replace("from: claims", "from: 'hdfs://host/claims'"), 7, "a folder that is mounted here"),
        (LOG.replace("from: claims", "from: 's3://key@bucket/claims'"), 7, "come from the environment"),
        (LOG.replace(", order: n", ""), 1, "name the column that has it in log.columns.order"),
        (LOG.replace("{amt: amount}", "{amt: amount, sum: amount}"), 2, "two columns become 'amount'"),
    ],
)
def test_a_fault_of_a_log_is_named_with_its_line(tmp_path: Path, wrong: str, line: int, says: str) -> None:
    path = tmp_path / "fraud.yaml"
    path.write_text(wrong)
    with pytest.raises(PolicyError, match=f"fraud.yaml, line {line}: ") as caught:
        Policy.load(path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader:h0neypot@db/scored",
        "postgresql://reader:a/h0neypot@x@db/scored",
        "mysql://db/scored?user=reader&password=h0neypot",
        "postgresql://reader:${A}h0neypot@db/scored",
    ],
)
def test_a_password_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    path = tmp_path / "fraud.yaml"
    path.write_text(LOG.replace("postgresql://reader:${LOG_PASSWORD}@db/scored", url))
    with pytest.raises(PolicyError, match="set LOG_PASSWORD in the environment") as caught:
        Policy.load(path)
    assert "h0neypot" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("columns", "classes", "says"),
    [
        (["v14", "amout"], [0, 1], "'amount', which the model does not have; did you mean 'amout'"),
        (["amt", "amount"], [0, 1], "reads column 'amt' as 'amount', and the model has a feature 'amt' too"),
        (["amount"], [0, 1, 2], "names 2 columns, and the model has 3 classes"),
    ],
)
def test_a_log_is_held_against_the_model(columns: list[str], classes: list[int], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        Policy.load(yaml.safe_load(LOG)).check(columns, classes)


def test_a_rule_on_trial_is_a_new_one_and_its_time_is_called_for() -> None:
    rule = {"name": "r", "when": "x > 1", "vote": 1, "knowledge": "new", "until_confirmed": {"for": "3d"}}
    policy = Policy.load({"rules": [rule]})
    (found,) = policy.rule_set
    assert found.until_confirmed is not None
    assert (found.until_confirmed.share, found.until_confirmed.time.days) == (0.15, 3)
    assert Policy.loads(policy.to_yaml()) == policy
    assert Policy.load({"rules": [{**rule, "until_confirmed": None}]}).digest != policy.digest
    with pytest.raises(PolicyError, match="until_confirmed is for rules with knowledge: new"):
        Policy.load({"rules": [{**rule, "knowledge": "record"}]})
    with pytest.raises(PolicyError, match=r"unknown key 'rules.0.until_confirmed.fro'; did you mean 'for'"):
        Policy.load({"rules": [{**rule, "until_confirmed": {"fro": "3d"}}]})


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"monitor": 5}, "monitor: keys and values are wanted, such as {a: b} (got 5)"),
        ({"rules": 5}, "rules: a list is wanted, such as [a, b] (got 5)"),
        ({"monitor": {"min_rows": "many"}}, "monitor.min_rows: a whole number is wanted (got 'many')"),
        ({"heal": {"max_changed": 3}}, "heal.max_changed: it must be at most 1 (got 3)"),
        ({"release": {"approval": "x"}}, "release.approval: it must be 'auto', 'manual' or 'observe' (got 'x')"),
        ({"cost": {"false_positive": 1}}, "cost.false_negative: it is missing; write it"),
        (
            {"rules": [{"name": "a", "when": "x > 1", "vote": [1]}]},
            "rules.0.vote: it must be one of: a whole number, true or false, text",
        ),
        ({1: 2}, "1: keys are text; put it in quotes"),
    ],
)
def test_a_value_that_does_not_do_is_told_what_would(policy: dict[object, object], words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.load(policy)
    assert str(caught.value).startswith(f"policy: {words}")
