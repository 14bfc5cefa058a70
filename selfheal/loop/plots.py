"""Before and after, drawn: where a healthy window lies, where this one lay, where the healed map puts it.

Plain SVG, which MLflow shows in a run's artifacts; no drawing library is worth its import for a dozen histograms.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    rows = -(-len(cells) // 2)
    placed = "".join(
        f'<g transform="translate({(i % 2) * WIDTH},{40 + (i // 2) * HEIGHT})">{cell}</g>'
        for i, cell in enumerate(cells)
    )
    legend = "".join(
        f'<text x="{PAD + 90 * i}" y="34" fill="{colour}" font-weight="600">{word}</text>'
        for i, (word, colour) in enumerate(COLOURS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{50 + rows * HEIGHT}" '
        'font-family="system-ui,sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{PAD}" y="18" font-size="14" font-weight="600">{html.escape(title)}</text>{legend}{placed}</svg>'
    )


def _most_moved(healthy: pd.DataFrame, before: pd.DataFrame) -> list[str]:
    """Columns by how far their median moved, in the healthy rows' interquartile ranges."""
    moved = {}
    for name in before.columns:
        low, mid, high = np.nanquantile(healthy[name].to_numpy(dtype=float), [0.25, 0.5, 0.75])
        moved[str(name)] = abs(float(np.nanmedian(before[name].to_numpy(dtype=float))) - mid) / max(high - low, 1e-12)
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
    lines = "".join(
        f'<path d="{_steps(h / top)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        for h, (_, colour) in zip(heights, COLOURS, strict=True)
    )
    base = HEIGHT - PAD
    return (
        f'<text x="{PAD}" y="14" font-weight="600">{html.escape(name[:48])}</text>'
        f'<line x1="{PAD}" y1="{base}" x2="{WIDTH - 12}" y2="{base}" stroke="#c7d0d9"/>{lines}'
        f'<text x="{PAD}" y="{base + 15}" fill="#5a6775">{edges[0]:.4g}</text>'
        f'<text x="{WIDTH - 12}" y="{base + 15}" fill="#5a6775" text-anchor="end">{edges[-1]:.4g}</text>'
    )


def _steps(heights: NDArray[np.float64]) -> str:
    wide, tall = (WIDTH - 12 - PAD) / BINS, HEIGHT - PAD - 24
    points = [f"{PAD:.1f},{HEIGHT - PAD}"]
    for i, h in enumerate(heights):
        y = HEIGHT - PAD - h * tall
        points += [f"{PAD + i * wide:.1f},{y:.1f}", f"{PAD + (i + 1) * wide:.1f},{y:.1f}"]
    return "M" + " L".join([*points, f"{WIDTH - 12:.1f},{HEIGHT - PAD}"])
