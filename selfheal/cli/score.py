"""``selfheal score``: a file of rows, scored by what serves."""

from __future__ import annotations

from pathlib import Path

import click

from selfheal.cli.output import Example, counted, json_option, progress, write_json


@click.command(
    cls=Example, short_help="Score a file of rows.", epilog="selfheal score fraud rows.parquet scored.parquet"
)
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--version", type=int, metavar="V", help="This version; by default the one that serves.")
@click.option("--force", is_flag=True, help="Replace TARGET where it is there.")
@json_option
def score(name: str, source: Path, target: Path, version: int | None, force: bool, json_file: Path | None) -> None:
    """Score SOURCE (Parquet, CSV or JSON lines) into TARGET, of the same format, by the version that serves.

    TARGET has the columns of SOURCE, the probability p_<class> of each class, and model_version. It appears whole or
    not at all. Nothing is logged; a policy whose log names TARGET's folder reads it.
    """
    from selfheal import steering
    from selfheal.following.batch import score_file
    from selfheal.steering.models import load_version, serving_model

    ws = steering.open_workspace()
    try:
        with progress(f"loading {name}"):
            if version is None:
                model, version = serving_model(ws, name)
            else:
                model = load_version(ws, name, version)
        with counted(f"scoring {source.name} with {name} version {version}", "rows") as tell:
            done = score_file(model, version, source, target, force=force, tell=tell)
    finally:
        ws.table.close()
    click.echo(f"{done.rows:,} rows scored by {name} version {version}: {target}")
    write_json(json_file, done)
