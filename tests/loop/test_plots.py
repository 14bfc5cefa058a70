"""Before and after: one curve each, the columns that moved first."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pandas as pd

from selfheal.loop.plots import MOST, SCORE, before_after

SVG = "{http://www.w3.org/2000/svg}"


def sample(seed: int, moved: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {f"c{i}": rng.normal(size=300) for i in range(MOST + 2)} | {SCORE: rng.random(300)}
    return pd.DataFrame(columns).assign(**{"<far>": rng.normal(moved, 1, 300)})


def tops(drawn: ElementTree.Element, colour: str) -> list[float]:
    """Where each curve of a colour is highest, in pixels from the left."""
    found = []
    for path in drawn.iter(f"{SVG}path"):
        if path.get("stroke") == colour:
            points = [tuple(map(float, p.split(","))) for p in str(path.get("d"))[1:].split(" L")]
            found.append(min(points, key=lambda p: p[1])[0])
    return found


def test_what_moved_is_drawn_where_it_lies() -> None:
    drawn = ElementTree.fromstring(before_after(sample(0, 0.0), sample(1, 6.0), sample(2, 0.0), "°F → °C <x>"))
    names = [t.text for t in drawn.iter(f"{SVG}text") if t.get("font-weight") == "600"]
    assert names[:6] == ["°F → °C <x>", "healthy", "before", "after", SCORE, "<far>"]
    assert len(names) == 4 + MOST
    healthy, before, after = (tops(drawn, c)[1] for c in ("#8a97a5", "#d1495b", "#2a7de1"))
    assert healthy < 150 < 250 < before
    assert abs(after - healthy) < 60


def test_a_column_without_a_number_is_drawn_last_and_warns_of_nothing() -> None:
    off = [sample(seed, moved).assign(off=np.nan) for seed, moved in ((0, 0.0), (1, 6.0), (2, 0.0))]
    drawn = ElementTree.fromstring(before_after(*off, "a sensor was off"))
    names = [t.text for t in drawn.iter(f"{SVG}text") if t.get("font-weight") == "600"]
    assert "<far>" in names
    assert "off" not in names
