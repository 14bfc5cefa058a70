"""Commands that run a part of the loop by hand: monitor, heal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfheal.cli.output import ACTOR, Example, json_option, progress, write_json
from selfheal.errors import InputError

if TYPE_CHECKING:
    from selfheal.steering import Workspace


class Instant(click.ParamType[datetime]):
    """An ISO 8601 time; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the text."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-05-01 or 2026-05-01T12:00:00+00:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command(
    cls=Example, short_help="Handle every closed window once.", epilog="selfheal monitor fraud --until 2026-05-01T12:00"
)
@click.argument("name")
@click.option("--until", type=Instant(), help="Handle windows that closed before this time; by default now.")
@click.option("--clear", type=click.IntRange(0), metavar="K", multiple=True,
              help="First count window K as healthy, on your word: what it shows is natural here.")  # fmt: skip
@click.option("--dry", is_flag=True, help="Say what it would do, and change nothing.")
@json_option
@click.pass_context
def monitor(
    ctx: click.Context, name: str, until: datetime | None, clear: tuple[int, ...], dry: bool, json_file: Path | None
) -> None:
    """Handle every closed window once: report, signals, decision, and a heal where it is asked for.

    With PREFECT_API_URL it runs as a flow on that server, otherwise in this process. Exit status 1 while
    somebody must look at the model, as selfheal status says it, whether or not a window closed in this run.
    """
    from flows.wording import line
    from selfheal import steering

    moment = until or steering.open_workspace().now()
    if dry:
        _dry(ctx, name, moment, clear, json_file)
        return
    _clear(name, clear)
    with progress(f"looking at the windows of {name} that closed before {moment:%Y-%m-%d %H:%M %Z}"):
        records = _monitored(name, moment)
    for record in records:
        click.echo(line(name, record))
    if not records:
        click.echo(f"{name}: no window closed since the last look; {_awaited(name)}")
    write_json(json_file, {"model": name, "until": moment, "cycles": records})
    if _unwell(steering.open_workspace(), name):
        ctx.exit(1)


@click.command(cls=Example, short_help="Try to heal a window now.", epilog="selfheal heal fraud --window 12")
@click.argument("name")
@click.option("--window", type=click.IntRange(0), metavar="K", help="Its index; by default the newest closed one.")
@json_option
@click.pass_context
def heal(ctx: click.Context, name: str, window: int | None, json_file: Path | None) -> None:
    """Try to heal a window now, without waiting for an alarm. The gate decides as always.

    Exit status 1 when it refused, or the heal failed.
    """
    from flows.wording import heal_message, heal_state

    with progress(f"healing {name}"):
        index, record = _healed(name, window)
    click.echo(f"{name} window {index}: {heal_message(record)}")
    for reason in record["reasons"]:
        click.echo(f"  {reason}")
    write_json(json_file, {"model": name, **record})
    if heal_state(record) in ("Refused", "Heal failed", "Data fault"):
        ctx.exit(1)


def _dry(ctx: click.Context, name: str, until: datetime, clear: tuple[int, ...], json_file: Path | None) -> None:
    """Say what a run would do; in this process, for a flow leaves its own traces."""
    from flows.wording import healthy, line
    from selfheal import loop, steering

    if clear:
        raise InputError("--dry changes nothing and --clear does; give one of them")
    with progress(f"{name}: looking at what a run would do, without doing it"):
        ws = steering.open_workspace()
        steps = loop.foresee(ws, name, until)
    for each in steps:
        if each.index is not None:
            click.echo(line(name, each.record))
        for text in each.would:
            click.echo(f"  would {text}")
    windows = [each.record for each in steps if each.index is not None]
    if not windows:
        click.echo(f"{name}: no window to look at")
    if not any(each.would for each in steps):
        click.echo(f"{name}: nothing that serves or waits would change")
    write_json(json_file, {"model": name, "until": until, "dry": True, "foreseen": steps})
    said = [record for record in windows if record["decision"] != "too_few"]
    with loop.rehearsed(ws) as dry:
        if not healthy(said[-1]) if said else _unwell(dry, name):
            ctx.exit(1)


def _unwell(ws: Workspace, name: str) -> bool:
    """Whether somebody must look, as ``status`` says it: how the model stands, not what this run found."""
    from selfheal import loop

    return not loop.status(ws, name, last=1)["healthy"]


def _clear(name: str, windows: tuple[int, ...]) -> None:
    from selfheal import loop, steering

    for index in windows:
        loop.clear(steering.open_workspace(), name, index, ACTOR, "a person knows what it shows as natural")
        click.echo(f"{name} window {index}: counts as healthy, on your word")


def _monitored(name: str, until: datetime) -> list[dict[str, Any]]:
    """The windows' records, by a flow where there is a Prefect server."""
    from selfheal.settings import Settings

    if Settings.from_env().prefect_api_url:
        from flows.monitor import monitor as flow
        from flows.runs import called, in_process

        with in_process():
            return called(flow, name, until)
    from selfheal import loop, steering

    cycles = loop.monitor(steering.open_workspace(), name, until)
    return [{**cycle.record, "index": cycle.ref.index} for cycle in cycles]


def _awaited(name: str) -> str:
    """When the next window closes, in words."""
    from selfheal import steering
    from selfheal.policy.values import format_duration
    from selfheal.steering.policies import policy_of_record

    monitor = policy_of_record(steering.open_workspace(), name).policy.monitor
    ends = f"{monitor.window} after it begins" if monitor.window.rows is None else f"with its {monitor.window}"
    return f"one closes {ends}, and is handled {format_duration(monitor.lateness)} later (lateness)"


def _healed(name: str, window: int | None) -> tuple[int, dict[str, Any]]:
    """The window's index and the record of its heal."""
    from selfheal import loop, steering

    ws = steering.open_workspace()
    index = _newest(ws, name) if window is None else window
    if ws.settings.prefect_api_url:
        from flows.monitor import heal as flow
        from flows.runs import called, in_process

        with in_process():
            return index, called(flow, name, index).to_json()
    return index, loop.heal_window(ws, name, ws.table.window(name, index), actor=ACTOR).to_json()


def _newest(ws: Workspace, name: str) -> int:
    from selfheal import loop

    waiting = loop.pending(ws, name, ws.now())
    if waiting:
        return waiting[-1].index
    done = ws.table.cycles(name, last=1)
    if not done:
        raise InputError(f"no window of {name!r} has closed yet; send traffic, or see monitor.window in its policy")
    return int(done[-1]["index"])
