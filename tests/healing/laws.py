"""What holds of every mechanism, whoever wrote it. A law takes a mechanism and a scene, and raises where broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pandas as pd

from selfheal.healing.case import Case
from selfheal.healing.mechanism import (
    LABELS,
    MEMORY,
    NEW_RULE,
    STABLE_CLASS,
    UNUSUAL_AS_SENT,
    UNUSUAL_AS_SERVED,
    Mechanism,
    Need,
)
from selfheal.healing.mechanisms import every
from selfheal.healing.outcome import Decision, Diagnosis, Finding
from tests.healing.scenes import Scene, scene

NEAR = 0.02
"""By how much a figure may differ, as a share, where columns come in another order: sums round otherwise."""

WITHOUT: dict[Need, Callable[[Scene], Scene]] = {
    MEMORY: lambda of: replace(of, memory=()),
    NEW_RULE: lambda of: of.with_policy(rules=[]),
    STABLE_CLASS: lambda of: of.with_policy(declare={"measurement": of.model.policy.declare.measurement}),
    LABELS: lambda of: replace(of, labelled_windows=()),
}
"""Need → the scene that lacks it."""

HAPPENED = (UNUSUAL_AS_SENT, UNUSUAL_AS_SERVED)
"""Needs that every clean window lacks."""


def asked(mechanism: Mechanism, of: Scene, how: str = "") -> Finding | None:
    """What it says; ``how``: of a bare case (what it needs or heeds, no more), or of columns the other way round."""
    return _asked(mechanism, of, how)


def case(of: Scene, how: str = "") -> Case:
    """One for all mechanisms: what one computes must not change what another says."""
    return _case(of, how)


@cache
def _asked(mechanism: Mechanism, of: Scene, how: str) -> Finding | None:
    if how == "bare":
        known = {*mechanism.needs, *mechanism.heeds} & WITHOUT.keys()
        return mechanism.ask(bare(of, frozenset(known)))
    return mechanism.ask(_case(of, how))


@cache
def _case(of: Scene, how: str) -> Case:
    return (of.reordered() if how == "reordered" else of).case()


def of_clean_windows_it_explains_none(mechanism: Mechanism, of: Scene) -> None:
    """But as what needs no change."""
    finding = asked(mechanism, of)
    if of.healthy and finding is not None and finding.explained:
        assert finding.decision == "keep" and finding.adapter is None, finding.reason


def without_what_it_needs_it_is_silent(mechanism: Mechanism, of: Scene) -> None:
    """Each need is enough to silence it."""
    for need in mechanism.needs:
        lacking = case(scene("clean")) if need in HAPPENED else WITHOUT[need](of).case()
        assert not need.met(lacking), f"WITHOUT[{need.what}] leaves it there"
        assert mechanism.ask(lacking) is None, f"it speaks without {need.what}"


def what_it_does_not_need_it_does_not_read(mechanism: Mechanism, of: Scene) -> None:
    """It says the same where nothing is there but what it needs or heeds."""
    same(asked(mechanism, of), asked(mechanism, of, "bare"), near=0.0)


@cache
def bare(of: Scene, needs: frozenset[Need]) -> Case:
    """A fresh case that has nothing but these."""
    for need, without in WITHOUT.items():
        of = of if need in needs else without(of)
    return of.case()


def the_same_question_gets_the_same_answer(mechanism: Mechanism, of: Scene) -> None:
    """To the last bit, from a case of its own."""
    first, second = asked(mechanism, of), asked(mechanism, of, "bare")
    same(first, second, near=0.0)
    if first and second and first.adapter and second.adapter:
        assert first.adapter.to_bytes() == second.adapter.to_bytes()


def columns_may_come_in_any_order(mechanism: Mechanism, of: Scene) -> None:
    """Of the model's table and of the window."""
    same(asked(mechanism, of), asked(mechanism, of, "reordered"), near=NEAR)


def same(one: Finding | None, other: Finding | None, near: float) -> None:
    """Whether two findings say the same, in figures that are near."""
    assert (one is None) == (other is None), (one, other)
    if one is None or other is None:
        return
    for field in ("name", "diagnosis", "explained", "measure", "decision", "trusted", "proven", "recall"):
        assert getattr(one, field) == getattr(other, field), (field, one.reason, other.reason)
    assert np.isclose(one.value, other.value, rtol=near, atol=near / 10), (one.value, other.value)
    assert (one.adapter is None) == (other.adapter is None)
    if one.adapter and other.adapter:
        assert one.adapter.changed_part == other.adapter.changed_part
        assert set(one.adapter.input_map.columns) == set(other.adapter.input_map.columns)
    if one.teacher is not None and other.teacher is not None:
        assert np.allclose(one.teacher, other.teacher, atol=near)


def people_can_read_it(mechanism: Mechanism, of: Scene) -> None:
    """One line of words, a figure beside its bound, names that are known."""
    finding = asked(mechanism, of)
    if finding is None:
        return
    assert finding.name in {mechanism.name, *(other.name for other in every())}
    assert finding.diagnosis in get_args(Diagnosis) and finding.decision in get_args(Decision)
    assert len(finding.reason.split()) >= 3 and re.search("[a-zA-Z]", finding.reason), finding.reason
    assert "\n" not in finding.reason
    assert finding.measure and np.isfinite([finding.value, finding.bound]).all()


def what_it_builds_can_be_judged(mechanism: Mechanism, of: Scene) -> None:
    """A heal comes with an adapter that fits the model, and with the probabilities that the gate measures it by."""
    finding, asked_of = asked(mechanism, of), case(of)
    if finding is None or not finding.explained or finding.decision in ("keep", "refuse"):
        return
    assert finding.adapter is not None and finding.teacher is not None
    healed = asked_of.base.with_adapter(finding.adapter).predict_proba(asked_of.raw)
    assert healed.shape == finding.teacher.shape == (len(asked_of.raw), asked_of.classes)
    assert np.allclose(finding.teacher.sum(axis=1), 1.0) and (finding.teacher >= 0).all()
    assert (finding.decision == "recall") == (finding.recall in [version for version, *_ in asked_of.memory])


def nothing_is_changed(mechanism: Mechanism, of: Scene) -> None:
    """Neither the frozen model nor the rows that it looks at, nor the yardstick, which all scenes of a world share."""
    asked(mechanism, of)
    of.model.check_unchanged()
    pd.testing.assert_frame_equal(case(of).raw, of.rows)
    stick = case(of).stick
    pd.testing.assert_frame_equal(stick.pool_frame, of.model.reference[-len(stick.pool_frame) :].reset_index(drop=True))
    assert np.array_equal(stick.pool, stick.encode(stick.pool_frame))


LAWS = (
    of_clean_windows_it_explains_none, without_what_it_needs_it_is_silent, what_it_does_not_need_it_does_not_read,
    the_same_question_gets_the_same_answer, columns_may_come_in_any_order, people_can_read_it,
    what_it_builds_can_be_judged, nothing_is_changed,
)  # fmt: skip
