"""Every mechanism that exists keeps the laws of :mod:`tests.healing.laws`; a new one is asked without being named."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from selfheal.healing import mechanisms
from selfheal.healing.case import Case
from selfheal.healing.mechanism import MEMORY, NEEDS, Mechanism
from selfheal.healing.outcome import Decision, Finding
from selfheal.members import members
from tests.healing import laws
from tests.healing.scenes import BUILT, Scene, clean, scene

SCENES = [pytest.param(name, marks=pytest.mark.xdist_group(f"scene {name}")) for name in BUILT]
"""A case is computed once for all mechanisms and laws, in one process."""

EXPLAINED = {
    "clean": "stable", "back": "recall", "new pattern": "new_rule", "swapped": "permuted columns",
    "offset": "measurement", "unit": "measurement", "two senders": "two senders", "prior": "prior",
    "offset and prior": "measurement and prior", "normals moved": "stable_class", "cut off": "broken column",
    "labels turned": "late_labels", "half turned": "turned", "piled": "piled column", "newcomers": "newcomers",
    "segment": "segment", "inches": "measurement beside drift", "misplaced": "misplaced values",
}  # fmt: skip


APART = 6
"""Of the scenes in which another mechanism is right one in so many is asked of each now, all in `make prove`."""


def pairs() -> Iterator[object]:
    """A mechanism and a scene: the clean one, those that it explains, and some of the others'."""
    for k, mechanism in enumerate(mechanisms.every()):
        for i, name in enumerate(BUILT):
            now = name == "clean" or EXPLAINED.get(name) == mechanism.name or (i + k) % APART == 0
            marks = [pytest.mark.xdist_group(f"scene {name}")] + ([] if now else [pytest.mark.prove])
            yield pytest.param(mechanism, name, id=f"{mechanism.name} {name}", marks=marks)


@pytest.mark.parametrize(("mechanism", "name"), list(pairs()))
def test_every_law_holds(mechanism: Mechanism, name: str) -> None:
    for law in laws.LAWS:
        law(mechanism, scene(name))


@pytest.mark.parametrize("name", SCENES)
def test_what_happened_is_told_by_the_mechanism_that_it_is(name: str) -> None:
    if name in EXPLAINED:
        mechanism = next(m for m in mechanisms.every() if m.name == EXPLAINED[name])
        finding = laws.asked(mechanism, scene(name))
        assert finding is not None and finding.explained and finding.name == mechanism.name


def test_every_mechanism_explains_a_scene_and_every_need_can_be_taken_away() -> None:
    """Else the laws would say little of it: add what it explains to the scenes."""
    assert {m.name for m in mechanisms.every()} == set(EXPLAINED.values())
    assert set(NEEDS) == laws.WITHOUT.keys() | set(laws.HAPPENED)
    assert {need for m in mechanisms.every() for need in m.needs} == set(NEEDS), "a need of no mechanism"


# ------------------------------------------------------------------ what breaks a law


class Pushy(Mechanism):
    """Speaks whatever it lacks."""

    def ask(self, case: Case) -> Finding | None:
        return self.explain(case)


def said(value: float = 0.0, decision: Decision = "refuse", reason: str = "it is what it is") -> Finding:
    return Finding("stable", "unknown", True, "measure", value, 1.0, reason, decision)


def overwrites(case: Case) -> Finding:
    case.raw.iloc[0, 0] = 9.0
    return said()


tries = itertools.count()
BREAKERS: dict[Callable[[Mechanism, Scene], None], Mechanism] = {
    laws.of_clean_windows_it_explains_none: Mechanism("m", 1, lambda case: said()),
    laws.without_what_it_needs_it_is_silent: Pushy("m", 1, lambda case: said(), (MEMORY,)),
    laws.what_it_does_not_need_it_does_not_read: Mechanism("m", 1, lambda case: said(len(case.memory))),
    laws.the_same_question_gets_the_same_answer: Mechanism("m", 1, lambda case: said(next(tries))),
    laws.columns_may_come_in_any_order: Mechanism("m", 1, lambda case: said(case.raw.iloc[0, 0])),
    laws.people_can_read_it: Mechanism("m", 1, lambda case: said(reason="0.3")),
    laws.what_it_builds_can_be_judged: Mechanism("m", 1, lambda case: said(decision="promote")),
    laws.nothing_is_changed: Mechanism("m", 1, overwrites),
}
"""Law → a mechanism that breaks it."""


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_every_law_can_be_broken(law: Callable[[Mechanism, Scene], None]) -> None:
    with pytest.raises(AssertionError):
        law(BREAKERS[law], clean(103))


# ------------------------------------------------------------------ how they join


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """A package of the given modules."""

    def made(**modules: str) -> ModuleType:
        module = ModuleType("joined_here")
        module.__path__ = [str(tmp_path)]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for name, text in modules.items():
            monkeypatch.delitem(sys.modules, f"{module.__name__}.{name}", raising=False)
            (tmp_path / f"{name}.py").write_text(text)
        return module

    return made


MODULE = """
from selfheal.healing.mechanism import Mechanism
MECHANISM = Mechanism({name!r}, {rank}, lambda case: None)
"""


def test_modules_join_in_the_order_of_their_ranks(package: Callable[..., ModuleType]) -> None:
    made = package(a=MODULE.format(name="late", rank=7), b=MODULE.format(name="early", rank=2))
    assert [m.name for m in members(made.__name__, made.__path__, Mechanism)] == ["early", "late"]


def test_what_cannot_be_placed_is_refused_by_name(package: Callable[..., ModuleType]) -> None:
    made = package(a=MODULE.format(name="one", rank=1), b="MECHANISM = 3")
    with pytest.raises(TypeError, match=r"joined_here\.b: MECHANISM is 3, not a Mechanism"):
        members(made.__name__, made.__path__, Mechanism)
    for name, rank in (("one", 2), ("two", 1)):
        made = package(a=MODULE.format(name="one", rank=1), b=MODULE.format(name=name, rank=rank))
        with pytest.raises(ValueError, match="give it a name and a rank of its own"):
            members(made.__name__, made.__path__, Mechanism)
