"""The command that runs the scoreboard, or a fire drill on an adopted model."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfheal.cli.output import Example, json_option, progress, write_json

if TYPE_CHECKING:
    from selfheal.board.course import Board, Options


class Seeds(click.ParamType[tuple[int, ...]]):
    """``600-604``, ``7``, or ``1,2,9``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read the text."""
        if not isinstance(value, str):
            return tuple(value)
        seeds: list[int] = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
            if not match or int(match[2] or match[1]) < int(match[1]):
                self.fail(f"{part!r} is no seed; write 600-604, or 1,2,9", param, ctx)
            seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
        return tuple(dict.fromkeys(seeds))


@click.command(
    cls=Example,
    short_help="Score the healer, or an adopted model, on known drifts.",
    epilog="selfheal drill --quick --html board.html",
)
@click.argument("model", required=False)
@click.option("--seeds", type=Seeds(), default="600-604", show_default=True, help="Of the worlds that are drawn.")
@click.option("--scenario", "words", multiple=True, metavar="WORD", help="Only those with WORD in their name.")
@click.option(
    "--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of data sets."
)
@click.option(
    "--tables", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of which every Parquet file is a stream; nothing else is asked.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="One seed, few random drifts, one onset a stream.")
@click.option("--literature", is_flag=True, help="Score rivals and estimators of the literature too.")
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build/drill.jsonl"),
    show_default=True,
    help="Rows so far, from which it resumes.",
)
@click.option("--html", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write a page to FILE.")
@json_option
@click.pass_context
def drill(
    ctx: click.Context, model: str | None, seeds: tuple[int, ...], words: tuple[str, ...], data: tuple[Path, ...],
    tables: tuple[Path, ...], quick: bool, literature: bool, ledger: Path, html: Path | None, json_file: Path | None,
) -> None:  # fmt: skip
    """Run scenarios with known truth and print the scoreboard; with MODEL, a fire drill on an adopted model.

    The fire drill breaks held-back rows of the model's own reference; nothing that serves is touched. Exit status 1
    when a promotion was harmful.
    """
    from selfheal.board.course import Options

    options = Options(seeds, words, data, tables, quick, ledger, literature)
    board = _run(model, options)
    write_json(json_file, board.to_json())
    if html is not None:
        from selfheal.board.page import page

        title = f"Fire drill: {model}" if model else "The drill"
        html.write_text(page(board.rows, board.summary, board.triggers, title), encoding="utf-8")
    _show(board)
    if board.summary["harmful"] > board.summary["unlucky"]:
        ctx.exit(1)


def _run(model: str | None, options: Options) -> Board:
    if model is None:
        from selfheal.board.course import run

        with _telling() as say:
            return run(options, say)
    import selfheal
    from selfheal.drill.course import fire_drill

    with progress(f"loading {model}"):
        loaded = selfheal.load(model)
    with _telling() as say:
        return fire_drill(loaded, options, say)


def _show(board: Board) -> None:
    from selfheal.board.table import lines

    for line in lines(board.rows, board.summary, board.triggers):
        click.echo(line)


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """One live line on a terminal, plain lines elsewhere; on standard error."""
    if not sys.stderr.isatty():
        yield lambda text: click.echo(text, err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("building the first world") as status:
        yield lambda text: status.update(text)
