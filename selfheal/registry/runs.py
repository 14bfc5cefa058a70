"""Runs: one per heal, and one per Production version that grows a step per window."""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import NotFoundError
from selfheal.registry.door import Door, without_password
from selfheal.registry.lineage import tag_text, tag_texts
from selfheal.registry.pages import table_page
from selfheal.registry.versions import VersionInfo

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric

KIND = "selfheal.kind"
_WATCHED = "selfheal.version"
_NOTE = "mlflow.note.content"
_RUN_NAME = "mlflow.runName"
_TABLES = "mlflow.loggedArtifacts"  # what MLflow's own log_table writes, file by file and call by call
_SOURCE = {"mlflow.source.name": "selfheal", "mlflow.source.type": "LOCAL"}
_LONGEST_PARAM = 6000


class RunLog:
    """Experiment ``selfheal/<name>`` of each model, and the runs in it."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._experiments: dict[str, str] = {}
        self._watch: dict[str, tuple[str, int]] = {}

    def experiment(self, name: str) -> str:
        """Id of experiment ``selfheal/<name>``, made or restored when needed."""
        if name not in self._experiments:
            with self._door.asked(f"open the experiment of {name!r}") as client:
                self._experiments[name] = self._open_experiment(client, f"selfheal/{name}", name)
        return self._experiments[name]

    def watch_run(self, name: str, version: int, info: Callable[[], VersionInfo], known: str = "") -> str:
        """Id of the watch run of a version: metrics with the window's index as step. Made on first use.

        Parameters
        ----------
        info
            Asked for the version where its run has to be found or made.
        known
            The run of the window before, where this version served it; whoever finds it gone calls
            :meth:`forget_watch`.
        """
        if known:
            self._watch.setdefault(name, (known, version))
        if self._watch.get(name, ("", 0))[1] != version:
            experiment, served = self.experiment(name), info()
            with self._door.asked(f"open the watch run of {name!r} version {version}") as client:
                self._watch[name] = (_open_watch(client, experiment, name, served), version)
        return self._watch[name][0]

    def forget_watch(self, name: str) -> None:
        """Somebody deleted it: the next :meth:`watch_run` without a known one finds or makes another."""
        self._watch.pop(name, None)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int, at: dt.datetime | None = None) -> None:
        """Write the numbers of one window in one call; NaN and infinities, which MLflow cannot draw, are left out.

        Parameters
        ----------
        step
            The window's index.
        at
            Event time of the window's end; the wall clock by default.
        """
        with self._door.asked("log metrics") as client:
            client.log_batch(run_id, metrics=_points(metrics, step, at))

    def start_heal_run(
        self,
        name: str,
        params: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        at: dt.datetime | None = None,
        tables: Sequence[str] = (),
    ) -> str:
        """Begin a run of the heal kind and return its id.

        Parameters
        ----------
        params
            What the heal was asked for: window, seed, parent version, policy digest.
        metrics, step, at
            Its numbers, as :meth:`log_metrics` takes them.
        tables
            Which of its files are tables, see :class:`Table`: MLflow's pages compare them across runs.
        """
        from mlflow.entities import Param

        title = f"heal window {params.get('window', '?')}"
        listed = json.dumps([{"path": path, "type": "table"} for path in tables])
        tags = {KIND: "heal", **_SOURCE} | ({_TABLES: listed} if tables else {})
        experiment = self.experiment(name)
        with self._door.asked(f"begin a run of {name!r}") as client:
            run = client.create_run(experiment, run_name=title, tags=tags)
            batch = [Param(str(k), tag_text(v)[:_LONGEST_PARAM]) for k, v in params.items()]
            client.log_batch(run.info.run_id, metrics=_points(metrics or {}, step, at), params=batch)
        return str(run.info.run_id)

    def end_run(
        self,
        run_id: str,
        status: str = "FINISHED",
        *,
        run_name: str | None = None,
        note: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Close a run.

        Parameters
        ----------
        status
            ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``.
        run_name
            What was decided, e.g. ``"heal window 12: sensor → promote"``.
        note
            Markdown for the run's description: the reasons in words.
        """
        from mlflow.entities import RunTag

        extra = tag_texts(tags or {})
        if run_name is not None:
            extra[_RUN_NAME] = run_name
        if note is not None:
            extra[_NOTE] = note
        with self._door.asked("end a run") as client:
            if extra:
                client.log_batch(run_id, tags=[RunTag(k, v) for k, v in extra.items()])
            client.set_terminated(run_id, status)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Store all that lies in a local folder as the run's artifacts, in one call."""
        with self._door.asked("store its files") as client:
            client.log_artifacts(run_id, str(folder))

    def log_file(self, run_id: str, local: Path, folder: str | None = None) -> None:
        """Store a local file under its own name, in `folder` of the run's artifacts."""
        with self._door.asked(f"store {local.name}") as client:
            client.log_artifact(run_id, str(local), folder)

    def place(self, run_id: str, path: str) -> str:
        """Where a person finds an artifact: its address on an MLflow server, else the run to look for in its pages."""
        page = self.page(run_id, f"/artifacts/{path}")
        return page or f"run {run_id}, {path} (selfheal ui shows it)"

    def page(self, run_id: str, below: str = "") -> str:
        """The address of a run's page, or of one ``below`` it, in MLflow's view of models; empty without a server."""
        if not self._door.is_server:
            return ""
        with self._door.asked(f"find run {run_id}") as client:
            experiment = client.get_run(run_id).info.experiment_id
        address = without_password(self._door.settings.tracking_uri.rstrip("/"))
        return f"{address}/#/experiments/{experiment}/runs/{run_id}{below}?workflowType=machine_learning"

    def artifact(self, run_id: str, path: str) -> bytes:
        """The bytes of a run's artifact.

        Raises
        ------
        NotFoundError
            The run has none of that path.
        """
        what, folder = f"fetch {path} of run {run_id}", Path(path).parent.as_posix()
        with tempfile.TemporaryDirectory() as scratch, self._door.asked(what) as client:
            if path not in {entry.path for entry in client.list_artifacts(run_id, None if folder == "." else folder)}:
                raise NotFoundError(f"run {run_id} has no artifact {path!r}")
            return Path(client.download_artifacts(run_id, path, scratch)).read_bytes()

    def _open_experiment(self, client: MlflowClient, title: str, name: str) -> str:
        experiment = client.get_experiment_by_name(title)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        from mlflow.exceptions import MlflowException

        # A server owns the place of its artifacts. A database does not: MLflow would put them into ./mlruns,
        # wherever this process happens to run.
        place = None if self._door.is_server else (self._door.settings.artifacts / name).as_uri()
        try:
            return str(client.create_experiment(title, artifact_location=place, tags=_experiment_tags(name)))
        except MlflowException:
            # Somebody made it in between.
            experiment = client.get_experiment_by_name(title)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


@dataclass(frozen=True)
class Table:
    """A table that a run keeps twice: as MLflow's JSON, compared across runs, and as a page to read.

    Attributes
    ----------
    frame, title, note
        The rows, and what :func:`~selfheal.registry.pages.table_page` puts above them.
    """

    frame: pd.DataFrame
    title: str
    note: str = ""

    def write(self, path: Path) -> None:
        """Write ``<path>`` (``…/candidates.json``), and ``candidates.html`` beside it."""
        plain = self.frame.astype(object).mask(self.frame.isna(), None)
        plain.to_json(path, orient="split", index=False, date_format="iso")
        path.with_suffix(".html").write_text(table_page(self.frame, self.title, self.note), "utf-8")


def _points(metrics: Mapping[str, float], step: int, at: dt.datetime | None) -> list[Metric]:
    from mlflow.entities import Metric

    stamp = int((at or dt.datetime.now(dt.UTC)).timestamp() * 1000)
    return [Metric(key, float(value), stamp, int(step)) for key, value in metrics.items() if math.isfinite(value)]


def _experiment_tags(name: str) -> dict[str, str]:
    about = (
        f"What selfheal did with **{name}**: *watch vN* follows version N while it is in Production, a step a window; "
        "*heal window N* is one attempt to heal, with its candidates, plots and drift report under Artifacts."
    )
    return {_NOTE: about}


def _open_watch(client: MlflowClient, experiment: str, name: str, info: VersionInfo) -> str:
    """The watch run of a version, running; those of other versions are closed. Two made at once: the older counts."""
    runs = client.search_runs(
        [experiment], f"tags.`{KIND}` = 'watch'", order_by=["attributes.start_time ASC"], max_results=1000
    )
    mine = [run for run in runs if run.data.tags.get(_WATCHED) == str(info.version)][:1]
    for run in runs:
        if run not in mine and run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id)
    if mine:
        if mine[0].info.status != "RUNNING":
            client.update_run(mine[0].info.run_id, status="RUNNING")
        return str(mine[0].info.run_id)
    return _new_watch(client, experiment, name, info.version, info.model_id)


def _new_watch(client: MlflowClient, experiment: str, name: str, version: int, model_id: str | None) -> str:
    from mlflow.entities import LoggedModelInput

    note = (
        f"What {name} version {version} did while it was in Production: one step per window. "
        "Charts: *Model metrics* above."
    )
    tags = {KIND: "watch", _WATCHED: str(version), _NOTE: note, **_SOURCE}
    run_id = str(client.create_run(experiment, run_name=f"watch v{version}", tags=tags).info.run_id)
    if model_id:
        client.log_inputs(run_id, models=[LoggedModelInput(model_id)])
    return run_id
