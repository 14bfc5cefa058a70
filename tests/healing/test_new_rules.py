"""What speaks against a new rule: what it covered before, where that is a part of what it covers now; older rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case
from selfheal.healing.mechanisms.new_rule import MECHANISM, OLD
from selfheal.healing.outcome import Finding
from tests.healing.worlds import linear

WORLD = linear(40)
USUAL = WORLD.model.reference
EDGE = float(USUAL["x7"].quantile(0.98))
NEW = {"name": "new", "when": f"x7 > {EDGE:.4f}", "vote": 1, "knowledge": "new", "precision": 0.99}


def asked(share: float, *others: dict[str, Any], **changed: Any) -> Finding:
    """What is said of a window in which the rule fires on so many rows more."""
    rows = WORLD.draw(600, 950).drop(columns="y")
    more = np.random.default_rng(0).random(600) < share
    rows.loc[more, "x7"] = EDGE + USUAL["x7"].std()
    model = WORLD.with_policy(rules=[NEW | changed, *others])
    found = MECHANISM.ask(Case(model, pd.DataFrame(rows), Yardstick(model, None, 600)))
    assert found is not None
    return found


def test_the_excess_is_doubted_and_not_the_rows_that_it_always_covered() -> None:
    """It was right on few of the reference rows that it covers; of twenty times as many these say nothing."""
    before = float((USUAL["x7"] > EDGE).mean())
    few, many = asked(0.06), asked(0.5)
    assert before / 0.06 > OLD > before / 0.5
    assert not few.trusted and "reference rows it covers, declared 0.99" in few.reason
    assert many.trusted and "reference rows" not in many.reason


def test_older_rules_that_vote_otherwise_are_named_and_bring_it_to_audit() -> None:
    against = {"name": "old", "when": f"x7 > {EDGE - 0.01:.4f}", "vote": 0}
    found = asked(0.5, against)
    assert not found.trusted and "old votes 0 on 100% of the rows that new covers" in found.reason
    beside = {"name": "beside", "when": f"x7 < {EDGE:.4f}", "vote": 0}
    assert asked(0.5, against | {"vote": 1}, beside).trusted
