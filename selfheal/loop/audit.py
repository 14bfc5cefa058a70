"""Micro-audit: a person labels the few rows on which a waiting version and the one that serves differ.

The data cannot tell a sensor that moved from a population that did; some ten answers can. What was asked
and answered is journaled as it happens, so an audit that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from selfheal.errors import InputError, RefusedError, nearest
from selfheal.loop.context import HISTORY, SAMPLE_ROWS
from selfheal.loop.decide import usable
from selfheal.loop.sources import source_of
from selfheal.loop.trial import AUDIT, waiting
from selfheal.parts.labels import Spelling
from selfheal.registry.versions import VersionInfo
from selfheal.steering import actors
from selfheal.steering.look import STAGING, Look, last_look
from selfheal.steering.models import load_version
from selfheal.steering.policies import policy_of_record
from selfheal.steering.stages import archive
from selfheal.steering.trusts import kept_for_people
from selfheal.steering.waits import put_in, wait
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.healing.labels.asked import Asked
    from selfheal.model import MonitoredModel
    from selfheal.policy import Policy

ACTOR = actors.AUDIT

WINDOWS = 4
"""Windows that rows are taken from: the version's own, and the newest after it."""


@dataclass(frozen=True)
class Audit:
    """An audit as it stands.

    Attributes
    ----------
    version, against
        The version in question, and the one that serves.
    asked
        The rows that are asked about, indexed by prediction id, and the answers so far.
    verdict
        ``passed``, ``refused``, or empty while it is open.
    promoted
        Whether the version serves now.
    note
        What came of it, or how it stands.
    """

    name: str
    version: int
    against: int
    asked: Asked
    verdict: str = ""
    promoted: bool = False
    note: str = ""


def open_audit(ws: Workspace, name: str, version: int | None = None, seed: int = 0) -> Audit | None:
    """The audit of the newest version that waits for one: a new one, or where it was left.

    Parameters
    ----------
    version
        Another version in Staging.
    seed
        Of the order of rows that are equally telling.

    Returns
    -------
    Audit or None
        None when nothing waits.

    Raises
    ------
    NotFoundError
        No such model or version.
    RefusedError
        Production is pinned, the version is not in Staging, or the two hardly differ.
    """
    ws.table.schema(name)
    look = last_look(ws, name)
    if look is None or look.settled is None:
        raise RefusedError(f"nothing of {name!r} is settled in Production yet; run selfheal monitor {name} first")
    if look.pinned:
        raise RefusedError(f"version {look.settled} of {name!r} is pinned, so an audit could change nothing")
    info = _asked_for(ws, name, look, version)
    if info is None:
        return None
    resumed = _resumed(ws, name, info.version, look.settled)
    # Answers that decide and were not acted on: it was interrupted just then.
    return _begun(ws, name, info, look.settled, seed) if resumed is None else _settled(ws, resumed)


def waits_for_labels(ws: Workspace, name: str) -> bool:
    """Whether a version waits that an audit could settle.

    Raises
    ------
    NotFoundError
        No such model.
    """
    ws.table.schema(name)
    return any(waiting(ws.registry.versions(name), last_look(ws, name) or Look()))


def answer(ws: Workspace, audit: Audit, answers: Mapping[str, Any]) -> Audit:
    """Take answers (prediction id → class), journal them, and act as soon as they decide.

    Raises
    ------
    InputError
        An id that was not asked about, a label that is no class, or one that contradicts an earlier answer: nothing of
        the batch is taken.
    RefusedError
        Another version serves by now, so the answers compare with the wrong one.
    """
    asked = audit.asked
    spelling = Spelling(asked.classes)
    taken = {str(key): _class(audit, str(key), given, spelling) for key, given in answers.items()}
    if not taken:
        raise InputError(f"no answers: fill the column label with one of {', '.join(map(str, asked.classes))}")
    fresh = {key: value for key, value in taken.items() if key not in asked.answers}
    if fresh:
        _note(ws, audit, "answered", f"{len(fresh)} answers", answers=fresh)
    return _settled(ws, replace(audit, asked=replace(asked, answers={**asked.answers, **taken})))


def _asked_for(ws: Workspace, name: str, look: Look, version: int | None) -> VersionInfo | None:
    if version is None:
        return next(iter(waiting(ws.registry.versions(name), look)), None)
    info = ws.registry.version(name, version)
    if info.stage != STAGING:
        raise RefusedError(f"version {version} of {name!r} is in {info.stage}; only one in Staging can be audited")
    return info


def _resumed(ws: Workspace, name: str, version: int, against: int) -> Audit | None:
    """The audit as the journal has it; None when none of these two versions was begun."""
    import pandas as pd

    from selfheal.healing.labels.asked import Asked

    steps = [e.intent for e in ws.table.journal(name, kind=AUDIT)]
    mine = [s for s in steps if (s["version"], s["against"]) == (version, against)]
    begun = next((s for s in mine if s["step"] == "asked"), None)
    if begun is None:
        return None
    answers: dict[str, Any] = {}
    for step in mine:
        answers |= step.get("answers", {})
    rows = pd.DataFrame(begun["rows"]["values"], columns=begun["rows"]["columns"], index=begun["rows"]["ids"])
    classes = ws.table.schema(name).classes
    said = tuple((a, b) for a, b in begun["rows"]["said"])
    return Audit(name, version, against, Asked(tuple(classes), rows.rename_axis("prediction_id"), said, answers))


def _begun(ws: Workspace, name: str, info: VersionInfo, against: int, seed: int) -> Audit:
    serving, candidate = (load_version(ws, name, v) for v in (against, info.version))
    policy = policy_of_record(ws, name, serving).policy
    asked = _asked(ws, name, info, serving.with_policy(policy), candidate.with_policy(policy), seed)
    from selfheal.healing.sequential import lead

    rows = asked.rows
    if len(rows) < lead():
        raise RefusedError(
            f"versions {info.version} and {against} of {name!r} differ on {len(rows)} unlabelled rows of the last "
            f"windows (at least {lead()} are needed); wait for more traffic, or promote or archive it yourself"
        )
    audit = Audit(name, info.version, against, asked)
    kept = {
        "ids": rows.index.tolist(), "columns": rows.columns.tolist(), "values": _plain(rows), "said": list(asked.said)
    }  # fmt: skip
    _note(ws, audit, "asked", f"{len(rows)} rows on which versions {info.version} and {against} differ", rows=kept)
    return audit


def _asked(
    ws: Workspace, name: str, info: VersionInfo, serving: MonitoredModel, candidate: MonitoredModel, seed: int
) -> Asked:
    import pandas as pd

    from selfheal.healing.labels.asked import ask

    own = int(info.tags.get("window", 0))
    later = [c["index"] for c in ws.table.cycles(name, last=HISTORY) if c["index"] >= own and usable(c)]
    source = source_of(ws, name, serving.policy)
    read = [source.read(ws.table.window(name, index), SAMPLE_ROWS) for index in later[:1] + later[1:][1 - WINDOWS :]]
    frames = [w.frame[w.labels.isna()] for w in read] or [candidate.reference.iloc[:0]]
    return ask(serving, candidate, pd.concat(frames).drop_duplicates(), seed)


def _class(audit: Audit, key: str, given: Any, spelling: Spelling) -> Any:
    """The class that an answer names, if it answers a row of this audit and no earlier answer says otherwise."""
    asked = audit.asked
    if key not in asked.rows.index:
        raise InputError(
            f"{key!r} is no row of this audit{nearest(key, asked.rows.index)}; it is about version {audit.version} "
            f"against {audit.against}: get its rows with selfheal audit {audit.name} --out rows.csv"
        )
    code = spelling.position(given)
    if code is None:
        classes = ", ".join(map(str, asked.classes))
        raise InputError(f"label {given!r} of {key!r} is no class of {audit.name!r} (classes: {classes})")
    label = asked.classes[code]
    if asked.answers.get(key, label) != label:
        raise InputError(f"{key!r} was answered {asked.answers[key]!r} before; answers of an audit stand")
    return label


def _settled(ws: Workspace, audit: Audit) -> Audit:
    """Act on answers that decide."""
    says, reason = audit.asked.ruling()
    if says == "open":
        return replace(audit, note=reason)
    _still_compared(ws, audit)
    policy = policy_of_record(ws, audit.name, load_version(ws, audit.name, audit.against)).policy
    says, reason = audit.asked.ruling(policy)
    return _passed(ws, audit, policy, reason) if says == "passed" else _refused(ws, audit, reason)


def _passed(ws: Workspace, audit: Audit, policy: Policy, reason: str) -> Audit:
    name, version = audit.name, audit.version
    ws.registry.set_tag(name, version, AUDIT, f"passed: {reason}")
    _note(ws, audit, "decided", f"passed: {reason}")
    if kept := kept_for_people(policy):
        wait(ws, name, version, f"{kept}; an audit found it better")
        note = f"{reason}. {kept.removeprefix('a person: ')}: selfheal promote {name} {version}"
        return replace(audit, verdict="passed", note=note)
    done = put_in(ws, name, version, ACTOR, over=audit.against, reason=f"audit: {reason}")
    return replace(audit, verdict="passed", promoted=done.promoted, note=reason if done.promoted else done.note)


def _refused(ws: Workspace, audit: Audit, reason: str) -> Audit:
    ws.registry.set_tag(audit.name, audit.version, AUDIT, f"refused: {reason}")
    _note(ws, audit, "decided", f"refused: {reason}")
    archive(ws, audit.name, audit.version, ACTOR, reason=f"audit: {reason}")
    return replace(audit, verdict="refused", note=reason)


def _still_compared(ws: Workspace, audit: Audit) -> None:
    look = last_look(ws, audit.name) or Look()
    if look.settled != audit.against or look.pinned:
        pinned = ", pinned" if look.pinned else ""
        raise RefusedError(
            f"the answers compare version {audit.version} with {audit.against}, but version {look.settled} of "
            f"{audit.name!r} serves by now{pinned}; nothing was changed. Begin anew: selfheal audit {audit.name}"
        )


def _note(ws: Workspace, audit: Audit, step: str, reason: str, **more: Any) -> None:
    intent = {"step": step, "version": audit.version, "against": audit.against, "actor": ACTOR, "reasons": [reason]}
    ws.table.journal_note(audit.name, AUDIT, intent | more, step, ws.clock())


def _plain(rows: pd.DataFrame) -> Sequence[Sequence[Any]]:
    """Values as JSON takes them: a missing one is null, for PostgreSQL refuses NaN."""
    import pandas as pd

    return [
        [None if pd.isna(v) else v.item() if hasattr(v, "item") else v for v in row]
        for row in rows.astype(object).to_numpy().tolist()
    ]
