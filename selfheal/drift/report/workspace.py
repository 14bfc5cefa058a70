"""Evidently workspaces: a window's report as a run of its model's project, so that Evidently's pages show the trend."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC
from pathlib import Path
from typing import Any

from evidently._pydantic_compat import parse_obj_as
from evidently.core.report import Snapshot
from evidently.core.serialization import SnapshotModel
from evidently.sdk.models import PanelMetric
from evidently.sdk.panels import line_plot_panel
from evidently.ui.workspace import RemoteWorkspace, Workspace
from requests import Session

from selfheal.drift.report.runs import WindowRun
from selfheal.errors import UnavailableError

TIMEOUT_S = 10.0
"""For one request to an Evidently server: its own client waits for ever, and the loop would wait with it."""

PAUSE_S = 60.0
"""After a failure nothing is tried for so long: a hundred windows that are caught up must not wait for each other."""

SECRET = "EVIDENTLY_SECRET"  # noqa: S105  a variable's name, Evidently's own
STEADY = frozenset({"type", "signal", "column", "method", "value_type"})
"""Parameters by which a metric is the same in every window. Evidently draws a line for each set of parameters: with the
bounds among them, which move with the rows, each window would be a line of one point."""


class Folder(Workspace):  # type: ignore[misc]
    """A workspace in a folder: a window that is handled again after a crash replaces its run."""

    def add(self, project: uuid.UUID, run: WindowRun, snapshot: SnapshotModel) -> None:
        """Write a run."""
        self.state.write_snapshot(project, uuid.uuid5(project, str(run.window)), snapshot)


class Server(RemoteWorkspace):  # type: ignore[misc]
    """A workspace behind an address, waited for at most :data:`TIMEOUT_S` a request."""

    def add(self, project: uuid.UUID, run: WindowRun, snapshot: SnapshotModel) -> None:
        """Send a run."""
        self._request(f"/api/v2/snapshots/{project}", "POST", body=snapshot.dict())

    def _request(
        self,
        path: str,
        method: str,
        query_params: Any = None,
        body: Any = None,
        response_model: Any = None,
        **more: Any,
    ) -> Any:
        prepared = self._prepare_request(path, method, query_params, body, **more).prepare()
        with Session() as session:
            response = session.send(prepared, timeout=TIMEOUT_S)
        response.raise_for_status()
        return response if response_model is None else parse_obj_as(response_model, response.json())


_opened: dict[tuple[str, str], tuple[Folder | Server, uuid.UUID]] = {}
_failed: dict[str, tuple[float, str]] = {}


def publish(snapshot: Snapshot, place: str, run: WindowRun) -> None:
    """Add a window's report to the workspace at ``place``, a folder or an address; its project is made if need be.

    Raises
    ------
    UnavailableError
        It could not be, whatever the reason; for :data:`PAUSE_S` nothing is tried there.
    """
    until, before = _failed.get(place, (0.0, ""))
    if time.monotonic() < until:
        raise UnavailableError(f"{before} (not tried again for {PAUSE_S:g} s)")
    key = (place, run.project)
    try:
        if key not in _opened:
            _opened[key] = _project(place, run.project)
        workspace, project = _opened[key]
        workspace.add(project, run, _steady(snapshot, run))
    except Exception as error:  # Evidently, its server, the network or the disk: none of them may stop the loop
        _opened.pop(key, None)
        words = f"no run in the Evidently workspace {place.rpartition('@')[2]}: {type(error).__name__}: {error}"[:500]
        _failed[place] = (time.monotonic() + PAUSE_S, words)
        raise UnavailableError(words) from error
    _failed.pop(place, None)


def _project(place: str, name: str) -> tuple[Folder | Server, uuid.UUID]:
    remote = place.startswith(("http://", "https://"))
    workspace = Server(place, os.environ.get(SECRET)) if remote else Folder(str(Path(place).absolute()))
    projects = [each for each in workspace.search_project(name) if each.name == name]
    project = projects[0] if projects else workspace.create_project(name, "Windows of a model that selfheal watches.")
    if not project.dashboard.model().panels:
        for panel in _panels():
            project.dashboard.add_panel(panel, tab="Windows")
    return workspace, project.id


def _panels() -> list[Any]:
    """What is looked at first: the two signals, how many columns lie away, and which."""
    signals = [
        PanelMetric(legend=name, metric="SelfhealSignal", metric_labels={"signal": name}) for name in ("data", "rules")
    ]
    share = PanelMetric(legend="share", metric="DriftedColumnsCount", metric_labels={"value_type": "share"})
    return [
        line_plot_panel("Signals", signals, "What the data and the rules say; each report has the bound", size="half"),
        line_plot_panel("Share of columns away from the reference", [share], size="half"),
        line_plot_panel("Distance of each column from the reference", [PanelMetric(metric="ValueDrift")]),
    ]


def _steady(snapshot: Snapshot, run: WindowRun) -> SnapshotModel:
    """The report as it is stored, its metrics named alike in every window, dated by the window's end."""
    model = snapshot.to_snapshot_model().copy(deep=True)
    model.name, model.tags, model.metadata = run.name, list(run.tags), dict(run.metadata)
    model.timestamp = run.at.astimezone(UTC).replace(tzinfo=None)  # its pages compare times without a zone
    for result in model.metric_results.values():
        for value in (result, getattr(result, "count", None), getattr(result, "share", None)):
            where: Any = getattr(value, "metric_value_location", None)
            params: dict[str, Any] = {} if where is None else where.metric.params
            for name in params.keys() - STEADY:
                del params[name]
    return model
