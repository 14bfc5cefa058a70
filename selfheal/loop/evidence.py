"""The MLflow run of a heal: what was asked, every candidate, the reasons, and where the rows lay before and after."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfheal.loop.child import HealResult, HealTask
from selfheal.loop.context import SAMPLE_ROWS, Context
from selfheal.loop.inspect import drift_report
from selfheal.loop.plots import ASKED, PLOT, SCORE, before_after
from selfheal.loop.records import HealRecord
from selfheal.loop.tasks import FILE, PLACE, packed
from selfheal.registry.runs import Table
from selfheal.table import Window

if TYPE_CHECKING:
    import pandas as pd


CANDIDATES, REPORT = "candidates.json", "drift-report.html"


def begun(ctx: Context, seed: int, rows: int, result: HealResult) -> str:
    """A run with what the heal was asked for, and its numbers."""
    ref = ctx.ref
    params = {"window": ref.index, "seed": seed, "parent": ctx.version, "policy_digest": ctx.policy.digest}
    params |= {"rows": rows, "start": ref.start, "end": ref.end}
    return ctx.ws.registry.runs.start_heal_run(
        ctx.name, params, metrics=result.numbers, step=ref.index, at=ref.end, tables=[CANDIDATES]
    )


def log_evidence(
    ctx: Context, run: str, window: Window, recent: Sequence[pd.DataFrame], task: HealTask, result: HealResult
) -> None:
    """The candidates, the reasons, a drawing and the drift report: written here, stored in one call.

    Of a heal that gave an adapter, all that it was given too: whoever doubts it can replay it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        Table(result.candidates, "Candidates", "Every mechanism and rival tried.").write(folder / CANDIDATES)
        (folder / "reasons.md").write_text("\n".join(f"- {line}" for line in result.reasons), "utf-8")
        (folder / PLOT).parent.mkdir()
        samples = _samples(ctx, window, recent, task, result)
        columns = {c for facts in result.answers.values() for fact in facts for c in fact["columns"]}
        asked = [c for c in samples[0].columns if c in columns]
        title = f"{result.diagnosis} → {result.decision}: {result.changed_part}"
        plots = {PLOT: (title, samples)} | ({ASKED: (result.question, [s[asked] for s in samples])} if asked else {})
        for plot, (words, (healthy, before, after)) in plots.items():
            (folder / plot).write_text(before_after(healthy, before, after, words), "utf-8")
        page = ctx.seen.report or drift_report(ctx.model, window)
        if page is not None:
            page.html(folder / REPORT)
        if result.adapter is not None:
            (folder / PLACE).mkdir()
            (folder / PLACE / FILE).write_bytes(packed(task))
        ctx.ws.registry.runs.log_files(run, folder)


def _samples(
    ctx: Context, window: Window, recent: Sequence[pd.DataFrame], task: HealTask, result: HealResult
) -> list[pd.DataFrame]:
    """How healthy rows lie, how these came, and how they lie after; as they came where nothing was made or recalled.

    Their numeric columns in model units, and the model's score of them.
    """
    import pandas as pd

    from selfheal.adapter import Adapter
    from selfheal.drift.yardstick import thinned

    model = ctx.model
    numeric = [c for c in model.features if model.dtypes[c] != "str"]
    recalled = next((adapter for version, adapter, _ in task.memory if version == result.recall), None)
    made = result.adapter or recalled
    healed = model if made is None else model.with_adapter(Adapter.from_bytes(made))
    healthy = pd.concat(list(recent), ignore_index=True) if recent else thinned(model.reference, SAMPLE_ROWS)
    before, after = (each.model_units(window.frame) for each in (model, healed))
    return [
        units[numeric].astype(float).assign(**{SCORE: each.proba_of_units(units)[:, -1]})
        for each, units in ((model, healthy), (model, before), (healed, after))
    ]


def ended(ctx: Context, run: str, result: HealResult, record: HealRecord) -> None:
    """Close the run with what came of it."""
    title = f"heal window {ctx.ref.index}: {result.diagnosis} → {result.decision}"
    note = "\n".join(f"- {line}" for line in (*result.reasons, record.note) if line)
    note += f"\n\n[The run in Prefect]({ctx.page})" if ctx.page else ""
    tags = {"verdict": result.decision, "diagnosis": result.diagnosis, "changed_part": result.changed_part}
    ctx.ws.registry.runs.end_run(run, run_name=title, note=note, tags=tags | {"version": record.version})
