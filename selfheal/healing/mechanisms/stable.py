"""Nothing happened: the window lies within the natural spread of healthy windows."""

from __future__ import annotations

from dataclasses import replace

from selfheal.healing.case import Case
from selfheal.healing.fits import recorded
from selfheal.healing.mechanism import Mechanism
from selfheal.healing.outcome import Finding


def explain(case: Case) -> Finding:
    """Whether what serves now explains the window."""
    name, ratio = case.judged.worst
    words = f"{name} is {ratio:.2f} of its natural bound"
    # A day's winds in another unit may lie within what is natural between days; their grid tells.
    converted = case.judged.explained and recorded.recovered(replace(case, raw=case.units))
    words += f"; {', '.join(converted)} left their grid and come back under one known conversion" if converted else ""
    return Finding(
        "stable", "stable", case.judged.explained and not converted, f"{name} ratio", ratio, 1.0, words, decision="keep"
    )


MECHANISM = Mechanism("stable", rank=0, explain=explain, foretold=True)
