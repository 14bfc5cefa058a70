"""Drawings as SVG text, inside a page or a file of their own: no script, no font, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def tag(name: str, *inside: str, **attributes: object) -> str:
    """An element around others: numbers to a tenth, texts escaped, ``class_`` for class, ``_`` for ``-``.

    >>> tag("circle", tag("title", "a dot"), class_="dim", cx=1 / 3, stroke_width=2)
    '<circle class="dim" cx="0.3" stroke-width="2"><title>a dot</title></circle>'
    """
    made = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{made}>{''.join(inside)}</{name}>"


def _value(value: object) -> str:
    return f"{round(value, 1):g}" if isinstance(value, int | float) else escape(str(value))


def words(text: str, x: float, y: float, kind: str = "tick", **attributes: object) -> str:
    """A text at a point; ``kind`` is its class."""
    return tag("text", escape(text), class_=kind, x=x, y=y, **attributes)


def scale(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value between ``low`` and ``high`` is drawn, in pixels; what lies outside is drawn at the edge."""
    return start + (end - start) * (min(max(value, low), high) - low) / (high - low)


def picture(parts: Iterable[str], width: float, height: float, title: str) -> str:
    """The whole drawing, in pixels; narrower where there is less room."""
    return tag(
        "svg", tag("title", escape(title)), *parts, xmlns="http://www.w3.org/2000/svg", width=width, height=height,
        viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", aria_label=title, style=f"max-width:{width:.0f}px",
        font_family="system-ui,sans-serif", font_size=12,
    )  # fmt: skip
