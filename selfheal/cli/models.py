"""Commands about one model: adopt, status, promote, rollback, labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfheal.cli.output import ACTOR, Example, as_option, json_option, progress, write_json
from selfheal.cli.standing import standing
from selfheal.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from selfheal.registry.adoption import Adoption
    from selfheal.steering import Workspace


EVERY_S = 2.0
"""Between two screens of ``status --watch``, each some 30 ms of CPU."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Example, short_help="Put a model under watch.", epilog="selfheal adopt fraud my_models.py:fraud")
@click.argument("name")
@click.argument("factory", metavar="MODULE_OR_FILE:FACTORY", required=False)
@click.option("--from", "uri", metavar="URI", help="A network that MLflow has: models:/NAME/7, with the two below.")
@click.option("--reference", type=_FILE, help="Labelled rows: the network's inputs in its order, and the label.")
@click.option("--target", metavar="COLUMN", help="The label's column.")
@click.option("--trust", is_flag=True, help="Open a pickled network once, in a process without credentials.")
@as_option("Who trusts it")
@json_option
def adopt(
    name: str,
    factory: str | None,
    uri: str | None,
    reference: Path | None,
    target: str | None,
    trust: bool,
    actor: str,
    json_file: Path | None,
) -> None:
    """Put a model under watch: version 1 with an identity adapter, in Production.

    FACTORY is a function without arguments that returns a selfheal.MonitoredModel; by default NAME_model.py:build, as
    selfheal init wrote it. The policy is the file of rules, where there is one. Adopting a name again registers a new
    base; its identity adapter then waits in Staging.
    """
    from selfheal.policy import check_name

    check_name(name)
    if uri is None and reference is None and target is None and not trust:
        done = _adopted(name, factory)
    elif factory is None and uri is not None and reference is not None and target is not None:
        done = _imported(name, uri, reference, target, actor if trust else None)
    else:
        raise InputError("give MODULE_OR_FILE:FACTORY, or --from, --reference and --target together")
    click.echo(str(done))
    click.echo(f"start everything: selfheal up; scoring alone: selfheal serve {name}")
    write_json(json_file, done)


def _adopted(name: str, factory: str | None) -> Adoption:
    from selfheal.cli.factory import built

    model = built(name, factory)
    import selfheal

    with progress(f"adopting {name}"):
        return selfheal.adopt(name, model)


def _imported(name: str, uri: str, reference: Path, target: str, trusted_by: str | None) -> Adoption:
    from selfheal.cli.factory import read_rows
    from selfheal.registry.adoption import adopt_from
    from selfheal.settings import Settings

    here = Settings.from_env()
    policy = here.rules / f"{name}.yaml"
    rows = read_rows(reference)
    with progress(f"adopting {uri} as {name}"):
        return adopt_from(
            name, uri, rows, target, here, policy=policy if policy.is_file() else None, trusted_by=trusted_by
        )


@click.command(cls=Example, short_help="Show what serves and how it is.", epilog="selfheal status fraud")
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Show it anew every few seconds, until Ctrl-C.")
@json_option
@click.pass_context
def status(ctx: click.Context, name: str | None, watch: bool, json_file: Path | None) -> None:
    """Show what serves and how it is; of all models without a NAME. Exit status 1 when one is not healthy."""
    from selfheal import loop, steering

    ws = steering.open_workspace()
    names = [ws.table.schema(name).model] if name else ws.table.models()
    if not names:
        raise InputError(f"nothing is adopted in {ws.settings.home}; try selfheal demo, or selfheal adopt --help")

    def shown() -> dict[str, Any]:
        states = {n: loop.status(ws, n) for n in names}
        lines = [line for state in states.values() for line in standing(state)]
        if watch:
            click.clear()  # nothing where no terminal is
            lines.insert(0, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, every {EVERY_S:g} s, Ctrl-C ends it")
        click.echo("\n".join(lines))
        return states

    states = _again_and_again(shown) if watch else shown()
    write_json(json_file, states)
    if not all(state["healthy"] for state in states.values()):
        ctx.exit(1)


def _again_and_again(show: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was shown last when the user had enough; a database that is away is said and asked again."""
    states: dict[str, Any] = {}
    with suppress(KeyboardInterrupt):
        while True:
            try:
                states = show()
            except UnavailableError as error:
                click.echo(str(error))
            time.sleep(EVERY_S)
    return states


@click.command(cls=Example, short_help="Move a version to Production.", epilog="selfheal promote fraud 3 --pin")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--pin", is_flag=True, help="Not even the watch may roll it back; selfheal rollback ends it.")
@json_option
def promote(name: str, version: int, pin: bool, json_file: Path | None) -> None:
    """Move a version to Production, the former one to Archived. The same as changing the stage in MLflow."""
    from selfheal import steering

    ws = steering.open_workspace()
    with progress(f"promoting {name} version {version}"):
        look = steering.promote(ws, name, version, ACTOR, pin=pin)
    click.echo(f"{name} version {look.settled} serves{', pinned' if look.pinned else ''}")
    write_json(json_file, {"model": name, "version": look.settled, "pinned": look.pinned, "before": look.previous})


@click.command(cls=Example, short_help="Approve a version, by name.", epilog="selfheal approve fraud 3 --as ada")
@click.argument("name")
@click.argument("version", type=int)
@as_option("Who approves")
@json_option
def approve(name: str, version: int, actor: str, json_file: Path | None) -> None:
    """Approve a version: it goes to Production with the last of the names that release.approvers asks for.

    A record, no access control. An approval counts until what serves changes.
    """
    from selfheal import steering

    ws = steering.open_workspace()
    with progress(f"approving {name} version {version}"):
        done = steering.approve(ws, name, version, actor)
    if done.before:
        click.echo(f"{name} version {version} serves already; there is nothing to approve")
    else:
        click.echo(f"{name} version {version} {'serves' if done.promoted else 'waits'}: {done.approvals}")
    write_json(
        json_file,
        {
            "model": name,
            "version": version,
            "promoted": done.promoted,
            "approvals": list(done.approvals.names),
            "needed": done.approvals.needed,
        },
    )


@click.command(cls=Example, short_help="Step back to the version before.", epilog="selfheal rollback fraud --to 1")
@click.argument("name")
@click.option("--to", "to", type=int, metavar="V", help="This version; by default the one that served before.")
@json_option
def rollback(name: str, to: int | None, json_file: Path | None) -> None:
    """Step back to the version that served before; the one left behind is quarantined."""
    from selfheal import steering
    from selfheal.steering.look import last_look

    ws = steering.open_workspace()
    before = last_look(ws, name)
    with progress(f"rolling {name} back"):
        look = steering.rollback(ws, name, ACTOR, to=to)
    if before is not None and to in before.quarantined:
        click.echo(f"{name} version {to} was in quarantine, for it had been rolled back; your word lifts that")
    left = sorted(look.quarantined)
    click.echo(f"{name} version {look.settled} serves again; in quarantine: {', '.join(map(str, left)) or 'none'}")
    write_json(json_file, {"model": name, "version": look.settled, "quarantine": left})


@click.command(
    cls=Example,
    short_help="Store late labels from a CSV file, or ask for some.",
    epilog="selfheal labels fraud labels.csv\nselfheal labels fraud rows.csv --ask 20",
)
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--ask", type=click.IntRange(1, 1000), metavar="N", help="Write N rows to label to FILE instead.")
@click.option("--window", type=click.IntRange(0), metavar="K", help="With --ask: of this window; else of the newest.")
@json_option
def labels(name: str, file: Path, ask: int | None, window: int | None, json_file: Path | None) -> None:
    """Store late labels from a CSV file with the columns prediction_id and label.

    A label may come before its row: it is held until the row arrives. A malformed one is refused by name, and then
    nothing of the file is stored; rows without a label are left out.

    With --ask, FILE is written: rows of a window, drawn by how much their labels say of its accuracy. Fill in the
    column label and hand the file back; the accuracy and its interval, which holds after every label, are printed.
    """
    from selfheal import loop, steering

    if ask is None and window is not None:
        raise InputError("--window says whose rows to ask about; give --ask N with it")
    if ask is None and not file.exists():
        raise InputError(f"{file} does not exist; give a CSV with columns prediction_id and label")
    ws = steering.open_workspace()
    if ask is None:
        _store(ws, name, file, json_file)
        return
    from selfheal.cli.audit import write_frame

    with progress(f"drawing rows of {name}"):
        sample = loop.ask_labels(ws, name, ask, window)
    write_frame(sample.rows, file)
    click.echo(
        f"{len(sample.rows)} rows of window {sample.window} written; fill in the column label, then: "
        f"selfheal labels {name} {file}"
    )
    asked = {"window": sample.window, "rows": sample.rows.index.tolist(), "draws": sample.draws}
    write_json(json_file, {"model": name, **asked})


def _store(ws: Workspace, name: str, file: Path, json_file: Path | None) -> None:
    """Store a file's labels, and say what those that were asked for say."""
    from selfheal import loop
    from selfheal.cli.standing import accuracy_words
    from selfheal.steering.policies import policy_of_record

    stored = loop.add_labels(ws, name, file)
    kept = f"{stored.stored} stored, {stored.pending} wait for their rows"
    if policy_of_record(ws, name).policy.log is not None:  # which of its rows there are, the log says when it is read
        kept = f"{stored.stored + stored.pending} stored, to be joined by id with the rows of the log"
    click.echo(f"{kept}, {stored.refused} older than one held")
    accuracy = loop.accuracy_told(ws, name) if stored.stored else None
    if accuracy is not None:
        click.echo(accuracy_words(accuracy))
    if ws.settings.prefect_api_url and stored.stored:
        from flows.events import labels_came

        labels_came(name, stored.stored)
    write_json(json_file, asdict(stored) | {"accuracy": accuracy})
