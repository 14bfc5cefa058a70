"""The command whose page is shown to others: report."""

from __future__ import annotations

from pathlib import Path

import click

from selfheal.cli.output import Example, progress, whole, writable


@click.command(
    cls=Example, short_help="A model's story as one HTML page.", epilog="selfheal report fraud --out fraud.html"
)
@click.argument("name")
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), callback=writable,
              metavar="FILE", help="Where to; by default NAME-report.html here.")  # fmt: skip
def report(name: str, out: Path | None) -> None:
    """Write a model's story as one HTML page that needs no network: what served, what broke, what was done about it.

    It draws the versions, both signals against their bounds, accuracy as estimated and as labels say, and each heal
    with its columns before and after; and it tells what labels said of the decisions, what waits, and who did what.
    """
    from selfheal import report as room
    from selfheal import steering

    with progress(f"putting together the story of {name}"):
        text = room.written(room.tell(steering.open_workspace(), name))
    file = out or Path(f"{name}-report.html")
    whole(file, text)
    click.echo(f"{file}: {len(text) / 1e6:.1f} MB; it opens in any browser")
