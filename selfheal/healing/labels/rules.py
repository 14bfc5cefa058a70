"""What labels of rows that a rule covers say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.healing.sequential import Audit, audit
from selfheal.rules import Rule


def rule_trial(rule: Rule, rows: pd.DataFrame, labels: NDArray[Any]) -> Audit:
    """Wald's test on the rows that it covers, in their order: right in three of four, or in one.

    Parameters
    ----------
    rows : DataFrame [n, >= d], in model units.
    labels : [n], the class of each.
    """
    if not len(labels):
        return audit([])
    return audit(np.where(labels[rule.fires(rows)] == rule.vote, 1, -1).tolist())
