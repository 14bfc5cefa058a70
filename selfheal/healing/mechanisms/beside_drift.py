"""A known conversion by a factor that nothing else could have made, beside drift that was there without it.

The rest of the window is natural drift, which stays as it is; it may not keep a column a thousand times too large in
service. Asked after all that could explain the rest too; also where a fault has broken other columns, for that one is
named by then and waits for its owner, and the unit need not.
"""

from __future__ import annotations

from dataclasses import replace

from selfheal.healing.case import Case
from selfheal.healing.fits import maps, matching
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding

NAME = "measurement beside drift"


def explain(case: Case) -> Finding | None:
    """Whether such conversions of plainly unusual columns take most of that away, and of the model's score."""
    plain = {c for c in case.numeric if maps.column_ratio(case, case.judged_raw, c) >= maps.STRONG}
    known = {column: m for column, m in matching.conversions(case).items() if maps.far(m) and column in plain}
    found = maps.finding(case, known, beside_drift=True) if known else None
    return replace(found, name=NAME) if found and found.explained else None


MECHANISM = Mechanism(NAME, rank=85, explain=explain, needs=(UNUSUAL_AS_SENT,), beside_faults=True)
