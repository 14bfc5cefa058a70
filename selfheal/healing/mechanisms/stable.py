"""Nothing happened: the window lies within the natural spread of healthy windows."""

from __future__ import annotations

from selfheal.healing.case import Case
from selfheal.healing.mechanism import Mechanism
from selfheal.healing.outcome import Finding


def explain(case: Case) -> Finding:
    """Whether what serves now explains the window."""
    name, ratio = case.judged.worst
    words = f"{name} is {ratio:.2f} of its natural bound"
    return Finding("stable", "stable", case.judged.explained, f"{name} ratio", ratio, 1.0, words, decision="keep")


MECHANISM = Mechanism("stable", rank=0, explain=explain, foretold=True)
