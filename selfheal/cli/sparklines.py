"""A row of numbers as a row of small bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
GAP = " "


def spark(values: Sequence[float | None], top: float | None = None) -> str:
    """A bar for each value, from zero to ``top`` (by default the largest); a gap where there is none.

    >>> spark([0.0, 0.5, None, 1.0, 3.0], top=1.0)
    '▁▅ ██'
    >>> spark([3, 3]), spark([0, 0]), spark([])
    ('██', '▁▁', '')
    """
    known = [value for value in values if value is not None]
    scale = max(known, default=0.0) if top is None else top
    return "".join(GAP if value is None else _bar(value, scale) for value in values)


def _bar(value: float, scale: float) -> str:
    share = value / scale if scale > 0 else 0.0
    return BARS[min(len(BARS) - 1, max(0, round(share * (len(BARS) - 1) + 0.001)))]
