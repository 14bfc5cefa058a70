"""Run the benchmarks, each beside a peer in the same run: ``python -m tests.bench [PART OF A NAME]``.

A module ``bench_<area>.py`` here with ``run() -> list[dict]`` is a benchmark; it joins by existing. A result has
``name``, ``value`` and ``unit``, and, where there is one, ``peer`` (what it is measured against), ``peer_value`` and
``goal``: ``("min" | "max", bound)`` for the ratio value / peer_value, or for the value where there is no peer. What
is written to build/bench.json is ``[{name, value, unit, peer, peer_value, ratio, goal, met}]``.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "build" / "bench.json"


def judged(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with its ratio to the peer and whether the goal is met (None where no goal is set)."""
    value, peer_value = result["value"], result.get("peer_value")
    ratio = value / peer_value if peer_value else None
    goal, met = result.get("goal"), None
    if goal is not None:
        side, bound = goal
        measured = value if ratio is None else ratio
        met = bool(measured >= bound if side == "min" else measured <= bound)
        goal = f"{'>=' if side == 'min' else '<='} {bound:g}{'' if ratio is None else '× peer'}"
    return {
        "name": result["name"],
        "value": value,
        "unit": result["unit"],
        "peer": result.get("peer"),
        "peer_value": peer_value,
        "ratio": ratio,
        "goal": goal,
        "met": met,
    }


def modules(part: str = "") -> list[str]:
    """Names of the benchmark modules that contain ``part``."""
    return [path.stem for path in sorted(HERE.glob("bench_*.py")) if part in path.stem]


def measure(names: list[str], console: Console) -> Iterator[dict[str, Any]]:
    """Run each benchmark in turn, in this process."""
    for name in names:
        began = time.perf_counter()
        yield from map(judged, importlib.import_module(f"tests.bench.{name}").run())
        console.print(f"{name}: {time.perf_counter() - began:.1f} s", style="dim")


def table(results: list[dict[str, Any]]) -> Table:
    """The results for reading."""
    shown = Table("benchmark", "value", "unit", "peer", "its value", "ratio", "goal", "met", title="bench")
    for r in results:
        numbers = ["" if r[k] is None else f"{r[k]:.4g}" for k in ("value", "peer_value", "ratio")]
        met = "" if r["met"] is None else ("yes" if r["met"] else "[bold red]no[/]")
        shown.add_row(r["name"], numbers[0], r["unit"], r["peer"] or "", numbers[1], numbers[2], r["goal"] or "", met)
    return shown


def main(part: str = "") -> int:
    """Run, print, write; 1 if a goal is missed, 2 if nothing is named so."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    names = modules(part)
    if not names:
        console.print(f"no benchmark is named like {part!r}; there are: {', '.join(modules()) or 'none'}")
        return 2
    results = list(measure(names, console))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")
    console.print(table(results))
    console.print(f"written to {OUT.relative_to(OUT.parent.parent)}")
    return int(any(r["met"] is False for r in results))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
