"""Which of the loop's heals harmed: each is judged once its watch is over, and by all of them the healer is.

Judged is what went out by the loop. It harmed where labels took it back, or the watch's data unless the world had
turned back; and where its first window shows that the map brought nothing back. It did not where its watch
ended, or another version came, and labels, an audit or the watched windows had nothing against it. What a person took
back, what was taken back unconfirmed, and what no window spoke about, is not judged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from selfheal.errors import SelfhealError
from selfheal.loop.backtest import LEAST
from selfheal.loop.confirm import UNCONFIRMED
from selfheal.loop.context import HEALS, HISTORY, Serving
from selfheal.loop.decide import OWN_SHARE, nominal, verdict_of
from selfheal.loop.records import HEAL_JUDGED
from selfheal.policy import Policy
from selfheal.steering.actors import AUDIT, WATCH, is_loop
from selfheal.steering.look import Look, look_of
from selfheal.steering.trusts import GIVEN, TRUST, lose_trust, lost_trust
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry
from selfheal.table.journal import LAST_SETTLED, Part

Cycles = Sequence[Mapping[str, Any]]

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class Judgement:
    """Whether a heal harmed.

    Attributes
    ----------
    heal, version
        The journal's entry that put it into Production, and the version.
    harmful
        Whether it did.
    reasons
        The evidence.
    """

    heal: int
    version: int
    harmful: bool
    reasons: tuple[str, ...]


def judge_heals(serving: Serving, *, anew: bool = False) -> None:
    """Journal what has become known of the last heals; where too many harmed, the loop asks from now on.

    A store that is away changes nothing and is logged: a later run asks again.

    Parameters
    ----------
    anew
        A window was handled since what serves was loaded: the look and the cycles are read anew.
    """
    try:
        if _judged_anew(serving, anew):
            standing = standing_of_heals(serving.ws, serving.name, serving.policy)
            if standing["exceeded"] and not lost_trust(serving.ws, serving.name):
                _log.error("%s: %s", serving.name, standing["reason"])
                lose_trust(serving.ws, serving.name, standing["reason"])
    except SelfhealError as error:
        _log.warning("%s: the last heals were not judged: %s", serving.name, error)


def standing_of_heals(ws: Workspace, name: str, policy: Policy) -> dict[str, Any]:
    """How many heals were judged since trust was given last, how many harmed, and what that is evidence of.

    Returns
    -------
    dict
        ``judged, harmful, share, e_value, exceeded, allowed`` (as the policy writes it), ``reason``.
    """
    from selfheal.healing.false_heals import BOUND as E_BOUND
    from selfheal.healing.false_heals import false_heals

    journal = ws.table.journal_parts(name, trust=Part((TRUST,)), judged=Part((HEAL_JUDGED,)))
    given = max((e.id for e in journal["trust"] if e.intent["step"] == GIVEN), default=0)
    entries = [e for e in journal["judged"] if e.id > given]
    last = {e.intent["heal"]: bool(e.intent["harmful"]) for e in entries}
    allowed = policy.heal.false_heals
    tally = false_heals([last[heal] for heal in sorted(last)], float(allowed))
    if not tally.judged:
        reason = f"no evidence yet whether more than {allowed} of heals harm (heal.false_heals)"
    else:
        counted = f"{tally.harmful} of {tally.judged} judged heals harmed"
        reason = f"{counted}; allowed {allowed} (heal.false_heals), e-value {tally.e_value:.3g} (bound {E_BOUND:g})"
    return {**asdict(tally), "exceeded": tally.exceeded, "allowed": str(allowed), "reason": reason}


def _judged_anew(serving: Serving, read: bool) -> bool:
    """Whether something became known of a heal that was not before."""
    ws, name = serving.ws, serving.name
    if not any(map(_went_out, serving.journal["heals"])):
        return False  # one that went out since has answered no window yet
    journal, look, cycles = serving.journal, serving.look, serving.cycles
    if read:
        journal = ws.table.journal_parts(name, **HEALS, settled=LAST_SETTLED)
        look = look_of(next(iter(journal["settled"]), None)) or Look()
    known = {e.intent["heal"]: e.intent["harmful"] for e in journal["judged"]}
    open_heals = [e for e in journal["heals"] if _went_out(e) and known.get(e.id) is not True]
    if read and open_heals:
        cycles = tuple(ws.table.cycles(name, last=HISTORY))
    anew = False
    for heal in open_heals:
        back = next((b for b in journal["backs"] if b.intent["before"]["swap"] == heal.id and _done(b)), None)
        own = [c for c in cycles if c["swap"] == heal.id and c["own_share"] >= OWN_SHARE]
        windows = len(nominal(own, own[-1]["index"] + 1 if own else None))  # those of which no rest is to come
        over = back is not None or look.swap != heal.id or windows >= serving.policy.release.watch_windows
        said = judgement(heal, back, own, over, partial(_labels, serving, own))
        if said is not None and known.get(heal.id) is not said.harmful:
            intent = asdict(said) | {"reasons": list(said.reasons)}
            ws.table.journal_note(name, HEAL_JUDGED, intent, HEAL_JUDGED, ws.clock())
            anew = True
    return anew


def judgement(
    heal: JournalEntry, back: JournalEntry | None, own: Cycles, over: bool, labels: Callable[[], int]
) -> Judgement | None:
    """What is known of a heal; None while nothing is. Pure but for ``labels``.

    Parameters
    ----------
    heal, back
        The entry that put it into Production, and the one that took it back.
    own
        Records of the windows that it answered.
    over
        Whether its watch has ended.
    labels
        Counts the labels of these windows.
    """
    version, reason = heal.intent["change"]["to"], "" if back is None else back.intent["change"]["reason"]
    if back is not None and back.intent["change"]["actor"] != WATCH:
        return None  # a person's, who may know more or something else
    if back is not None and reason.startswith(UNCONFIRMED):
        return None
    said = [verdict_of(c) for c in own]
    by_labels = any(c["watch"]["by"] == "labels" for c in own if verdict_of(c) == "worse")
    if back is not None and (not back.intent["change"]["turned"] or (by_labels and "better" not in said)):
        return Judgement(heal.id, version, True, (f"taken back: {reason}",))
    if own and own[0].get("failed_heal"):
        return Judgement(heal.id, version, True, tuple(own[0]["failed_heal"]))
    if not over or (back is not None and "better" not in said):
        return None
    if heal.intent["change"]["actor"] == AUDIT:
        return Judgement(heal.id, version, False, ("an audit found it better, and nothing has spoken against it",))
    if not {"better", "undecided"} & set(said) and (not own or labels() < LEAST):
        return None
    better = said.count("better")
    return Judgement(heal.id, version, False, (f"watched in {len(own)} windows, better in {better}, worse in none",))


def _labels(serving: Serving, own: Cycles) -> int:
    return sum(serving.labelled_windows([c["index"] for c in own]).values())


def _went_out(entry: JournalEntry) -> bool:
    return is_loop(entry.intent["change"]["actor"]) and _done(entry)


def _done(entry: JournalEntry) -> bool:
    return entry.outcome is not None and entry.outcome.get("result") == "done"
