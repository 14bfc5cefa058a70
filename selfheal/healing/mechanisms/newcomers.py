"""A word or a code that nobody had seen: a new country, a new product. A population, and no fault; nothing to undo.

The known ones keep their shares among each other, and what the model says of the new rows is a guess.
"""

from __future__ import annotations

import numpy as np

from selfheal.healing.case import Case
from selfheal.healing.fits.columns import added
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding


def explain(case: Case) -> Finding | None:
    """Whether the rows without new codes look as always."""
    codes: dict[str, list[str]] = {}
    new = np.zeros(len(case.raw), dtype=bool)
    for j, column in enumerate(case.model.features):
        if case.model.dtypes[column] == "str" or case.stick.support.codes[j] is not None:
            strange = ~np.isin(np.round(case.encoded[:, j], 6), np.round(case.stick.pool[:, j], 6))
            strange &= ~case.stick.support.known(case.encoded[:, j], j)
            if strange.any() and added(case.encoded[:, j], case.stick.pool[:, j]):
                codes[column] = [str(word)[:40] for word in case.raw[column][strange].value_counts().index[:3]]
                new |= strange
    if not codes or new.all():
        return None
    rest = case.stick.judge(case.raw[~new])
    name, ratio = rest.worst
    kinds = "; ".join(f"{column}: {', '.join(words)}" for column, words in codes.items())
    reason = f"{new.mean():.0%} of rows are of a kind never seen ({kinds}): what the model says of them is a guess"
    reason += "" if rest.explained else f"; the rows beside them are unusual too: {name} at {ratio:.2f}"
    return Finding(
        "newcomers", "population", rest.explained, f"rows beside them: {name}", ratio, 1.0, reason, decision="keep"
    )


MECHANISM = Mechanism("newcomers", rank=65, explain=explain, needs=(UNUSUAL_AS_SENT,))
