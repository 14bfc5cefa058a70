"""The command that tells what was done to a model: history."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfheal.cli.output import Example, as_json, cell, json_option, whole, writable, write_json
from selfheal.errors import printable

if TYPE_CHECKING:
    from selfheal.loop.events import Event

COLUMNS = (18, 16, 20, 8)
"""Characters of when, who, what and which version; the reason gets the rest of the line."""

READ = 20
"""Entries that are read for each line: most say what nobody did."""

WIDE = 600
"""Characters of a line where nobody's screen cuts it."""


@click.command(
    cls=Example, short_help="Who did what, when and why.", epilog="selfheal history fraud --csv fraud-history.csv"
)
@click.argument("name")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Show so many; by default what fits the screen.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), callback=writable,
              metavar="FILE", help="Write all of it to FILE as CSV.")  # fmt: skip
@json_option
def history(name: str, last: int | None, csv_file: Path | None, json_file: Path | None) -> None:
    """Show who did what to a model, when and why, newest first: by the loop, by people, in MLflow or by command.

    The screen leaves out what nobody did: alerts, windows that raised, how a log stands. The files have everything,
    with the window and the MLflow run of each version, and each entry's place in the journal's chain.
    """
    from selfheal import loop, steering

    ws = steering.open_workspace()
    width, height = shutil.get_terminal_size((120, 24))
    most, files = last or max(10, height - 4), bool(csv_file or json_file)
    events = loop.history(ws, name, last=None if files else READ * most, mlflow=files)
    if not sys.stdout.isatty():
        width = WIDE
    for line in lines(events, datetime.now(UTC), most, width):
        click.echo(line)
    write_json(json_file, {"model": name, "events": [event.record() for event in events]})
    if csv_file is not None:
        whole(csv_file, as_csv(events))


def lines(events: Sequence[Event], now: datetime, last: int, width: int) -> list[str]:
    """The newest acts, a line each."""
    from selfheal.loop.events import shown

    rows = shown(events, now, last, lambda text: printable(" ".join(text.split()), 500))
    left = max(20, width - sum(COLUMNS) - len(COLUMNS))
    cut = [*COLUMNS, left]
    table = [("when (UTC)", "who", "what", "version", "why"), *rows]
    acts = [
        " ".join(_cut(text, size).ljust(size) for text, size in zip(row, cut, strict=True)).rstrip() for row in table
    ]
    more = sum(event.act for event in events) > len(rows)
    return [*acts, f"the newest {len(rows)}; --last N shows more"] if more else acts


def as_csv(events: Sequence[Event]) -> str:
    """All events as CSV; a text that a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    records = [as_json(event.record()) for event in events]
    names = list(records[0]) if records else ["at", "who", "what"]
    writer.writerow(names)
    writer.writerows([cell(record[name]) for name in names] for record in records)
    return out.getvalue()


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"
