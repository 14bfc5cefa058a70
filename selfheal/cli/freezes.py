"""Commands that stop the loop from changing what serves, and let it go on: freeze, unfreeze, trust."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfheal.cli.loop import Instant
from selfheal.cli.output import Example, as_option, json_option, progress, write_json
from selfheal.errors import InputError, SelfhealError

if TYPE_CHECKING:
    from selfheal.steering import Frozen, Workspace


@click.command(
    cls=Example,
    short_help="Stop the loop from changing what serves.",
    epilog='selfheal freeze fraud --why "payments incident" --as ada',
)
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every adopted model.")
@click.option("--why", required=True, metavar="TEXT", help="The reason, for whoever comes next.")
@click.option("--until", type=Instant(), help="When it ends by itself, by the database's clock; else with unfreeze.")
@as_option("Who says so")
@json_option
@click.pass_context
def freeze(
    ctx: click.Context,
    name: str | None,
    everything: bool,
    why: str,
    until: datetime | None,
    actor: str,
    json_file: Path | None,
) -> None:
    """Stop the loop: from now on it promotes, recalls and rolls back nothing, whatever answers and labels say.

    What was begun is finished first. Scoring, windows, reports and heals go on; what would be released waits. People
    still promote and roll back. Exit status 1 when something that was begun could not be finished: it is frozen all
    the same.
    """
    from selfheal import steering

    ws = steering.open_workspace()
    with progress("freezing"):
        done, failed = _each(_named(ws, name, everything), lambda n: steering.freeze(ws, n, actor, why, until))
    for each in done.values():
        click.echo(_frozen(each))
    write_json(json_file, {"frozen": done, "failed": failed})
    if _complaints(failed) or any(each.unfinished for each in done.values()):
        ctx.exit(1)


@click.command(cls=Example, short_help="Let the loop go on.", epilog="selfheal unfreeze fraud --as ada")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every adopted model.")
@as_option("Who says so")
@json_option
@click.pass_context
def unfreeze(ctx: click.Context, name: str | None, everything: bool, actor: str, json_file: Path | None) -> None:
    """Let the loop go on. What waited is released by its next run, if it was compared with what serves then."""
    from selfheal import steering

    ws = steering.open_workspace()
    done, failed = _each(_named(ws, name, everything), lambda n: steering.unfreeze(ws, n, actor))
    for each, before in done.items():
        click.echo(f"{each}: was not frozen" if before is None else f"{each}: the loop goes on; it was frozen {before}")
    write_json(json_file, {"ended": done, "failed": failed})
    if _complaints(failed):
        ctx.exit(1)


@click.command(
    cls=Example,
    short_help="Let the loop release its heals again.",
    epilog='selfheal trust fraud --why "the declared unit was wrong, corrected" --as ada',
)
@click.argument("name")
@click.option("--why", required=True, metavar="TEXT", help="The reason, for whoever comes next.")
@as_option("Who says so")
@json_option
def trust(name: str, why: str, actor: str, json_file: Path | None) -> None:
    """Trust the loop again, once more of its heals had harmed than `heal.false_heals` allows and each of them waited.

    What was judged before does not count any more. What waits goes on waiting for its answers; the next heal is
    released as the policy says.
    """
    from selfheal import steering

    before = steering.trust(steering.open_workspace(), name, actor, why)
    click.echo(f"{name}: heals are released again; they waited because {before}" if before else f"{name}: was trusted")
    write_json(json_file, {"model": name, "before": before})


def _named(ws: Workspace, name: str | None, everything: bool) -> list[str]:
    """The models that a command is about."""
    if everything == (name is not None):
        raise InputError("name one model, or give --all for every adopted one")
    names = ws.table.models() if name is None else [ws.table.schema(name).model]
    if not names:
        raise InputError(f"nothing is adopted in {ws.settings.home}, so there is nothing to freeze")
    return names


def _each(names: list[str], act: Callable[[str], Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Do it for each model; what fails for one keeps no other from it."""
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            done[name] = act(name)
        except InputError:
            raise  # of what was given: the same for all
        except SelfhealError as error:
            failed[name] = str(error)
    return done, failed


def _complaints(failed: dict[str, str]) -> bool:
    for name, why in failed.items():
        click.echo(f"error: {name}: {why}", err=True)
    return bool(failed)


def _frozen(done: Frozen) -> str:
    serves = "" if done.version is None else f"; version {done.version} serves"
    lines = [
        f"{done.name}: frozen {done.freeze}{serves}" if done.freeze else f"{done.name}: the freeze is over already"
    ]
    if done.before is not None:
        lines.append(f"  it took the place of the freeze {done.before}")
    if done.unfinished:
        lines.append(f"  ! what was begun before could not be finished: {done.unfinished}")
    return "\n".join(lines)
