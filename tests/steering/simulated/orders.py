"""What people want in Production, in the order in which they said so, and what became of it."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Any


@dataclass
class Order:
    """A version that a person wants in Production."""

    version: int
    kind: str
    """``stage``, ``alias``, or ``command`` where our own programs were asked for it and have done it."""
    step: int
    """At which it was given; of a command, the last at which it could have been seen that somebody said otherwise."""
    taken: bool = False
    """Whether a look settled it."""
    dropped: bool = False
    """Whether a person has taken it back since."""
    excused: bool = False
    """Whether it can't be carried out, or met a process of ours between its look and its act."""


class Orders(list[Order]):
    """All of them; the last one stands."""

    @property
    def standing(self) -> Order | None:
        """The last one."""
        return self[-1] if self else None

    def withdraw(self, version: int, kind: str, *, awaited: bool) -> None:
        """A person does not want it there any more, as far as its stage or its alias said so."""
        for order in self:
            if order.version == version:
                order.dropped = order.dropped or order.kind == kind or awaited
                order.excused = True  # it may be awaited by a look that is just being journaled

    def unname(self) -> None:
        """The alias says something else by now."""
        for order in self:
            order.dropped = order.dropped or order.kind == "alias"

    def command(self, change: dict[str, Any], step: int) -> None:
        """A command was carried out, by its process or, where that died, by another: what was said before is void."""
        if change["kind"] in ("promote", "rollback"):
            insort(self, Order(change["to"], "command", step, taken=True), key=lambda order: order.step)
        for order in self:
            order.excused = order.excused or (order.version in change["archive"] and order.step <= step)

    def lose(self, reason: str, looked: int, named: int, *, done: bool) -> None:
        """The journal names those that lost, of what could be seen when it was looked and when aliases were read.

        Of a change that was undone they may win at the next look.
        """
        parts = (*reason.split("wins over the stage of ")[1:], *reason.split("(and ")[1:])
        lost = {word for part in parts for word in part.partition("]")[0].replace("[", "").split(", ")}
        for order in self:
            seen = named if order.kind == "alias" else looked
            loses = order.step <= seen and str(order.version) in lost
            order.taken = order.taken or (loses and done)
            order.excused = order.excused or loses or f"version {order.version} can't be read now: " in reason
