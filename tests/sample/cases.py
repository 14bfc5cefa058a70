"""Which cases are in the sample: every group, mechanism and decision, and what else a heal may be given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.sample.worlds import scenarios

SEED = 700
"""First of the seeds: neither one that thresholds were set on (up to 504) nor one that figures are reported of."""

SEEDS = {"synthetic": 2, "twins": 2, "digits": 2, "breast cancer": 2, "mixed": 5, "random": 1, "weather": 1, "own": 1}
"""How many of them a group has. A world is trained once for all cases of a seed, so more scenarios are cheaper."""

TRIGGERS = "triggers"
"""The group of what is said of windows before any heal; its one case is a stream of each kind."""


@dataclass(frozen=True)
class Case:
    """One question to the healer."""

    group: str
    scenario: str
    seed: int
    twist: str = ""

    @property
    def name(self) -> str:
        """As the golden file and the exceptions call it."""
        return " | ".join((self.group, self.scenario, str(self.seed), *([self.twist] if self.twist else [])))


SENSOR = ("offset", "conversion °F → °C")
TWISTED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *(("synthetic", name, (
        "at most 5 % changed", "costs 1 : 5", "60 labels", "300 labels against it", "memory", "memory without samples",
        "healed", "turned back", "began at 40 %", "began at 90 %", "a quarter of the rows", "a tenth missing",
        "columns in another order", "a third replayed", "4 healthy windows", "150 rows",
    )) for name in SENSOR),
    ("synthetic", "offset, undeclared", (
        "ambiguous: promote", "ambiguous: refuse", "60 labels", "at most 5 % changed", "costs 5 : 1", "labels before",
    )),
    ("synthetic", "prior up", (
        "costs 1 : 5", "costs 5 : 1", "at most 5 % changed", "300 labels against it", "15 labels", "150 rows",
        "began at 40 %", "4 healthy windows",
    )),
    ("synthetic", "prior down", ("60 labels", "costs 1 : 5")),
    ("synthetic", "combined", ("costs 1 : 5", "300 labels against it", "at most 5 % changed")),
    ("synthetic", "clean", (
        "costs 1 : 5", "60 labels", "labels before", "a tenth infinite", "half missing", "words in a number",
        "a tenth is -999", "a column is away", "60 rows", "6000 rows", "3 healthy windows in one",
        "columns in another order",
    )),
    ("synthetic", "evasion", ("labels before", "60 labels")),
    ("synthetic", "label flip", ("labels before", "60 labels", "300 labels against it")),
    ("synthetic", "population", ("labels before", "ambiguous: promote")),
    ("synthetic", "new normals", ("labels before", "15 labels")),
    ("synthetic", "new pattern, no rule", ("labels before",)),
    ("synthetic", "new pattern, rule", ("at most 5 % changed", "300 labels against it")),
    ("synthetic", "article, declared", ("at most 5 % changed", "300 labels against it", "60 labels")),
    ("synthetic", "article, undeclared", ("labels before", "ambiguous: promote")),
    ("mixed", "mixed: clean", ("half missing", "words in a number", "labels before")),
    ("mixed", "mixed: unit", ("memory", "a quarter of the rows", "columns in another order", "300 labels against it")),
    ("mixed", "mixed: shares", ("labels before", "4 healthy windows")),
    ("mixed", "mixed: class walks", ("labels before",)),
    ("weather", "weather °F → °C 03", (
        "memory", "healed", "turned back", "began at 40 %", "a quarter of the rows", "a tenth missing",
        "at most 5 % changed", "costs 1 : 5", "60 labels",
    )),
    ("weather", "weather natural 02", ("a tenth is -999", "60 labels", "a column is away", "a third replayed")),
    ("breast cancer", "cancer unit", ("memory", "costs 5 : 1", "60 labels")),
    ("digits", "digits unit", ("memory",)),
)  # fmt: skip
"""(group, scenario, twists): each with the first seed."""

TURNING = frozenset(
    {
        "mixed | mixed: tilt | 700",
        "mixed | mixed: tilt, declared | 700",
        "mixed | mixed: class walks | 700 | labels before",
        "mixed | mixed: noise | 700",
    }
)
"""Left out: of 429 cases these said something else where torch and BLAS computed as on a processor without AVX
(``ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=Sandybridge``); none of them decided otherwise."""


def _every() -> Iterator[Case]:
    yield Case(TRIGGERS, "synthetic", SEED)
    for group, named in scenarios().items():
        for seed in range(SEED, SEED + SEEDS[group]):
            yield from (Case(group, scenario, seed) for scenario in named)
            if seed == SEED:
                twisted = (entry for entry in TWISTED if entry[0] == group)
                yield from (Case(group, name, seed, twist) for _, name, twists in twisted for twist in twists)


def cases() -> list[Case]:
    """The sample, cases of one world beside each other; each name once."""
    return [case for case in _every() if case.name not in TURNING]
