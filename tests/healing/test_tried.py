"""A column under a map is computed once, and a window under maps lies as far as if it had been computed whole."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from selfheal.adapter import ColumnMap, InputMap
from selfheal.board.mixed import CALM, WINDOW, mixed
from selfheal.board.worlds import linear
from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case
from selfheal.healing.fits.tried import tried
from selfheal.model import MonitoredModel

N = 400
MAPS = (ColumnMap(1.8, 32.0, "°C → °F"), ColumnMap(0.001), ColumnMap(-1.0, 0.0, "sign flipped"), ColumnMap(1e300))


@cache
def case() -> Case:
    """Words, codes, zeros and gaps among the columns; one of them places the window and is not compared."""
    world = mixed(705)
    window = world.draw(WINDOW, N, [1]).drop(columns="y")
    window = window.assign(**{c: window[c].where(np.arange(N) % 7 > 0) for c in world.model.nullable & {*numeric()}})
    calm = world.draw(CALM, 5 * N, [2]).drop(columns="y")
    stick = Yardstick(world.model, [calm.iloc[i : i + N] for i in range(0, len(calm), N)], N)
    return Case(world.model, window, stick.without(numeric()[-1:]))


@cache
def of_thousands() -> Case:
    """A column holds codes with gaps, which a rounding may miss."""
    world = linear(20)

    def thousands(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(x9=1000.0 * (np.arange(len(rows)) % 5))

    reference = world.model.reference.assign(y=world.model.reference_labels)
    model = MonitoredModel(world.model.backbone, world.model.head, thousands(reference), "y", world.model.preprocess)
    return Case(model, thousands(world.draw(N, 1)).drop(columns="y"), Yardstick(model, None, N))


def numeric() -> list[str]:
    return [c for c, kind in mixed(705).model.dtypes.items() if kind in ("float", "int")]


@given(st.dictionaries(st.sampled_from(numeric()), st.sampled_from(MAPS)))
def test_a_total_is_that_of_the_whole_window_to_the_last_bit(maps: dict[str, ColumnMap]) -> None:
    assert tried(case()).total(maps) == case().stick.total(InputMap(maps).apply(case().raw))


@given(st.sampled_from([ColumnMap(1.000001), ColumnMap(1.0, 0.09), *MAPS]))
def test_nor_is_a_code_that_a_rounding_missed_another(one: ColumnMap) -> None:
    maps = {"x9": one}
    assert tried(of_thousands()).total(maps) == of_thousands().stick.total(InputMap(maps).apply(of_thousands().raw))


def test_of_a_further_map_one_column_is_computed() -> None:
    first, second = numeric()[:2]
    asked = tried(Case(case().model, case().raw, case().stick))
    asked.total({first: MAPS[0], second: MAPS[0]})
    with patch.object(Yardstick, "ks", autospec=True, side_effect=Yardstick.ks) as computed:
        asked.total({first: MAPS[1], second: MAPS[0]})
        asked.total({second: MAPS[0]})
    assert [call.args[2] for call in computed.call_args_list] == [asked.case.model.features.index(first)] * 2
