"""A known conversion that nothing else could have made of a column, beside drift that was there without it.

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

MOST = 3
"""Columns that are asked one by one."""


def explain(case: Case) -> Finding | None:
    """Whether such conversions of plainly unusual columns take most of that away, and of the model's score.

    All of them, or the plainest one that leaves no doubt: it need not wait for an answer about another.
    """
    moved = {c: maps.column_ratio(case, case.judged_raw, c) for c in case.numeric}
    known = {c: m for c, m in matching.conversions(case).items() if moved[c] >= maps.STRONG and maps.beyond(case, c, m)}
    plainest = sorted(known, key=lambda c: -moved[c])[:MOST] if len(known) > 1 else []
    tried = []
    for columns in filter(None, [known, *({c: known[c]} for c in plainest)]):
        finding = replace(maps.finding(case, columns, beside_drift=True), name=NAME)
        tried += [finding] if finding.explained else []
        if finding.explained and finding.trusted:
            return finding
    return tried[0] if tried else None


MECHANISM = Mechanism(NAME, rank=85, explain=explain, needs=(UNUSUAL_AS_SENT,), beside_faults=True)
