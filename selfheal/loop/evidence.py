"""The MLflow run of a heal: what was asked, every candidate, the reasons, and where the rows lay before and after."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from selfheal.drift.yardstick import thinned
from selfheal.loop.child import HealResult, HealTask
from selfheal.loop.context import SAMPLE_ROWS, Context
from selfheal.loop.inspect import drift_report
from selfheal.loop.plots import SCORE, before_after
from selfheal.loop.records import HealRecord
from selfheal.loop.tasks import FILE, PLACE, packed
from selfheal.table import Window

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel


def begun(ctx: Context, seed: int, rows: int) -> str:
    """A run with what the heal was asked for."""
    params = {"window": ctx.ref.index, "seed": seed, "parent": ctx.version, "policy_digest": ctx.policy.digest}
    return ctx.ws.registry.start_heal_run(
        ctx.name, params | {"rows": rows, "start": ctx.ref.start, "end": ctx.ref.end}
    )  # fmt: skip


def log_evidence(ctx: Context, run: str, window: Window, recent: Sequence[pd.DataFrame], result: HealResult) -> None:
    """The numbers, the candidates, the reasons, a drawing and the drift report."""
    from selfheal.adapter import Adapter

    model, registry = ctx.model, ctx.ws.registry
    registry.log_metrics(run, result.numbers, step=ctx.ref.index, at=ctx.ref.end)
    registry.log_table(run, result.candidates, "candidates.json", "Candidates", "Every mechanism and rival tried.")
    registry.log_artifact_text(run, "\n".join(f"- {line}" for line in result.reasons), "reasons.md")
    healed = model if result.adapter is None else model.with_adapter(Adapter.from_bytes(result.adapter))
    healthy = pd.concat(list(recent), ignore_index=True) if recent else thinned(model.reference, SAMPLE_ROWS)
    title = f"{result.diagnosis} → {result.decision}: {result.changed_part}"
    drawing = before_after(_drawn(model, healthy), _drawn(model, model.model_units(window.frame)),
                           _drawn(healed, healed.model_units(window.frame)), title)  # fmt: skip
    registry.log_artifact_text(run, drawing, "plots/before-after.svg")
    page = ctx.seen.report or drift_report(model, window)
    if page is not None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "drift-report.html"
            page.html(path)
            registry.log_artifact_file(run, path)


def log_task(ctx: Context, run: str, task: HealTask) -> None:
    """All that the heal was given: whoever doubts it can replay it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / FILE
        path.write_bytes(packed(task))
        ctx.ws.registry.log_artifact_file(run, path, PLACE)


def ended(ctx: Context, run: str, result: HealResult, record: HealRecord) -> None:
    """Close the run with what came of it."""
    title = f"heal window {ctx.ref.index}: {result.diagnosis} → {result.decision}"
    note = "\n".join(f"- {line}" for line in (*result.reasons, record.note) if line)
    tags = {"verdict": result.decision, "diagnosis": result.diagnosis, "changed_part": result.changed_part}
    ctx.ws.registry.end_run(run, run_name=title, note=note, tags=tags | {"version": record.version})


def _drawn(model: MonitoredModel, units: pd.DataFrame) -> pd.DataFrame:
    """The numeric columns of rows in model units, and the model's score of them."""
    numeric = [c for c in model.features if model.dtypes[c] != "str"]
    return units[numeric].astype(float).assign(**{SCORE: model.proba_of_units(units)[:, -1]})
