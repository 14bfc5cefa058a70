"""A question to the owner of the data: how it is shown, asked on a terminal and answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from selfheal.cli.output import progress
from selfheal.errors import printable

if TYPE_CHECKING:
    from selfheal.loop import Answered, OpenQuestion
    from selfheal.steering import Workspace

STOP = "stop"
EXTENT = "{:>12} … {:>10} … {:>10}"


def shown(question: OpenQuestion, drawn: str = "") -> Iterator[str]:
    """The question in one line, its window, and where each column lay before, lies now, and would lie after.

    Parameters
    ----------
    drawn
        Where the same is drawn.
    """
    yield question.text
    waits = "" if question.version is None else f"; version {question.version} waits for the answer"
    yield f"  window {question.window}: {question.start} to {question.end}{waits}"
    yield f"  {'':<24} {'':<7} " + EXTENT.format("5 %", "median", "95 %")
    for column, extents in question.evidence.items():
        for when, quantiles in extents.items():
            first = printable(column, 24) if when == "before" else ""
            yield f"  {first:<24} {when:<7} " + EXTENT.format(*(f"{q:.6g}" for q in quantiles))
    if drawn:
        yield f"  drawn: {drawn}"


def asked(question: OpenQuestion) -> str | None:
    """An answer from the terminal; None when whoever sits there stops."""
    try:
        given = click.prompt("answer", type=click.Choice([*question.options, STOP]))
    except click.Abort:
        return None
    return None if given == STOP else str(given)


def answer(ws: Workspace, name: str, given: str, actor: str) -> Answered:
    """Take an answer; the window is healed anew, which takes seconds."""
    from selfheal import loop

    with progress(f"{name}: taking the answer {given!r}, asking the window again"):
        return loop.answer_question(ws, name, given, actor)


def outcome(done: Answered) -> str:
    """What came of an answer, in a line."""
    named = f"{done.question.name}: {done.answer} (by {done.actor})"
    if done.healed is None:
        return f"{named}; {done.note}"
    if done.promoted:
        return f"{named}; version {done.healed.version} serves: {'; '.join(done.healed.words)}"
    return f"{named}; {done.healed.diagnosis} → {done.healed.decision}: {done.note}"


def as_record(done: Answered) -> dict[str, Any]:
    """The answer and what came of it, for ``--json``."""
    return {
        "model": done.question.name,
        "question": done.question.text,
        "answer": done.answer,
        "actor": done.actor,
        "window": done.question.window,
        "version": None if done.healed is None else done.healed.version,
        "decision": "" if done.healed is None else done.healed.decision,
        "promoted": done.promoted,
        "note": done.note,
        "next": "" if done.healed is None else done.healed.question,
    }
