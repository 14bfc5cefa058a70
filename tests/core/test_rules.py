"""Rules: SQL predicates that look at one row only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfheal import rules
from selfheal.errors import InputError
from selfheal.rules import Rule

FRAME = pd.DataFrame({"amount": [100.0, 500.0, np.nan], "kind": ["gift", None, "gift"], "odd name": [1, 2, 3]})


@pytest.mark.parametrize(
    ("when", "fires"),
    [
        ("amount > 400", [False, True, False]),
        ("amount IS NULL", [False, False, True]),
        ("kind = 'gift' AND amount < 200", [True, False, False]),
        ("NOT amount > 400", [True, False, False]),
        ('"odd name" IN (1, 3)', [True, False, True]),
        ("amount BETWEEN 50 AND 150 OR kind LIKE 'gi%'", [True, False, True]),
    ],
)
def test_fires_as_sql_would_null_is_no_vote(when: str, fires: list[bool]) -> None:
    assert Rule("r", when, 1).fires(FRAME).tolist() == fires


@pytest.mark.parametrize(
    "when",
    [
        "(select 1)",
        "amount in (select 1)",
        "amount > avg(amount)",
        "count(*) > 1",
        "row_number() over (order by amount) > 1",
        "read_csv('x')",
        "__import__('os')",
        "amount > 1; drop table x",
        "amount >",
        "1 = 1",
    ],
)
def test_whatever_is_no_predicate_of_one_row_is_refused(when: str) -> None:
    with pytest.raises(InputError, match="rule predicate"):
        rules.parse(when)


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'amuont'.*did you mean 'amount'"):
        Rule("r", "amuont > 1", 1).fires(FRAME)


def test_an_expression_that_is_not_true_or_false_is_refused() -> None:
    with pytest.raises(InputError, match="not true or false"):
        Rule("r", "amount + 1", 1).fires(FRAME)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.randoms())
def test_a_row_votes_the_same_in_any_company(values: list[float], random: object) -> None:
    frame = pd.DataFrame({"x": values})
    rule = Rule("r", "x > 3 OR x < -100", 1)
    together = rule.fires(frame)
    alone = [bool(rule.fires(frame.iloc[[i]])[0]) for i in range(len(frame))]
    assert together.tolist() == alone


def test_votes_coverage_and_conflict() -> None:
    pair = [Rule("a", "amount > 400", 1), Rule("b", "kind = 'gift'", 0)]
    matrix = rules.votes(pair, FRAME, [0, 1])
    assert matrix.tolist() == [[-1, 0], [1, -1], [-1, 0]]
    assert rules.coverage(matrix).tolist() == pytest.approx([1 / 3, 2 / 3])
    assert rules.conflict(matrix, np.array([1, 1, 0])).tolist() == [0.0, 0.5]
    assert np.isnan(rules.conflict(matrix[:1], np.array([0]))[0])


def test_a_rules_record_on_labelled_rows() -> None:
    found = rules.record([Rule("a", "amount > 50", 1)], FRAME, [1, 0, 1])[0]
    assert (found.precision, found.fired) == (0.5, 2)
