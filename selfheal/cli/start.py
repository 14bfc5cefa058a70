"""The commands before a model is adopted: write the first policy and factory from rows, and check what they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfheal.cli.output import Example, json_option, progress, write_json
from selfheal.errors import InputError, RefusedError

if TYPE_CHECKING:
    import pandas as pd


@click.command(
    cls=Example,
    short_help="Write a first policy and factory from your rows.",
    epilog="selfheal init fraud --reference held_out.parquet --target is_fraud",
)
@click.argument("name")
@click.option(
    "--reference", "rows", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Labelled rows that the model was not trained on, in time order: Parquet or CSV.",
)  # fmt: skip
@click.option("--target", required=True, metavar="COLUMN", help="The column of the label.")
@click.option("--force", is_flag=True, help="Write over a policy and a factory that are there.")
@json_option
def init(name: str, rows: Path, target: str, force: bool, json_file: Path | None) -> None:
    """Look at labelled rows, and write rules/NAME.yaml with what they say and NAME_model.py, a factory to fill in.

    What a person has to decide stands in the policy as comments. Nothing that is there is written over without --force.
    """
    from selfheal.cli.factory import factory_of
    from selfheal.drill import sketch
    from selfheal.drill.recognised import recognise
    from selfheal.policy import Policy, check_name
    from selfheal.settings import Settings

    policy, factory = Settings.from_env().rules / f"{check_name(name)}.yaml", Path(factory_of(name).partition(":")[0])
    if policy.exists() and not force:
        raise RefusedError(f"{_shown(policy)} is there and stays; change it, or write it anew with --force")
    with progress(f"looking at {rows}"):
        seen = recognise(read(rows), target)
    text = sketch.policy_text(name, seen, rows.name)
    Policy.loads(text).check(seen.features, list(seen.classes))
    made = {policy: text}
    if force or not factory.exists():
        made[factory] = sketch.factory_text(name, seen, str(rows), _shown(policy))
    for path, content in made.items():
        _write(path, content)
    for column in seen.columns:
        if column.unfit:
            click.echo(f"leave out {column.name!r}: {column.unfit}")
    for line in sketch.next_steps(name, str(factory), [_shown(path) for path in made]):
        click.echo(line)
    write_json(json_file, seen)


@click.command(
    cls=Example,
    short_help="Try a model before it is adopted.",
    epilog="selfheal check fraud --factory fraud_model.py:build",
)
@click.argument("name")
@click.option(
    "--factory", metavar="MODULE_OR_FILE:FACTORY", help="What builds the model; by default NAME_model.py:build."
)
@json_option
@click.pass_context
def check(ctx: click.Context, name: str, factory: str | None, json_file: Path | None) -> None:
    """Try a model before it is adopted: nothing is registered.

    What adopt would refuse is refused. Then ten healthy windows are watched, and every fault that the columns allow is
    injected into held-back rows: what will be healed, what is asked and what is not. Exit status 1 when patience would
    confirm an alarm on healthy windows, something is claimed of a window that nothing was done to, or a heal harmed.
    """
    from selfheal.cli.factory import built
    from selfheal.drill import check as drill
    from selfheal.policy import check_name
    from selfheal.registry.adoption import rehearse

    model = built(check_name(name), factory)
    with progress("storing it, and opening it again"):
        rehearse(name, model)
    with progress("watching healthy windows, then breaking some"):
        result = drill.check(model)
    for line in drill.lines(name, result):
        click.echo(line)
    if result.fit:
        click.echo(f"  now       selfheal adopt {name}{f' {factory}' if factory else ''}")
    write_json(json_file, result)
    if not result.fit:
        ctx.exit(1)


def read(rows: Path) -> pd.DataFrame:
    """Labelled rows of a Parquet or CSV file.

    Raises
    ------
    InputError
        It is neither, or cannot be read.
    """
    import pandas as pd

    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".parquet": pd.read_parquet,
        ".pq": pd.read_parquet,
        ".csv": pd.read_csv,
    }
    reader = readers.get(rows.suffix.lower())
    if reader is None:
        raise InputError(f"{rows} ends in {rows.suffix!r}; give the rows as .parquet or .csv: frame.to_parquet(...)")
    try:
        frame = reader(rows)
    except (OSError, ValueError) as error:
        raise InputError(f"{rows} cannot be read ({error}); is it whole, and what its ending says?") from error
    if frame.empty:
        raise InputError(f"{rows} holds no rows; some thousand labelled ones are wanted")
    return frame


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); may this user write there?") from error


def _shown(path: Path) -> str:
    """A path as it is called from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
