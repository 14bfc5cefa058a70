"""Small plots as inline SVG: no script, no font, nothing fetched. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT = 860, 20, 250, 30


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (min(max(value, low), high) - low) / (high - low)


def _axis(low: float, high: float, bottom: float) -> str:
    step = (high - low) / 5
    ticks = [low + i * step for i in range(6)]
    return "".join(
        f'<line class="grid" x1="{_x(t, low, high):.1f}" x2="{_x(t, low, high):.1f}" y1="16" y2="{bottom:.0f}"/>'
        f'<text class="tick" x="{_x(t, low, high):.1f}" y="11" text-anchor="middle">{t:.2f}</text>'
        for t in ticks
    )


def dumbbells(rows: Sequence[tuple[str, float, float, float | None]], low: float, high: float, title: str) -> str:
    """A line per name from ``before`` to ``after``, and a tick at the oracle.

    Parameters
    ----------
    rows : (name, before, after, oracle or None).
    """
    height = 24 + ROW * len(rows)
    parts = [_axis(low, high, height - 4)]
    for i, (name, before, after, best) in enumerate(rows):
        y = 28 + ROW * i
        a, b = _x(before, low, high), _x(after, low, high)
        told = f"{name}: {before:.3f} before, {after:.3f} after" + (f", oracle {best:.3f}" if best is not None else "")
        worse = " worse" if after < before - 0.01 else ""
        parts.append(
            f'<g><title>{escape(told)}</title><text class="name" x="{LEFT - 10}" y="{y + 4}" text-anchor="end">'
            f'{escape(name)}</text><line class="bar{worse}" x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="before" cx="{a:.1f}" cy="{y}" r="4"/>'
            f'<circle class="after{worse}" cx="{b:.1f}" cy="{y}" r="5"/>'
        )
        if best is not None:
            o = _x(best, low, high)
            parts.append(f'<line class="oracle" x1="{o:.1f}" x2="{o:.1f}" y1="{y - 7}" y2="{y + 7}"/>')
        parts.append("</g>")
    return _svg(parts, height, title)


def scatter(points: Sequence[tuple[float, float, str, str]], low: float, high: float, title: str) -> str:
    """After over before, one dot a row; above the diagonal is better.

    Parameters
    ----------
    points : (before, after, class of the dot, words).
    """
    side = 420

    def at(value: float) -> float:
        return 40 + (side - 60) * (min(max(value, low), high) - low) / (high - low)

    parts = [
        f'<line class="grid" x1="{at(low):.0f}" y1="{side - at(low):.0f}" x2="{at(high):.0f}" '
        f'y2="{side - at(high):.0f}"/>'
    ]
    for i in range(6):
        t = low + (high - low) * i / 5
        parts.append(
            f'<text class="tick" x="{at(t):.0f}" y="{side - 18}" text-anchor="middle">{t:.1f}</text>'
            f'<text class="tick" x="32" y="{side - at(t) + 4:.0f}" text-anchor="end">{t:.1f}</text>'
        )
    for before, after, kind, words in points:
        parts.append(
            f'<circle class="{kind}" cx="{at(before):.1f}" cy="{side - at(after):.1f}" r="4">'
            f"<title>{escape(words)}</title></circle>"
        )
    parts.append(f'<text class="tick" x="{side / 2:.0f}" y="{side - 2}" text-anchor="middle">accuracy before</text>')
    parts.append(
        f'<text class="tick" x="12" y="{side / 2:.0f}" transform="rotate(-90 12 {side / 2:.0f})" '
        'text-anchor="middle">accuracy after</text>'
    )
    return _svg(parts, side, title, side)


def bars(rows: Sequence[tuple[str, float, str]], high: float, title: str) -> str:
    """A horizontal bar per name.

    Parameters
    ----------
    rows : (name, value, words at the bar's end).
    """
    height = 8 + ROW * len(rows)
    parts = []
    for i, (name, value, words) in enumerate(rows):
        y = 14 + ROW * i
        end = _x(value, 0.0, high)
        mine = " mine" if name == "selfheal" else ""
        parts.append(
            f'<text class="name" x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="column{mine}" x="{LEFT}" y="{y - 6}" width="{max(end - LEFT, 1):.1f}" height="12" rx="2"/>'
            f'<text class="tick" x="{min(end + 6, WIDTH - 60):.1f}" y="{y + 4}">{escape(words)}</text>'
        )
    return _svg(parts, height, title)


def _svg(parts: Sequence[str], height: float, title: str, width: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width:.0f}px"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )
