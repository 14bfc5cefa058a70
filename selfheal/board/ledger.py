"""Runs scenarios × seeds one after the other, and remembers each row in a file of JSON lines, so that it resumes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import selfheal
from selfheal.board import attacks, field, mixed, random_drifts, small_sets, synthetic, twins
from selfheal.board.score import Healer, Row, run
from selfheal.board.trial import Scenario
from selfheal.errors import InputError, nearest
from selfheal.healing.heal import heal

TUNED_ON = tuple(first + i for first in (0, 100, 200, 300, 400, 500) for i in range(5))
"""Seeds that were looked at while thresholds were set; no figure from them is reported."""

REPORTED = tuple(range(600, 605))
"""Seeds of the reported board."""

QUICK_RANDOM = 8
"""Random drifts of a quick board, which has one seed and leaves out all but the first onset of each stream."""


@dataclass(frozen=True)
class Job:
    """One row to be made."""

    scenario: Scenario
    seed: int

    @property
    def key(self) -> str:
        """Name in the ledger."""
        return f"{self.scenario.name} | {self.seed}"


@cache
def source_digest() -> str:
    """Hex SHA-256 over the library's source: rows made by other source do not count."""
    digest = hashlib.sha256()
    for path in sorted(Path(selfheal.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Ledger:
    """Rows by key in a file of JSON lines; without a path nothing is kept."""

    def __init__(self, path: Path | None = None, source: str | None = None) -> None:
        self.path, self.source = path, source or source_digest()
        self.rows: dict[str, Row] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:  # a run that was killed while it wrote its last line
            return
        if entry["source"] == self.source:
            self.rows[entry["key"]] = entry["row"]

    def keep(self, key: str, row: Row) -> None:
        """Remember a row."""
        self.rows[key] = row
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "source": self.source, "row": plain(row)}) + "\n")


def plain(value: Any) -> Any:
    """The value in JSON's own types; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def built_in() -> list[Scenario]:
    """Every scenario that needs no data set."""
    own = (synthetic, twins, small_sets, mixed, field, attacks, random_drifts)
    return [scenario for module in own for scenario in module.SCENARIOS]


def chosen(scenarios: Iterable[Scenario], words: Sequence[str], *, quick: bool = False) -> list[Scenario]:
    """The scenarios whose name or group has one of the words in it; all of them without words.

    Raises
    ------
    InputError
        If a word names none.
    """
    every = list(scenarios)
    for word in words:
        if not any(word in s.name or word == s.group for s in every):
            names = {s.name for s in every} | {s.group for s in every}
            raise InputError(f"no scenario has {word!r} in its name{nearest(word, names)}; see docs/drill.md")
    kept = [s for s in every if not words or any(word in s.name or word == s.group for word in words)]
    return [s for s in kept if _is_quick(s)] if quick else kept


def _is_quick(scenario: Scenario) -> bool:
    if scenario.group == "random":
        return int(scenario.name.split()[-1]) < QUICK_RANDOM
    return scenario.facts.get("onset", 0) == 0


def jobs(scenarios: Sequence[Scenario], seeds: Sequence[int]) -> list[Job]:
    """All scenarios with every seed. Streams run once, with the first seed: their onsets are what varies."""
    out = []
    for seed in seeds:
        out += [Job(s, seed) for s in scenarios if not s.kind or seed == seeds[0]]
    return out


def play(
    todo: Sequence[Job],
    ledger: Ledger,
    say: Callable[[int, int, Job, Row], None] = lambda *_: None,
    healer: Healer = heal,
    *,
    literature: bool = False,
) -> list[Row]:
    """Every job's row in order: remembered, or made now and remembered.

    Parameters
    ----------
    say
        Told of each row: its number from 1, how many there are, the job, the row.
    literature
        See :func:`~selfheal.board.score.run`; such rows are remembered apart.
    """
    rows = []
    for number, job in enumerate(todo, 1):
        key = f"{job.key} | literature" if literature else job.key
        if key not in ledger.rows:
            ledger.keep(key, plain(run(job.scenario, job.seed, healer, literature=literature)))
        rows.append(ledger.rows[key])
        say(number, len(todo), job, rows[-1])
    return rows
