"""What was computed of the same numbers is found again, and nothing else is."""

from __future__ import annotations

import numpy as np

from selfheal.drift.kept import Kept
from selfheal.drift.yardstick import Yardstick
from tests.healing.worlds import linear


def test_only_the_very_same_content_is_found_and_the_oldest_goes_first() -> None:
    kept, computed = Kept[str](most=2), []

    def asked(rows: list[list[float]], more: object = None) -> None:
        kept.of((np.array(rows),), lambda: computed.append(str(rows)) or str(rows), more)

    asked([[1.0, 2.0]])
    asked([[1.0, 2.0]])
    assert len(computed) == 1
    asked([[1.0], [2.0]])
    asked([[1.0, 2.0]], more=7)
    assert len(computed) == 3, "another shape, another seed"
    asked([[1.0], [2.0]])
    asked([[1.0, 2.0]])
    assert len(computed) == 4, "the first was used longest ago"


def test_a_yardstick_of_other_windows_or_another_seed_has_a_spread_of_its_own() -> None:
    world = linear(20)
    recent = [world.draw(300, 400 + k) for k in range(4)]
    first, again = (Yardstick(world.model, recent, 300).natural for _ in range(2))
    assert again is first
    others = [
        Yardstick(world.model, recent[1:], 300).natural,
        Yardstick(world.model, [*recent[:3], recent[3] + 1e-9], 300).natural,
        Yardstick(world.model, recent, 300, seed=1).natural,
    ]
    assert all(other is not first for other in others)
    assert [found.auc for found in others[-1]] != [found.auc for found in first]
