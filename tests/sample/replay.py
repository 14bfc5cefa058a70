"""Replays the sample in two processes, compares it with the golden file, and writes that file anew."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

import selfheal
from tests.prove.ledger import ROOT, Ledger
from tests.sample.answers import Answer, ask, differences, verdict
from tests.sample.cases import Case, cases

HERE = Path(__file__).resolve().parent
GOLDEN, EXCEPTIONS = HERE / "board.jsonl", HERE / "exceptions.yaml"
CHUNK = 13
"""Cases that one process is given at a time: neighbours share a world, which is trained once."""


@dataclass
class Report:
    """Differences by case, and which of them are listed."""

    exceptions: Sequence[Mapping[str, str]] = ()
    differ: dict[str, list[str]] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)

    def take(self, case: str, was: Answer | None, now: Answer, exact: bool = False) -> None:
        """Compare one answer with the recorded one."""
        if was is None:
            self.differ[case] = ["is not in board.jsonl; see --record"]
            return
        told = differences(was, now, exact)
        if not told:
            return
        becomes = verdict(now) if verdict(was) != verdict(now) else "other words"
        for entry in self.exceptions:
            if fnmatchcase(case, entry["cases"]) and entry["becomes"] == becomes:
                self.listed[case] = entry["why"]
                self.needed.add(entry["cases"])
                return
        self.differ[case] = told

    @property
    def stale(self) -> list[str]:
        """Exceptions that nothing needed."""
        return [entry["cases"] for entry in self.exceptions if entry["cases"] not in self.needed]


def recorded() -> dict[str, Answer]:
    """The golden answers by case; its first line says which commit gave them."""
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()[1:]
    return {answer.pop("case"): answer for answer in map(json.loads, lines)}


def exceptions() -> list[dict[str, str]]:
    """What exceptions.yaml lists."""
    return list(yaml.safe_load(EXCEPTIONS.read_text(encoding="utf-8")))


def answered(wanted: Sequence[Case], jobs: int) -> Iterator[tuple[str, Answer]]:
    """Every case with its answer, as they come: remembered ones first, the others from ``jobs`` processes."""
    own = sha256(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))).hexdigest()[:8]
    ledger = Ledger(f"sample-{own}")
    todo = [case for case in wanted if case.name not in ledger.cases]
    yield from ((case.name, ledger.cases[case.name]) for case in wanted if case.name in ledger.cases)
    with get_context("spawn").Pool(jobs) as pool:
        chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
        for chunk in pool.imap_unordered(_asked, chunks):
            for name, answer in chunk:
                yield name, ledger.run(name, lambda answer=answer: answer)


def _asked(chunk: Sequence[Case]) -> list[tuple[str, Answer]]:
    return [(case.name, _safely(case)) for case in chunk]


def _safely(case: Case) -> Answer:
    try:
        return ask(case)
    except Exception as error:  # an answer too, and one that differs
        return {"decision": "error", "diagnosis": "", "reasons": [f"{type(error).__name__}: {error}"]}


def record(found: Mapping[str, Answer]) -> None:
    """Write the golden file, in the order of the cases."""
    head = {"commit": _git("rev-parse", "HEAD"), "made by": "python -m tests.sample --record", "cases": len(found)}
    lines = [head, *({"case": case.name, **found[case.name]} for case in cases())]
    GOLDEN.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _git(*words: str) -> str:
    """Of the checkout that the library is imported from."""
    place = Path(selfheal.__file__).parent
    return subprocess.run(["git", "-C", place, *words], check=True, capture_output=True, text=True).stdout.strip()


def main(about: str, words: Sequence[str] | None = None) -> int:
    """Replay or record; 0 as before, 1 with differences, 2 where recording is refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.sample", description=about)
    parser.add_argument("words", nargs="*", help="parts of the names of cases; all without")
    parser.add_argument("--exact", action="store_true", help="numbers in reasons must be equal, not only near")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--record", action="store_true", help="write board.jsonl anew; refused on a dirty tree")
    said = parser.parse_args(words)
    if said.record and (said.words or _git("status", "--porcelain")):
        print("refused: recorded are all cases, and from a clean working tree; commit or stash what `git status` shows")
        return 2
    wanted = [case for case in cases() if not said.words or any(word in case.name for word in said.words)]
    if said.record:
        record(dict(answered(wanted, said.jobs)))
        print(f"{len(wanted)} answers in {GOLDEN.relative_to(ROOT)}")
        return 0
    return _compared(wanted, said)


def _compared(wanted: Sequence[Case], said: Any) -> int:
    was, report = recorded(), Report(exceptions())
    for name, answer in answered(wanted, said.jobs):
        report.take(name, was.get(name), answer, said.exact)
        if name in report.differ:
            print(f"differs: {name}", *(f"    {line}" for line in report.differ[name]), sep="\n", flush=True)
    for name, why in report.listed.items():
        print(f"listed: {name}: {why}")
    gone = [] if said.words else [f"in board.jsonl only: {name}" for name in was.keys() - {c.name for c in wanted}]
    stale = [] if said.words else [f"exceptions.yaml: nothing differs any more: {entry}" for entry in report.stale]
    print(*gone, *stale, sep="\n", end="\n" if gone or stale else "")
    print(
        f"{len(wanted)} cases: {len(report.differ)} differ, {len(report.listed)} more as listed; the others as before"
    )
    return 1 if report.differ or gone or stale else 0
