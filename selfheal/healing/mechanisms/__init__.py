"""The mechanisms: each asks of the window "is it this?", and if so builds what undoes it.

A mechanism is a module with one function ``explain(case) -> Finding | None``; None means that it has nothing to say
(no new rule is declared, say). To add one, write the module and put it into :data:`ORDER`.
"""

from __future__ import annotations

from collections.abc import Callable

from selfheal.healing.case import Case
from selfheal.healing.mechanisms import (
    broken,
    combined,
    new_rule,
    permuted,
    prior,
    recall,
    senders,
    stable,
    stable_class,
)
from selfheal.healing.outcome import Finding

Mechanism = Callable[[Case], Finding | None]

ORDER: tuple[Mechanism, ...] = (
    stable.explain,
    recall.explain,
    new_rule.explain,
    permuted.explain,
    combined.measured,
    senders.explain,
    prior.explain,
    combined.explain,
    stable_class.explain,
    broken.explain,
)
"""The first that explains the window wins. What leaves everything as it is comes first; what needs the least faith
next; a declaration of the owner's last, for it is believed and not seen."""
