"""Pages that no test looks at: the first that Evidently drew in a process stands for them.

``python -m tests.pages …`` is ``selfheal …`` with such pages.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfheal.drift.report import Pages

_FIRST: list[bytes] = []


def standing(pages: Callable[..., Pages]) -> Callable[..., Pages]:
    """The same, but for the page that it draws."""

    def made(*args: Any) -> Pages:
        from selfheal.drift.report import Pages

        own = pages(*args)

        def html(place: Path) -> bool:
            if _FIRST:
                place.write_bytes(_FIRST[0])
            elif own.html(place):
                _FIRST.append(place.read_bytes())
            return bool(_FIRST)

        return Pages(html, own.publish)

    return made


if __name__ == "__main__":
    from selfheal.cli import main
    from selfheal.drift import report

    report._pages = standing(report._pages)
    main()
