"""How commands answer: progress on a terminal, plain lines elsewhere, a JSON file where it is asked for."""

from __future__ import annotations

import getpass
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

ACTOR = "command line"
"""Who the journal says it was."""


class Example(click.Command):
    """A command whose epilog is an example to copy."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write it as it is; click would fold the lines."""
        if self.epilog:
            with formatter.section("Example"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text from traffic that begins so would be a formula to a spreadsheet: it gets an apostrophe."""


def cell(value: Any) -> Any:
    """A value as a cell of a CSV file."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def writable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a path that can't be written before any work is done."""
    if value is not None and not value.parent.is_dir():
        raise click.BadParameter(f"directory {str(value.parent)!r} does not exist; create it first", ctx, param)
    return value


def json_option(command: Command) -> Command:
    """``--json FILE``."""
    kind = click.Path(dir_okay=False, writable=True, path_type=Path)
    return click.option("--json", "json_file", type=kind, callback=writable, help="Write the result to FILE.")(command)


def as_option(who: str) -> Callable[[Command], Command]:
    """``--as NAME``, by default who is logged in: what is journaled under a name."""
    return click.option("--as", "actor", default=_user, metavar="NAME", help=f"{who}; by default who is logged in.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user of that number
        return "nobody"


def write_json(file: Path | None, result: Any) -> None:
    """Write ``result`` whole or not at all; nothing without a file."""
    if file is None:
        return
    whole(file, json.dumps(as_json(result), indent=2, ensure_ascii=False) + "\n")


def whole(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)


def as_json(value: Any) -> Any:
    """Records, frames, times and numpy's numbers in JSON's own types; what is not finite becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if hasattr(value, "to_dict"):
        return as_json(value.to_dict(orient="records"))
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    if isinstance(value, set | frozenset):
        return as_json(sorted(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


@contextmanager
def progress(words: str) -> Iterator[None]:
    """A spinner on a terminal, a line elsewhere; on standard error, so that results can be piped."""
    if not sys.stderr.isatty():
        click.echo(words, err=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield


LINE_S = 5.0
"""Between two lines about how far something is, where there is no terminal."""


@contextmanager
def counted(words: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Gives what is told how many are done, and of how many: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        click.echo(words, err=True)
        due = time.monotonic() + LINE_S

        def tell(done: int, total: int | None) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + LINE_S
                click.echo(f"{done:,}{f' of {total:,}' if total else ''} {unit}", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
