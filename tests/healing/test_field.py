"""What operators report, one seed of each kind; the board has more, on the same worlds."""

from __future__ import annotations

import pytest

from selfheal.board.field import SCENARIOS
from selfheal.board.score import run
from tests.board.conftest import alone

__all__ = ["alone"]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name.removeprefix("field: "))
def test_the_answer_is_right_and_nobody_is_harmed(scenario) -> None:
    row = run(scenario, 303)
    assert row["right"], (row["decision"], row["diagnosis"], row["reason"])
    assert not row["harmful"]
