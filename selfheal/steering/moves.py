"""What people moved in MLflow since the last look: stages, the two aliases that steer, the tag that pins.

Whatever differs from the last journaled look was somebody else's doing: what this program wrote, it journaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfheal.registry.versions import PIN
from selfheal.steering.look import PRODUCTION, Look
from selfheal.steering.stand import Stand


@dataclass(frozen=True)
class Moves:
    """Moves since a look.

    Attributes
    ----------
    settled
        The version that the look settled.
    names
        The aliases: of what serves, and of what is compared with it.
    staged
        Versions that came to stage Production.
    champion, challenger
        The versions that the aliases were moved to; None where they were not, or say what serves.
    taken
        Aliases that were taken away, though their version is there.
    pinned
        What was said of the serving version by its tag; None where that is as it was.
    """

    settled: int | None
    names: tuple[str, str]
    staged: tuple[int, ...] = ()
    champion: int | None = None
    challenger: int | None = None
    taken: tuple[str, ...] = ()
    pinned: bool | None = None

    @property
    def promoted(self) -> tuple[int, ...]:
        """Versions that somebody wants in Production, the one that an alias names first."""
        named = () if self.champion is None else (self.champion,)
        return tuple(dict.fromkeys((*named, *self.staged)))

    def said(self) -> list[str]:
        """The moves of aliases and tags that change no Production, in words."""
        words = [f"the alias {alias!r} was taken away and is written again" for alias in self.taken]
        if self.challenger is not None:
            words.append(f"the alias {self.names[1]!r} was moved to version {self.challenger}")
        if self.pinned is not None:
            done = "pinned by" if self.pinned else "unpinned: it lost"
            words.append(f"version {self.settled} was {done} its tag {PIN}")
        return words


def moves_since(stand: Stand, look: Look) -> Moves:
    """What was moved since a look; of one that knew no aliases, or others, those are no moves: stages win."""
    stages, known = stand.stages, look.aliases or {}
    came = tuple(v for v in stages if stages[v] == PRODUCTION and look.stages.get(v) != PRODUCTION)
    moved = {alias: v for alias, v in stand.aliases.items() if alias in known and known[alias] != v}
    champion, challenger = (v if (v := moved.get(alias)) != look.settled else None for alias in stand.names)
    return Moves(
        look.settled, stand.names, came, champion, challenger, _taken(moved, known, stand), _pinned(stand, look)
    )


def _taken(moved: Mapping[str, int | None], known: Mapping[str, int | None], stand: Stand) -> tuple[str, ...]:
    """Aliases without a version; one whose version was deleted went with it."""
    return tuple(alias for alias, version in moved.items() if version is None and known[alias] in stand.versions)


def _pinned(stand: Stand, look: Look) -> bool | None:
    """What the tag of the serving version says by now; an older release wrote none."""
    info = None if look.settled is None or look.aliases is None else stand.versions.get(look.settled)
    return None if info is None or info.pins == look.pinned else info.pins
