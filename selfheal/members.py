"""What joins by existing: every module of a package brings one thing of a kind, and says its place among the others."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import Protocol, TypeVar


class Ranked(Protocol):
    """What has a name of its own, and a place."""

    @property
    def name(self) -> str:
        """As people read it."""

    @property
    def rank(self) -> int:
        """Lower comes first."""


Member = TypeVar("Member", bound=Ranked)


def members(package: str, path: Iterable[str], kind: type[Member]) -> tuple[Member, ...]:
    """The one thing of a kind that each module of a package brings, in the order of their ranks.

    Parameters
    ----------
    package, path
        The package's ``__name__`` and ``__path__``.
    kind
        Its class; a module calls the thing by that name in capitals: ``MECHANISM``, ``CHECK``.

    Raises
    ------
    TypeError
        If a module brings none.
    ValueError
        If two have the same name or the same rank, for then nothing says which comes first.
    """
    word = kind.__name__.upper()
    out: list[Member] = []
    for module in pkgutil.iter_modules(path, f"{package}."):
        member = getattr(import_module(module.name), word, None)
        if not isinstance(member, kind):
            raise TypeError(f"{module.name}: {word} is {member!r}, not a {kind.__name__}; every module here brings one")
        for other in out:
            if member.name == other.name or member.rank == other.rank:
                raise ValueError(
                    f"{module.name}: name {member.name!r} and rank {member.rank}, and there is {other.name!r} of rank "
                    f"{other.rank} already; give it a name and a rank of its own"
                )
        out.append(member)
    return tuple(sorted(out, key=lambda member: member.rank))
