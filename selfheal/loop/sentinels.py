"""Tell the services what to hold the open window against: this model's own healthy windows, and beginnings of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.sentinel import Block, make_plan
from selfheal.loop.context import YARDSTICK_WINDOWS, Serving
from selfheal.rules import ABSTAIN, votes

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("selfheal.loop")


def tell_sentinel(serving: Serving) -> None:
    """Write down what is usual for the version that serves; nothing where the policy wants no sentinel."""
    ws, name = serving.ws, serving.name
    try:
        plan = _plan(serving)
        if plan != ws.table.sentinels.plan(name):
            ws.table.sentinels.set_plan(name, plan)
    except Exception:  # whatever odd rows may raise: the windows were handled
        _log.exception("%s: the services were not told what is usual", name)


def _plan(serving: Serving) -> str:
    spec, model = serving.policy.monitor, serving.model
    if not spec.sentinel or spec.window.duration is None:
        return ""
    length = int(spec.window.duration.total_seconds() * 1_000_000)
    blocks = [_block(serving, units) for units in serving.ws.table.recent(serving.name, YARDSTICK_WINDOWS)]
    classes = model.classes_.tolist()
    rules = [(rule.name, rule.when, classes.index(rule.vote)) for rule in serving.policy.rule_set]
    made = make_plan(serving.version, length, spec.min_rows, blocks, rules)
    return "" if made is None else made.to_json()


def _block(serving: Serving, units: pd.DataFrame) -> Block:
    model = serving.model
    columns = {name: _values(units[name], text=model.dtypes[name] == "str") for name in model.features}
    fires = votes(serving.policy.rule_set, units, model.classes_.tolist()) != ABSTAIN
    return Block(columns, model.proba_of_units(units), fires)


def _values(column: pd.Series, *, text: bool) -> NDArray[Any]:
    """As a service has them: numbers with NaN, or text with None, where a value is missing."""
    if not text:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    gaps = column.isna().tolist()
    return np.array([None if gap else str(v) for v, gap in zip(column.tolist(), gaps, strict=True)], dtype=object)
