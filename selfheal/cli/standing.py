"""Where a model stands, in lines. Pure: it reads the record of :func:`selfheal.loop.status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfheal.cli.sparklines import spark
from selfheal.errors import printable

Record = Mapping[str, Any]

ARCHIVED_SHOWN = 6
"""Of the newest versions those that are archived are shown too; further ones would push the rest off the screen."""

REASON = 90
"""Characters of a window's reason; `--json` has all of it."""


def standing(state: Record) -> list[str]:
    """A model's standing, a line per fact; what is wrong comes first."""
    shown = [
        f"{state['model']}: {'healthy' if state['healthy'] else 'needs a look'}",
        *(f"  !         {text}" for text in state["health"]),
        *_frozen(state.get("frozen")),
        f"  serves    {_serves(state['production'])}",
        *_why(state["production"]),
        *_trial(state["production"].get("trial")),
        *_adapter(state["production"]),
        *_ahead(state.get("ahead")),
        *_watch(state["watch"]),
        *_shadow(state.get("shadow", ())),
        *_estimate(state.get("estimate")),
        *_segments(state.get("segments", ())),
        *_asked(state.get("asked")),
        *_false_heals(state.get("false_heals")),
        *_score(state.get("score")),
        *_versions(state["versions"]),
        *_windows(state["cycles"]),
        *_trend(state.get("trend")),
        *_refused(state["refused"]),
        *_dropped(state.get("dropped", ())),
        *_log(state.get("log")),
        *_undelivered(state.get("alerts", ())),
        *_unpublished(state.get("evidently", ())),
    ]
    if state["question"]:
        shown.append(f"  asks      {state['question']} (selfheal audit {state['model']})")
    elif state["audit_pending"]:
        shown.append(f"  audit     versions {_listed(state['audit_pending'])} wait for labels or a person")
    if state["quarantine"]:
        shown.append(f"  barred    versions {_listed(state['quarantine'])} were rolled back")
    return shown


def _frozen(frozen: Record | None) -> Iterator[str]:
    """Who stopped the loop, until when, and why."""
    if frozen is not None:
        until = f" until {frozen['until'][:16]} UTC" if frozen["until"] else ""
        yield f"  frozen    by {frozen['by']} since {frozen['since'][:16]} UTC{until}: {frozen['why']}"


def _serves(production: Record) -> str:
    facts = [f"version {production['version']}", f"adapter: {production['changed_part']}"]
    if production["pinned"]:
        facts.append("pinned")
    if production["settled_by"]:
        facts.append(f"settled by {production['settled_by']}")
    if production.get("since"):
        facts.append(f"since {_clock(production['since'])} UTC")
    if production["previous"] is not None:
        facts.append(f"before it version {production['previous']}")
    return ", ".join(facts)


def _trial(trial: Record | None) -> Iterator[str]:
    """The rules that labels must confirm, and until when."""
    if trial is not None:
        rules = ", ".join(f"`{name}`" for name in trial["rules"].split(","))
        yield f"  on trial  {rules} until {_clock(trial['until'])}: taken back unless labels of its rows confirm it"


def _why(production: Record) -> Iterator[str]:
    """The evidence on which it serves, in a line."""
    words = " ".join(production.get("why", "").split())
    if words:
        yield f"  because   {printable(words, REASON)}"


def _ahead(plan: Record | None) -> Iterator[str]:
    """When the monitor runs next, and what the loop may still do."""
    if plan is None:
        return
    if plan["due"]:
        due = "was due" if plan["overdue"] else "due"
        yield f"  next run  {due} {_clock(plan['due'])} UTC, the last has finished {_clock(plan['ran'])}"
    if plan["waits"]:
        yield f"  waits     the loop promotes nothing before {plan['waits']}"
    elif plan["budget"]:
        yield f"  budget    {plan['budget']}"


def _clock(at: str) -> str:
    return at[:16].replace("T", " ")


def _trend(trend: Record | None) -> Iterator[str]:
    """The last windows as bars: each signal up to twice its bound, rows, and accuracy where labels have come."""
    if trend is None or len(trend["rows"]) < 2:
        return
    for name, shares in trend["signals"].items():
        last = next((f"{share:.2g} of its bound" for share in reversed(shares) if share is not None), "")
        yield f"  {name[:8]:<8}  {spark(shares, top=2.0)}  {last}"
    lost = [f"{trend[kind]} {kind}" for kind in ("late", "dropped", "refused") if trend.get(kind)]
    newest = f"{trend['rows'][-1]} in the last window"
    yield f"  rows      {spark(trend['rows'])}  {', '.join([newest, *lost])}"
    if any(value is not None for value in trend["accuracy"]):
        newest = next(value for value in reversed(trend["accuracy"]) if value is not None)
        yield f"  accuracy  {spark(trend['accuracy'], top=1.0)}  {newest:.3f} by the labels that have come"


def _adapter(production: Record) -> Iterator[str]:
    if production["changed_part"] != "none":
        yield from (f"            {text}" for text in production["adapter"])


def _watch(watch: Record) -> Iterator[str]:
    """What the windows since the swap say of the version; nothing where there is nothing to compare it with."""
    said = [v for v in watch["verdicts"][: watch["of"]] if v and v != "none"]
    if said:
        yield f"  watch     {len(said)} of {watch['of']} windows: {_listed(said)}"


def _shadow(shadows: Sequence[Record]) -> Iterator[str]:
    """What scores beside it, and what that says."""
    for one in shadows:
        parts = [f"version {one['version']}: {one['answers']} answers"]
        if one["differs"] is not None:
            gate = "" if one["promised"] is None else f" (the gate saw {one['promised']:.1%})"
            parts.append(f"{one['differs']:.1%} of decisions differ{gate}")
        if one["of"]:
            parts.append(f"{one['agreeing']} of {one['of']} windows agree")
        yield f"  shadow    {'; '.join(filter(None, [*parts, one['fault'][:REASON]]))}"


def _estimate(estimate: Record | None) -> Iterator[str]:
    """What accuracy to expect of the newest window without labels, or why nothing is said."""
    if estimate is None:
        return
    if estimate["accuracy"] is None:
        yield f"  expected  nothing is said of the accuracy: {estimate['reason'][:REASON]}"
        return
    value, low, high = estimate["accuracy"]
    yield f"  expected  accuracy {value:.3f} ({low:.3f} to {high:.3f}) without labels, assuming: {estimate['assumes']}"


def _segments(segments: Sequence[Record]) -> Iterator[str]:
    """The declared parts of the newest window, those that lie farthest off first."""
    for part in sorted(segments, key=lambda s: -(s["ratio"] or 0.0)):
        said = part["reason"] if part["ratio"] is None else f"{part['ratio']:.2g} of its bound"
        right = f", accuracy {part['accuracy']:.3f} by {part['labelled']} labels" if part["labelled"] else ""
        yield f"  segment   {part['column']} {part['value']}: {part['rows']} rows, {said}{right}"


def _asked(accuracy: Record | None) -> Iterator[str]:
    """How right a window's answers were, by labels that were asked for."""
    if accuracy is not None:
        yield f"  asked     {accuracy_words(accuracy)}"


def accuracy_words(accuracy: Record) -> str:
    """An accuracy with its interval, in a line."""
    return (
        f"accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}) in window "
        f"{accuracy['window']}, by {accuracy['labels']} labels that were asked for"
    )


def _false_heals(harm: Record | None) -> Iterator[str]:
    """How often heals have harmed."""
    if harm is not None:
        yield f"  harmed    {harm['reason']}"


def _score(score: Mapping[str, Record] | None) -> Iterator[str]:
    """How often labels have said that a decision was right, in a line."""
    counts = [f"{kind} {each['good']} of {each['judged']}" for kind, each in (score or {}).items() if each["judged"]]
    if counts:
        cost = sum(each["cost"] for each in (score or {}).values())
        lost = f"; {cost:,} answers wrong that need not have been" if cost else ""
        yield f"  score     right by labels: {', '.join(counts)}{lost}"


def _versions(versions: Sequence[Record]) -> Iterator[str]:
    newest = sorted(versions, key=lambda v: -v["version"])
    several = len({v.get("base") for v in versions}) > 1
    shown = [v for place, v in enumerate(newest) if place < ARCHIVED_SHOWN or v["stage"] != "Archived"]
    for position, version in enumerate(shown):
        title = "versions" if position == 0 else ""
        base = several and f"base {version['base']}"
        notes = [base, version["diagnosis"], version["waits"] and f"waits for {version['waits']}"]
        kept = "; ".join(n for n in notes if n)
        yield f"  {title:<8}  {version['version']:>3}  {version['stage']:<10}  {kept}".rstrip()
    if len(newest) > len(shown):
        yield f"                 and {len(newest) - len(shown)} more, archived"


def _windows(cycles: Sequence[Record]) -> Iterator[str]:
    for position, cycle in enumerate(reversed(cycles)):
        title = "windows" if position == 0 else ""
        reason = cycle["reasons"][0] if cycle["reasons"] and cycle["decision"] != "stable" else ""
        healed = cycle["heal"] or {}
        what = f"{cycle['decision']} → {healed['decision']}" if healed else str(cycle["decision"])
        yield f"  {title:<8}  {cycle['index']:>3}  {what:<14}  {reason[:REASON]}".rstrip()
        if early := cycle.get("early"):
            yield f"  {'':<8}       closed early: {early[:REASON]}"
        if strange := cycle.get("strange"):
            yield f"  {'':<8}       without {strange} rows that the base before answered"
        for text in cycle.get("fractions", ()):
            yield f"  {'':<8}       {text}"
        if revised := cycle.get("revision"):
            said = "would alarm" if revised["alarm"] else "no alarm"
            yield f"  {'':<8}       revised with {revised['late']} late rows: {said}; what was decided stands"


def _refused(refused: Sequence[Record]) -> Iterator[str]:
    """What the service refused since the last window."""
    for position, one in enumerate(refused[:3]):
        title = "refused" if position == 0 else ""
        yield f"  {title:<8}  {one['rows']} rows since the last window: {one['reason']} {one['column']}".rstrip()


def _dropped(dropped: Sequence[Record]) -> Iterator[str]:
    """What was answered since the last window and is in no log."""
    for one in dropped:
        yield f"  dropped   {one['rows']} rows answered since the last window are not logged: {one['reason']}"


def _log(log: Record | None) -> Iterator[str]:
    """Where an owner's log is, and which of its rows are in no window."""
    if log is None:
        return
    late = [f"{log['late']} rows came after their window was handled"] if log["late"] else []
    reasons = [] if log["state"] == "unreadable" else log["reasons"]
    yield f"  log       {'; '.join([log['from'], *late, *reasons])}"
    for words in log["assumed"]:
        yield f"            {words}"


def _undelivered(targets: Sequence[Record]) -> Iterator[str]:
    """Places that could not be told what they should have been."""
    for one in targets:
        yield f"  alerts    {one['waiting']} not delivered to {one['shown']}: {one['error'][:REASON]}"


def _unpublished(missed: Sequence[str]) -> Iterator[str]:
    """Windows that an Evidently workspace lacks."""
    if missed:
        yield f"  evidently {len(missed)} of the last windows were not published: {printable(missed[-1], REASON)}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
