"""Commands that run services: demo, serve, up, ui."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfheal.cli.output import Example, json_option
from selfheal.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from selfheal.settings import Settings

HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")


@click.command(
    cls=Example,
    short_help="See a model break and heal, in about two minutes.",
    epilog="selfheal demo --json result.json",
)
@json_option
@click.option("--keep", is_flag=True, help="Leave an earlier demo's home as it is; play beside it.")
@click.pass_context
def demo(ctx: click.Context, json_file: Path | None, keep: bool) -> None:
    """See a model break, heal, remember, learn from a rule, refuse and step back: real parts, about two minutes.

    Exit status 1 when an act did not go as it must.
    """
    from selfheal.demo import run

    ctx.exit(run(json_file=json_file, keep=keep))


@click.command(
    cls=Example, short_help="Run the scoring service of some models alone.", epilog="selfheal serve fraud --port 8080"
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Every model that is adopted by now.")
@HOST
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--event-clock", is_flag=True, help="For a replay: rows may carry event times of the future.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="A port of its own for /metrics.")
@click.option("--json-logs", is_flag=True, help="Log each request, a JSON object a line; never what it held.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on the one port.")
@click.option("--drain", type=click.FloatRange(0, 600), default=0.0, help="Seconds of /ready: 503 before the end.")
@click.option("--tls-cert", metavar="FILE", help="Speak TLS with this certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its private key, PEM, without a password.")
@click.option("--connections", type=click.IntRange(1), help="The most at once of a process; else what it may open.")
def serve(
    names: tuple[str, ...],
    every: bool,
    host: str,
    port: int,
    event_clock: bool,
    metrics_port: int | None,
    json_logs: bool,
    workers: int,
    drain: float,
    tls_cert: str | None,
    tls_key: str | None,
    connections: int | None,
) -> None:
    """Run the scoring service of one model, or of several in one process, in the foreground.

    Keys are asked for where SELFHEAL_API_KEYS is set. Without, an interface that other machines reach is refused,
    unless SELFHEAL_AUTH=off.
    """
    from selfheal.serving import serve as run
    from selfheal.serving.wire import Wire
    from selfheal.settings import Settings

    settings = Settings.from_env()
    names = _named(names, every, settings)

    def ready(url: str) -> None:
        path = "" if len(names) == 1 else f"/models/{names[0]}"
        words = f"{', '.join(names)} {'answers' if len(names) == 1 else 'answer'} at {url}{path}/invocations"
        click.echo(f"{words} (/health, /metrics); Ctrl-C stops it")

    run(
        names,
        settings,
        host=host,
        port=port,
        event_clock=event_clock,
        metrics_port=metrics_port,
        json_logs=json_logs,
        workers=workers,
        drain_s=drain,
        wire=Wire(tls_cert, tls_key, connections),
        on_ready=ready,
    )


def _named(names: tuple[str, ...], every: bool, settings: Settings) -> tuple[str, ...]:
    from selfheal.table import InferenceTable

    if every == bool(names):
        raise InputError("name the models to serve, as in `selfheal serve fraud rain`, or say --all")
    if names:
        return names
    table = InferenceTable(settings.database_url)
    try:
        models = tuple(table.served())
    finally:
        table.close()
    if not models:
        raise NotFoundError(f"no model is adopted in {table.name}; adopt one first: selfheal adopt NAME FACTORY")
    return models


@click.command(
    cls=Example,
    short_help="Run scoring, MLflow, Prefect and the schedules.",
    epilog="SELFHEAL_HOME=/srv/selfheal selfheal up",
)
@HOST
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Of the first model.")
def up(host: str, port: int) -> None:
    """Run everything: scoring of every adopted model, MLflow, Prefect, the schedules. Ctrl-C stops all of it.

    A model adopted meanwhile is served from then on. A remote MLFLOW_TRACKING_URI or PREFECT_API_URL is used instead
    of a server of its own. A second one on the same SELFHEAL_HOME is refused.
    """
    from selfheal.settings import Settings
    from selfheal.up import up as run

    run(Settings.from_env(), host, port, click.echo)


@click.command(cls=Example, short_help="Open MLflow's pages.", epilog="selfheal ui --prefect")
@HOST
@click.option("--prefect", is_flag=True, help="Prefect's pages, too.")
@click.option("--open/--no-open", "show", default=False, help="Open the browser.")
def ui(host: str, prefect: bool, show: bool) -> None:
    """Open MLflow's pages on the home's store, on a free port, until Ctrl-C; those of a running selfheal up, if any."""
    from selfheal.settings import Settings
    from selfheal.up.pages import ui as run

    run(Settings.from_env(), host, prefect=prefect, say=click.echo, visit=webbrowser.open if show else None)
