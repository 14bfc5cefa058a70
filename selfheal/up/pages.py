"""`selfheal ui`: MLflow's pages (and Prefect's) on the embedded stores, without the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selfheal.errors import UnavailableError
from selfheal.settings import Settings
from selfheal.table import InferenceTable
from selfheal.up import is_embedded, refuse_lost_store, running, services, stopping, without_password
from selfheal.up.supervisor import POLL_SECONDS, Supervisor

START_SECONDS = 240.0
"""Patience with a server's start: 25 to 35 s on a loaded two-core box."""


def ui(
    settings: Settings,
    host: str,
    *,
    prefect: bool,
    say: Callable[[str], None],
    visit: Callable[[str], object] | None = None,
) -> None:
    """Say where the pages are; serve those that nobody serves yet until a signal asks to stop.

    Parameters
    ----------
    prefect
        Prefect's pages, too.
    visit
        Opens a URL; the first page is given to it.

    Raises
    ------
    UnavailableError
        A server does not come up, or the embedded store is not there.
    """
    table = InferenceTable(settings.database_url)
    models = table.models()
    urls = (running(settings.home) or {}).get("urls", {})
    if not is_embedded(settings):
        urls["mlflow"] = without_password(settings.tracking_uri)
    if settings.prefect_api_url:
        urls["prefect"] = without_password(settings.prefect_api_url).removesuffix("/api")
    starting = []
    if "mlflow" not in urls:
        refuse_lost_store(settings, table)
        starting.append(services.mlflow_server(settings, host, services.free_port(host, services.MLFLOW_PORT)))
        urls["mlflow"] = starting[-1].ready_line
    if prefect and "prefect" not in urls:
        starting.append(services.prefect_server(settings, host, services.free_port(host, services.PREFECT_PORT)))
        urls["prefect"] = starting[-1].ready_line
    shown = ["mlflow", *(["prefect"] if prefect else [])]
    if not starting:
        _point(urls, shown, models, say, visit)
        return
    say(f"starting  {', '.join(service.name for service in starting)}")
    with stopping() as stopped:
        supervisor = Supervisor(settings.home / "logs", say)
        try:
            for service in starting:
                supervisor.start(service)
            _serve(supervisor, [s.name for s in starting], stopped, lambda: _point(urls, shown, models, say, visit))
        finally:
            supervisor.stop()


def _serve(
    supervisor: Supervisor, names: Sequence[str], stopped: Callable[[], bool], point: Callable[[], None]
) -> None:
    if not supervisor.wait_ready(names, START_SECONDS, stopped):
        if stopped():
            return
        raise UnavailableError(f"{', '.join(names)} not ready after {START_SECONDS:g} s; see {supervisor.logs}")
    point()
    while not stopped():
        supervisor.tick()
        supervisor.sleep(POLL_SECONDS)


def _point(
    urls: dict[str, str],
    shown: Sequence[str],
    models: Sequence[str],
    say: Callable[[str], None],
    visit: Callable[[str], object] | None,
) -> None:
    links = [("MLflow", urls["mlflow"]), *services.pages(urls["mlflow"], models)]
    if "prefect" in shown:
        links.append(("Prefect: runs and what they decided", f"{urls['prefect']}/runs"))
    width = max(len(words) for words, _ in links)
    for words, url in links:
        say(f"{words:<{width}}  {url}")
    say("In MLflow, give the alias of the version that serves (champion) to another one to let that serve; to change a")
    say("stage there, switch 'New model registry UI' off (top right of a version's page).")
    if visit is not None:
        visit(links[1][1] if len(links) > 1 else links[0][1])
