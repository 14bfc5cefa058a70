"""The board's plots, over shares from 0 to 1. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from selfheal.svg import picture, scale, tag, words

WIDTH, ROW, LEFT, RIGHT, SIDE = 860, 20, 250, 30, 420
"""Pixels: of a plot with a line a name, its lines, and the room beside them; of a square plot."""

TICKS = tuple(i / 5 for i in range(6))


def _at(value: float) -> float:
    return scale(value, 0.0, 1.0, LEFT, WIDTH - RIGHT)


def _upright(kind: str, value: float, top: float, bottom: float) -> str:
    return tag("line", class_=kind, x1=_at(value), x2=_at(value), y1=top, y2=bottom)


def dumbbells(rows: Sequence[tuple[str, float, float, float | None]], title: str) -> str:
    """A line per name from ``before`` to ``after``, and a tick at the oracle.

    Parameters
    ----------
    rows : (name, before, after, oracle or None).
    """
    height = 24 + ROW * len(rows)
    parts = [_upright("grid", t, 16, height - 4) for t in TICKS]
    parts += [words(f"{t:.2f}", _at(t), 11, text_anchor="middle") for t in TICKS]
    for y, (name, before, after, best) in enumerate(rows):
        y, worse = 28 + ROW * y, " worse" if after < before - 0.01 else ""
        label = f"{name}: {before:.3f} before, {after:.3f} after" + (f", oracle {best:.3f}" if best is not None else "")
        parts.append(tag(
            "g", tag("title", escape(label)), words(name, LEFT - 10, y + 4, "name", text_anchor="end"),
            tag("line", class_=f"bar{worse}", x1=_at(before), x2=_at(after), y1=y, y2=y),
            tag("circle", class_="before", cx=_at(before), cy=y, r=4),
            tag("circle", class_=f"after{worse}", cx=_at(after), cy=y, r=5),
            "" if best is None else _upright("oracle", best, y - 7, y + 7),
        ))  # fmt: skip
    return picture(parts, WIDTH, height, title)


def bars(rows: Sequence[tuple[str, float, str]], title: str) -> str:
    """A horizontal bar per name.

    Parameters
    ----------
    rows : (name, value, words at the bar's end).
    """
    parts = []
    for y, (name, value, label) in enumerate(rows):
        y, wide = 14 + ROW * y, max(_at(value) - LEFT, 1)
        mine = " mine" if name == "selfheal" else ""
        parts.append(words(name, LEFT - 10, y + 4, "name", text_anchor="end"))
        parts.append(tag("rect", class_=f"column{mine}", x=LEFT, y=y - 6, width=wide, height=12, rx=2))
        parts.append(words(label, min(LEFT + wide + 6, WIDTH - 60), y + 4))
    return picture(parts, WIDTH, 8 + ROW * len(rows), title)


def scatter(points: Sequence[tuple[float, float, str, str]], title: str) -> str:
    """Accuracy after over accuracy before, one dot a row; above the diagonal is better.

    Parameters
    ----------
    points : (before, after, class of the dot, words).
    """

    def at(value: float) -> float:
        return scale(value, 0.0, 1.0, 40, SIDE - 20)

    parts = [tag("line", class_="grid", x1=at(0), y1=SIDE - at(0), x2=at(1), y2=SIDE - at(1))]
    parts += [words(f"{t:.1f}", at(t), SIDE - 18, text_anchor="middle") for t in TICKS]
    parts += [words(f"{t:.1f}", 32, SIDE - at(t) + 4, text_anchor="end") for t in TICKS]
    parts += [
        tag("circle", tag("title", escape(label)), class_=kind, cx=at(before), cy=SIDE - at(after), r=4)
        for before, after, kind, label in points
    ]
    parts.append(words("accuracy before", SIDE / 2, SIDE - 2, text_anchor="middle"))
    turned = {"transform": f"rotate(-90 12 {SIDE / 2:.0f})", "text_anchor": "middle"}
    return picture([*parts, words("accuracy after", 12, SIDE / 2, **turned)], SIDE, SIDE, title)
