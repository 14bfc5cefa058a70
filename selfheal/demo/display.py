"""How the demo looks: live progress on a terminal, plain lines elsewhere, a table and the way on at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from selfheal.demo.results import Accuracy, ActResult, Report

_GOOD, _BAD, _LOUD, _QUIET = "green", "red", "yellow", "dim"
#: Columns where there is no terminal to ask.
_PLAIN_WIDTH = 100


class Display:
    """Tells the story while it happens.

    Parameters
    ----------
    console
        Where to; by default standard output. A console that is no terminal gets plain lines.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if console is None and not self.console.is_terminal:
            self.console.width = _PLAIN_WIDTH
        self._began = time.monotonic()

    def title(self) -> None:
        """The first lines: what will happen."""
        self.console.print()
        self.console.print("[bold]selfheal demo[/]: two frozen models meet seven kinds of days")
        self.console.print(
            "Real traffic over HTTP, a real log, real flows, a real registry; no labels reach the loop.", style=_QUIET
        )
        self.console.print()

    def say(self, words: str) -> None:
        """Show ``words`` as a line."""
        self.console.print(f"{self._clock()}  {escape(words)}", style=_QUIET)

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """Show ``words`` while the block runs: a spinner on a terminal, a line elsewhere."""
        if not self.console.is_terminal:
            self.console.print(f"{self._clock()}  {escape(words)}")
            yield
            return
        with self.console.status(f"[{_QUIET}]{escape(words)}[/]", spinner="dots"):
            yield

    def act(self, number: int, name: str, story: str) -> None:
        """An act begins."""
        self.console.print(f"[bold]{number} · {escape(name)}[/]  [{_QUIET}]{escape(story)}[/]")

    def done(self, act: ActResult) -> None:
        """An act is over: its outcome in two lines, and what went wrong in red."""
        mark = f"[{_BAD}]✗[/]" if act.missing else f"[{_GOOD}]✓[/]"
        changed = "" if act.changed_part == "none" else f", {act.changed_part}"
        verdict = f"{act.diagnosis} → [bold]{act.decision}[/]{changed}, version {act.production_version} serves"
        self.console.print(f"  {mark} {verdict}  [{_QUIET}]{act.seconds:.1f} s[/]")
        for reason in act.reasons[:3]:
            self._indented(reason, _QUIET)
        for alert in act.alerts:
            self._indented(f"ALERT {alert}", f"bold {_LOUD}")
        for words in act.missing:
            self._indented(words, _BAD)

    def summary(self, report: Report, home: Path) -> None:
        """The table, the traffic, and how to look further."""
        self.console.print()
        self.console.print(table(report, self.console.width))
        self.console.print(
            "accuracy on rows that no heal has seen: clean (no fault) → broken (no healing) → after (as served) | "
            "constant (the more frequent class)",
            style=_QUIET,
        )
        requests = report.requests
        self.console.print(
            f"\n{requests.sent} requests, {requests.failed} failed, {requests.mixed_versions} mixed versions; "
            f"{report.seconds:.0f} s"
        )
        for line in report.missing:
            self.console.print(f"✗ {escape(line)}", style=_BAD, overflow="fold")
        self.console.print("\nSee it in MLflow (versions, stages, lineage, heal runs) and Prefect (flow runs):")
        self.console.print(f"  SELFHEAL_HOME={_short(home)} selfheal ui", style="bold", soft_wrap=True)

    def _indented(self, words: str, style: str) -> None:
        self.console.print(Padding(Text(words, style=style, overflow="fold"), (0, 0, 0, 6)))

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"


def table(report: Report, width: int = 120) -> Table:
    """One row an act; below 110 columns diagnosis, decision and changed part share a column."""
    wide = width >= 110
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    verdict = ("diagnosis", "decision", "changed part") if wide else ("diagnosis: decision",)
    for heading in ("act", "signals", *verdict):
        shown.add_column(heading, style="bold" if heading == "act" else "")
    shown.add_column("accuracy", no_wrap=True)
    shown.add_column("version" if wide else "v", justify="right", no_wrap=True)
    shown.add_column("s", justify="right", no_wrap=True)
    for act in report.acts:
        shown.add_row(
            f"{act.name} [{_QUIET}]({act.model})[/]",
            ", ".join(act.signals) or "none",
            *_verdict(act, wide),
            accuracy(act.accuracy),
            str(act.production_version),
            f"{act.seconds:.0f}",
        )
    return shown


def _verdict(act: ActResult, wide: bool) -> list[str]:
    colour = _BAD if act.missing else _GOOD
    decision = f"[{colour}]{escape(act.decision)}[/]"
    if wide:
        return [act.diagnosis, decision, act.changed_part]
    changed = "" if act.changed_part == "none" else f"\n{act.changed_part}"
    return [f"{act.diagnosis}: {decision}{changed}"]


def accuracy(shares: Accuracy) -> str:
    """Four shares in twenty characters.

    >>> accuracy(Accuracy(clean=0.8, broken=0.69, after=0.795, constant=0.69))
    '.80 → .69 → .80 | .69'
    """
    clean, broken, after, constant = (
        _share(value) for value in (shares.clean, shares.broken, shares.after, shares.constant)
    )
    return f"{clean} → {broken} → {after} | {constant}"


def _share(value: float) -> str:
    return "1.0" if value >= 0.995 else f"{value:.2f}"[1:]


def _short(path: Path) -> str:
    """The path from here where that is shorter to type."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
