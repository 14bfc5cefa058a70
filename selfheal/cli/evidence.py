"""Commands for whoever must be shown: evidence, verify."""

from __future__ import annotations

import os
from pathlib import Path

import click

from selfheal.cli.output import Example, json_option, progress, writable, write_json
from selfheal.errors import InputError, printable


@click.command(
    cls=Example, short_help="One file that shows why a version was released.", epilog="selfheal evidence fraud 3"
)
@click.argument("name")
@click.argument("version", type=int)
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), callback=writable,
              metavar="FILE", help="Where to; by default NAME-vVERSION-evidence.zip here.")  # fmt: skip
@click.option("--no-rows", is_flag=True, help="Leave out rows of the log; the heal can't be replayed then.")
@json_option
@click.pass_context
def evidence(
    ctx: click.Context, name: str, version: int, out: Path | None, no_rows: bool, json_file: Path | None
) -> None:
    """Write one file that shows why a version was released: what it is, on what it was made, and who allowed it.

    It holds the policy and its rules, the adapter, the gate, the window and its rows, approvals, and the journal, each
    entry hashed over the one before. selfheal verify finds whatever was changed in it. Exit status 1 when the journal
    is not the one that MLflow was told of.
    """
    from selfheal import evidence as room
    from selfheal import steering

    with progress(f"putting together what there is of {name} version {version}"):
        packed = room.pack(steering.open_workspace(), name, version, rows=not no_rows)
    file = out or Path(f"{name}-v{version}-evidence.zip")
    part = file.with_name(file.name + ".part")
    part.write_bytes(packed.data)
    os.replace(part, file)
    click.echo(f"{file}: {len(packed.members)} files, {len(packed.data) / 1e3:.0f} kB")
    for text in packed.missing:
        click.echo(f"  without {text}")
    for text in packed.faults:
        click.echo(f"  ! {text}")
    contents = {"members": packed.members, "missing": packed.missing, "faults": packed.faults}
    write_json(json_file, {"model": name, "version": version, "file": str(file), **contents})
    if packed.faults:
        ctx.exit(1)


@click.command(
    cls=Example, short_help="Whether a file of evidence is whole.", epilog="selfheal verify fraud-v3-evidence.zip"
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def verify(ctx: click.Context, file: Path, json_file: Path | None) -> None:
    """Find any changed byte in a file of evidence, then heal again what it shows.

    The heal is replayed where its rows are in the file and its base is to be had: from SELFHEAL_HOME, or from MLflow.
    Exit status 1 when anything was changed, or healing again gives something else.
    """
    from selfheal import evidence as room
    from selfheal import steering

    try:
        with progress(f"verifying {file.name}"):
            verdict = room.verify(steering.open_workspace(), file.read_bytes())
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    lines = [
        f"{file.name}: {verdict.model} version {verdict.version}, put together {verdict.made[:19]} UTC",
        f"  journal   {verdict.entries} entries, head {verdict.head}",
        *(f"  ! {text}" for text in verdict.faults),
        *([] if verdict.replay is None else [f"  heal      {verdict.replay.verdict}: {verdict.replay.words}"]),
        "  it is as it was sealed" if verdict.good else "  do not rely on it",
    ]
    for text in lines:
        click.echo(printable(text, 300))
    write_json(json_file, {**vars(verdict), "good": verdict.good})
    if not verdict.good:
        ctx.exit(1)
