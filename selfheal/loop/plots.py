"""Before and after, drawn: where a healthy window lies, where this one lay, where the healed map puts it.

Plain SVG, which MLflow shows in a run's artifacts; no drawing library is worth its import for a dozen histograms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selfheal.svg import picture, scale, tag, words

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PLOT = "plots/before-after.svg"
"""Where the drawing lies among the files of a heal's run."""

ASKED = "plots/question.svg"
"""Where the columns of a question are drawn."""

BINS = 40
WIDTH, HEIGHT, PAD = 360, 190, 34
COLOURS = (("healthy", "#8a97a5"), ("before", "#d1495b"), ("after", "#2a7de1"))
SCORE = "(model score)"
"""Drawn first where it is among the columns."""

MOST = 8
"""Columns drawn, those that changed most first."""


def before_after(healthy: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, title: str) -> str:
    """Histograms of the columns that moved or were mapped, three lines each, as one SVG.

    Parameters
    ----------
    healthy, before, after
        Numeric columns of the same names, in model units: recent healthy rows, the window as it was seen by the map
        that served, and as the healed one sees it.
    """
    moved = _most_moved(healthy, before)
    names = sorted(moved, key=lambda name: name != SCORE)[:MOST]
    cells = [_cell(name, [f[name].to_numpy(dtype=float) for f in (healthy, before, after)]) for name in names]
    parts = [
        tag("rect", width="100%", height="100%", fill="white"),
        words(title, PAD, 18, font_size=14, font_weight=600),
    ]
    parts += [words(w, PAD + 90 * i, 34, fill=colour, font_weight=600) for i, (w, colour) in enumerate(COLOURS)]
    parts += [
        tag("g", cell, transform=f"translate({(i % 2) * WIDTH},{40 + (i // 2) * HEIGHT})")
        for i, cell in enumerate(cells)
    ]
    return picture(parts, 2 * WIDTH, 50 - (-len(cells) // 2) * HEIGHT, title)


def _most_moved(healthy: pd.DataFrame, before: pd.DataFrame) -> list[str]:
    """Columns by how far their median moved, in the healthy rows' interquartile ranges."""
    moved = {}
    for name in before.columns:
        usual, now = healthy[name].dropna(), before[name].dropna()
        if usual.empty or now.empty:  # of a sensor that was off the whole time there is nothing to compare
            moved[str(name)] = 0.0
            continue
        low, mid, high = np.quantile(usual.to_numpy(dtype=float), [0.25, 0.5, 0.75])
        moved[str(name)] = abs(float(np.median(now.to_numpy(dtype=float))) - mid) / max(high - low, 1e-12)
    return sorted(moved, key=lambda name: -moved[name])


def _cell(name: str, samples: Sequence[NDArray[np.float64]]) -> str:
    finite = [s[np.isfinite(s)] for s in samples]
    together = np.concatenate(finite)
    if not len(together):
        return ""
    low, high = np.quantile(together, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    heights = [np.histogram(s, edges)[0] / max(len(s), 1) for s in finite]
    top = max(float(h.max()) for h in heights) or 1.0
    right, base = WIDTH - 12, HEIGHT - PAD
    parts = [
        words(name[:48], PAD, 14, font_weight=600),
        words(f"{edges[0]:.4g}", PAD, base + 15, fill="#5a6775"),
        words(f"{edges[-1]:.4g}", right, base + 15, fill="#5a6775", text_anchor="end"),
        tag("line", x1=PAD, y1=base, x2=right, y2=base, stroke="#c7d0d9"),
    ]
    for h, (when, colour) in zip(heights, COLOURS, strict=True):
        # Where nothing was changed the last two lie on each other: the one below is seen at both sides.
        wide = {"stroke_width": 4, "stroke_opacity": ".5"} if when == "before" else {"stroke_width": 1.6}
        parts.append(tag("path", d=_steps(h / top, right, base), fill="none", stroke=colour, **wide))
    return "".join(parts)


def _steps(heights: NDArray[np.float64], right: float, base: float) -> str:
    points = [(0.0, 0.0), *((i + side, h) for i, h in enumerate(heights) for side in (0, 1)), (float(BINS), 0.0)]
    return "M" + " L".join(f"{scale(x, 0, BINS, PAD, right):.1f},{scale(h, 0, 1, base, 24):.1f}" for x, h in points)
