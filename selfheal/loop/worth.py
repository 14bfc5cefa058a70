"""Drift that nothing has undone, and labels that show a constant to be better than what serves: stop, retrain."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from selfheal.alerts.conditions import ills
from selfheal.errors import SelfhealError
from selfheal.loop.context import Serving
from selfheal.loop.trial import READ, labelled_since

WORTHLESS = "worthless"
"""Key of a cycle's record: the evidence that what served is worth less than a constant; empty while there is none."""

_log = logging.getLogger("selfheal.loop")


def weigh(serving: Serving, cycles: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Hold what serves against a constant on the labels since drift stands that nothing has undone.

    The newest window's record has what came of it, so that it is said as long as the drift stands. A store that is away
    changes nothing and is logged: a later run asks again.

    Parameters
    ----------
    cycles
        Records of the last windows, oldest first; by default those that are known of what serves.
    """
    ws, name = serving.ws, serving.name
    try:
        telling = [
            c
            for c in (serving.cycles if cycles is None else cycles)[-2 * READ :]
            if c["decision"] not in ("too_few", "failed") and c.get("version") not in serving.others
        ]
        row = list(takewhile(lambda cycle: "alarm" in ills(cycle), reversed(telling)))
        if not row or not serving.labelled_windows([c["index"] for c in row]):
            return
        from selfheal.healing.labels.constant import beside_constant

        says, reason = beside_constant(serving.model, labelled_since(serving, row[-1]["index"]))
        evidence = reason if says == "better" else ""
        if row[0].get(WORTHLESS, "") != evidence:
            ws.table.amend_cycle(name, row[0]["index"], **{WORTHLESS: evidence})
    except SelfhealError as error:
        _log.warning("%s: what serves was not held against a constant: %s", name, error)
