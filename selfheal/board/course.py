"""The whole board: which jobs, their rows, the triggers, the summary. What the command and the proofs call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import selfheal
from selfheal.board import streams, tables, triggers
from selfheal.board.ledger import REPORTED, Job, Ledger, built_in, chosen, jobs, plain, play
from selfheal.board.score import Row
from selfheal.board.summary import summarise

SHIPPED = Path(selfheal.__file__).parent / "demo" / "data"
"""The weather that comes with the package; every other set must be given a folder."""

TRIGGERS = "triggers"
"""The word that chooses the triggers among the scenarios."""

QUICK_WINDOWS = 10
"""Quiet windows that a quick board watches."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes
    ----------
    seeds
        Of the worlds; streams take the first.
    words
        Parts of scenario names, or groups; empty for all. ``triggers`` is one.
    data
        Folders with data sets, beside the shipped one.
    tables
        Folders of which every Parquet file is a stream; with any, nothing else is asked.
    quick
        One seed, few random drifts, one onset a stream.
    ledger
        File of JSON lines from which a board resumes; None keeps nothing.
    literature
        Whether the rivals and estimators of the literature are scored too.
    """

    seeds: tuple[int, ...] = REPORTED
    words: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    quick: bool = False
    ledger: Path | None = None
    literature: bool = False


@dataclass(frozen=True)
class Board:
    """A finished board, or fire drill."""

    rows: list[Row]
    summary: dict[str, Any]
    triggers: list[Row] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """``{"rows": [...], "summary": {...}, "triggers": [...]}``."""
        return {"rows": self.rows, "summary": self.summary, "triggers": self.triggers}


def run(options: Options, say: Say = lambda _: None) -> Board:
    """Run the board; resumes where the ledger's rows were made by this source.

    Raises
    ------
    InputError
        If a word names no scenario.
    """
    seeds = options.seeds[:1] if options.quick else options.seeds
    folders = (*options.data, SHIPPED)
    from_data, absent = streams.scenarios(folders)
    own = [scenario for folder in options.tables for scenario in tables.scenarios(folder)]
    words = [w for w in options.words if w != TRIGGERS]
    offered = own or [*built_in(), *from_data]
    wanted = chosen(offered, words, quick=options.quick) if words or not options.words else []
    ledger = Ledger(options.ledger)
    rows = play(jobs(wanted, seeds), ledger, teller(say), literature=options.literature)
    watched = []
    if (not options.words and not own) or TRIGGERS in options.words:
        watched = _triggers(ledger, seeds, folders, options.quick, say)
    return Board(rows, plain(summarise(rows, watched, [] if options.words or own else absent)), watched)


def teller(say: Say) -> Callable[[int, int, Job, Row], None]:
    """What :func:`~selfheal.board.ledger.play` tells of each row, as a line of text."""

    def tell(number: int, of: int, job: Job, row: Row) -> None:
        note = " HARMFUL" if row["harmful"] else "" if row["right"] else " (unexpected)"
        say(f"[{number}/{of}] {job.scenario.name}, seed {job.seed}: {row['decision']}{note}")

    return tell


def _triggers(ledger: Ledger, seeds: Sequence[int], folders: Sequence[Path], quick: bool, say: Say) -> list[Row]:
    rows: list[Row] = []
    for name, make in _watches(seeds, folders, quick):
        key = f"{TRIGGERS} | {name}"
        if key not in ledger.rows:
            ledger.keep(key, {"rows": plain(list(make()))})
        rows += ledger.rows[key]["rows"]
        say(f"triggers: {name}")
    return rows


def _watches(
    seeds: Sequence[int], folders: Sequence[Path], quick: bool
) -> Iterator[tuple[str, Callable[[], Iterator[Row]]]]:
    windows = QUICK_WINDOWS if quick else triggers.QUIET_WINDOWS
    for seed in seeds:
        yield f"synthetic, seed {seed}, {windows} windows", partial(triggers.synthetic, seed, windows)
    if not quick:
        there = sum((f / of.file).is_file() for of in streams.SETS for f in folders)
        yield f"data sets, {there} files, seed {seeds[0]}", partial(triggers.streams, folders, seeds[0])
