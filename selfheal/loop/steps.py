"""One pass over a window: each step takes the context and returns it with what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from selfheal.loop.context import Context
from selfheal.loop.decide import decide
from selfheal.loop.heals import heal
from selfheal.loop.inspect import inspect
from selfheal.loop.record import record
from selfheal.loop.records import Cycle
from selfheal.loop.watch import watch

P = ParamSpec("P")
R = TypeVar("R")


class Step(Protocol):
    """How a step is called; a flow makes a task of each."""

    def __call__(self, what: Callable[P, R], /) -> Callable[P, R]:
        """The step, to be called in its place."""


def plainly(what: Callable[P, R], /) -> Callable[P, R]:
    """A step as it is."""
    return what


def run(ctx: Context, *, step: Step = plainly, healer: Callable[[Context], Context] | None = None) -> Cycle:
    """Inspect, watch, decide, heal where that was decided, record.

    Parameters
    ----------
    step
        Is handed every step, and returns what is called.
    healer
        What heals; by default :func:`heal`, as a step. A flow passes its subflow.

    Raises
    ------
    UnavailableError
        The database is away. MLflow being away is noted in the cycle's record instead.
    """
    for each in (inspect, watch, decide):
        ctx = step(each)(ctx)
    if ctx.decision is not None and ctx.decision.kind == "heal":
        ctx = (healer or step(heal))(ctx)
    return step(record)(ctx)
