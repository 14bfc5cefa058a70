"""A fact is asked for before labels: one question, whose answer decides."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import InputError
from selfheal.adapter import ColumnMap
from selfheal.healing.conversions import CONVERSIONS, declared, of_unit
from selfheal.healing.facts import Fact, about_units
from selfheal.policy import Policy
from tests.healing.worlds import World, linear


@pytest.fixture(scope="module")
def world() -> World:
    return linear(20)


def moved(world: World, seed: int = 700) -> pd.DataFrame:
    rows = world.draw(1000, seed)
    return rows.assign(x0=rows["x0"] + 2 * world.model.reference["x0"].std())


def test_a_free_fit_asks_for_a_fact_that_names_the_column(world: World) -> None:
    outcome = selfheal.heal(world.model, moved(world))
    assert (outcome.decision, outcome.asks) == ("audit", "fact")
    assert "`x0`" in outcome.question and outcome.options == ("yes", "no", "unknown")
    assert "\n" not in outcome.question
    assert selfheal.heal(world.model, world.draw(1000, 3)).asks == ""


def test_yes_is_trusted_and_no_is_not_asked_again(world: World) -> None:
    first = selfheal.heal(world.model, moved(world))
    assert first.adapter is not None
    model = world.with_policy()
    told = selfheal.heal(model, moved(world, 701), facts=first.answers["yes"])
    assert (told.decision, told.asks) == ("promote", "")
    denied = selfheal.heal(model, moved(world, 701), facts=first.answers["no"])
    assert denied.decision != "promote"
    assert denied.adapter is None or "x0" not in denied.adapter.input_map.columns


@pytest.mark.parametrize(("against", "decision"), [(6, "promote"), (60, "refuse")])
def test_labels_outrank_an_answer_only_where_decisions_prove_the_contrary(
    world: World, against: int, decision: str
) -> None:
    rows = moved(world)
    asked = selfheal.heal(world.model, rows)
    healed, served = world.model.with_adapter(asked.adapter).predict(rows), world.model.predict(rows)
    differ = np.flatnonzero(healed != served)
    chosen = np.r_[differ[:against], np.flatnonzero(healed == served)[:20]]
    labels = pd.Series(served[chosen], rows.index[chosen])
    told = selfheal.heal(world.model, rows, labels=labels, facts=asked.answers["yes"])
    assert told.decision == decision, told.reasons
    assert ("prove the contrary" in told.reasons[1]) is (decision == "refuse")
    if decision == "promote":
        assert selfheal.heal(world.model, rows, labels=labels).decision == "refuse", "a guess they would have stopped"


def test_who_does_not_know_or_denied_twice_is_asked_for_labels(world: World) -> None:
    asked = selfheal.heal(world.model, moved(world))
    assert selfheal.heal(world.model, moved(world), facts=asked.answers["unknown"]).asks == "labels"
    denials = [Fact({"x5": ColumnMap(scale)}, holds=False, question=f"{scale}?") for scale in (2.0, 3.0)]
    assert selfheal.heal(world.model, moved(world), facts=denials[:1]).asks == "fact"
    assert selfheal.heal(world.model, moved(world), facts=denials).asks == "labels"
    same = [replace(one, question="one question, two conversions") for one in denials]
    assert selfheal.heal(world.model, moved(world), facts=same).asks == "fact"


def test_what_is_of_another_kind_is_refused_by_name(world: World) -> None:
    rows = moved(world)
    healthy = [rows.iloc[:200], rows.iloc[200:400].rename(columns={"x5": "x_5"})]
    for words, given in {
        "recent, window 1: column 'x5' is missing; did you mean 'x_5'": {"recent": healthy},
        "recent, window 0 is of type ndarray": {"recent": [rows.to_numpy()]},
        "recent, window 0: column 'x5' holds 'high' in 1 of 400 rows where a number belongs": {
            "recent": rows.iloc[:400].assign(x5=["high", *rows["x5"].iloc[1:400]])
        },
        "facts: 'yes' is of type str, and no answer": {"facts": ["yes"]},
        "facts: {'x5': 'yes'} is of type dict": {"facts": {"x5": "yes"}},
        "labels are of type list; give a Series": {"labels": [0, 1]},
    }.items():
        with pytest.raises(InputError, match=re.escape(words)):
            selfheal.heal(world.model, rows, **given)
    with pytest.raises(InputError, match="window is of type ndarray; give a DataFrame"):
        selfheal.heal(world.model, rows.to_numpy())
    with pytest.raises(InputError, match="window: column 'x5' is there twice"):
        selfheal.heal(world.model, pd.concat([rows, rows[["x5"]]], axis=1))
    lacking = selfheal.heal(world.model, rows.drop(columns="x5"))
    assert (lacking.decision, lacking.diagnosis) == ("refuse", "data_fault") and "'x5'" in lacking.reasons[0]


def test_conversions_that_fit_alike_are_the_options_and_a_no_denies_them_all() -> None:
    miles, knots = ColumnMap(1.609, 0.0, "miles → km"), ColumnMap(1.852, 0.0, "nautical miles → km")
    asked = about_units({"x": miles}, {"x": [knots]}, "on Tuesday")
    assert asked.text == "How did `x` change on Tuesday: miles → km or nautical miles → km?"
    assert asked.options == ("miles → km", "nautical miles → km", "no", "unknown")
    assert [fact.columns["x"] for fact in asked.answers["no"]] == [miles, knots]
    assert asked.answers["nautical miles → km"][0].columns == {"x": knots}


def test_a_fact_survives_json() -> None:
    curve = ColumnMap(words="", knots=((0.0, 1.0), (2.0, 5.0)))
    fact = Fact({"x": curve, "y": ColumnMap(1.8, 32.0, "°C → °F", modulo=24.0)}, holds=None, question="?")
    assert Fact.from_json(json.loads(json.dumps(fact.to_json()))) == fact


def test_an_index_of_times_says_when(world: World) -> None:
    rows = moved(world)
    rows.index = pd.date_range("2026-03-03 08:00", periods=len(rows), freq="1s")
    assert "on 2026-03-03 08:00" in selfheal.heal(world.model, rows).question


def test_units_of_the_owner_are_known_conversions(world: World) -> None:
    factor = 0.2
    rows = world.draw(1000, 5)
    rows = rows.assign(x1=rows["x1"] * factor)
    model = world.with_policy(declare={"units": {"x1": {"ct": 1.0, "g": factor}}})
    outcome = selfheal.heal(model, rows)
    assert outcome.adapter is not None, outcome.reasons
    assert outcome.adapter.describe() == ["x1: g → ct"]
    assert {c.map.words for c in declared({"a": 1.0, "b": 2.0})} == {"a → b", "b → a"}


def test_a_declared_unit_brings_its_family_and_an_undeclared_column_no_new_neighbours(world: World) -> None:
    with_unit, without = ({c.map.words for c in found} for found in (of_unit("mmHg"), CONVERSIONS))
    assert {"kPa → mmHg", "hPa or mbar → mmHg", "inHg → mmHg", "psi → mmHg", "bar → mmHg"} <= with_unit
    assert not any("mmHg" in words or "glucose" in words for words in without)
    assert not {"miles → kilometres", "°C → °F", "feet → metres"} & with_unit
    told = {c.map.words: c.map for c in (*of_unit("°C"), *of_unit("mg/dL glucose"), *of_unit("umol/l creatinine"))}
    assert (told["°F → °C"].scale, told["°F → °C"].offset) == (pytest.approx(1 / 1.8), pytest.approx(-32 / 1.8))
    assert told["mmol/l glucose → mg/dL glucose"].scale == pytest.approx(18.016)
    assert told["mg/dl creatinine → umol/l creatinine"].scale == pytest.approx(88.4)
    (percent,) = (c.map for c in of_unit("% HbA1c") if "HbA1c" in c.map.words)
    assert percent.apply(np.array([53.0])) == pytest.approx(7.0, abs=0.01)

    rows = world.draw(1000, 5)
    # From umol/l of which nobody had thought: undeclared it is a line, declared a name.
    rows = rows.assign(x1=rows["x1"] * 88.4)
    outcome = selfheal.heal(world.with_policy(declare={"units": {"x1": "mg/dl creatinine"}}), rows)
    assert outcome.adapter is not None, outcome.reasons
    assert (outcome.decision, outcome.adapter.describe()) == (
        "promote", ["x1: umol/l creatinine → mg/dl creatinine"],
    ), outcome.reasons  # fmt: skip
    assert "creatinine" not in str(selfheal.heal(world.with_policy(), rows).reasons)


@pytest.mark.parametrize(("rows", "column", "factor", "measured"), [(200, "x0", 0.2, True), (500, "x0", 2.5, False)])
def test_a_declared_conversion_wins_over_a_line_and_a_listed_one_that_rows_cannot_tell_from_it(
    world: World, rows: int, column: str, factor: float, measured: bool
) -> None:
    window = world.draw(rows, {200: 1202, 500: 1500}[rows], 0.3)  # other class shares bend every fit
    window = window.assign(**{column: window[column] * factor})
    declare = {"units": {column: {"mine": 1.0, "theirs": factor}}, "measurement": [column] if measured else []}
    outcome = selfheal.heal(world.with_policy(declare=declare), window)
    assert outcome.adapter is not None, outcome.reasons
    assert outcome.adapter.describe()[0] == f"{column}: theirs → mine", outcome.reasons


def test_a_gain_that_is_not_the_declared_one_is_no_conversion(world: World) -> None:
    window = world.draw(2000, 1202)
    window = window.assign(x0=window["x0"] * 0.2 * 1.15)
    declare = {"units": {"x0": {"mine": 1.0, "theirs": 0.2}}, "measurement": ["x0"]}
    outcome = selfheal.heal(world.with_policy(declare=declare), window)
    assert outcome.adapter is not None, outcome.reasons
    (told,) = outcome.adapter.input_map.columns.values()
    assert (told.words, told.scale) == ("", pytest.approx(1 / 0.23, rel=0.03))


def test_a_unit_that_is_not_listed_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"units.x1: 'mmhg' is no unit that is listed; did you mean 'mmHg'\?"):
        Policy.load({"declare": {"units": {"x1": "mmhg"}}})
    with pytest.raises(InputError, match=r"units.x1: 'celsius' is no unit that is listed; did you mean '°C'\?"):
        Policy.load({"declare": {"units": {"x1": "celsius"}}})


def test_a_conversion_denied_is_not_proposed(world: World) -> None:
    rows = world.draw(1000, 5)
    rows = rows.assign(x1=rows["x1"] / 25.4)
    first = selfheal.heal(world.with_policy(), rows)
    assert first.adapter is not None
    assert first.adapter.describe() == ["x1: inches → millimetres"]
    no = Fact({"x1": ColumnMap(25.4, 0.0, "inches → millimetres")}, holds=False)
    second = selfheal.heal(world.with_policy(), rows, facts=[no])
    assert second.decision != "promote" or "inches → millimetres" not in str(
        second.adapter and second.adapter.describe()
    )
    assert np.isfinite(second.numbers.get("gain", 0.0))
