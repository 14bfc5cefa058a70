"""A heal in a process of its own: low priority, one thread, a time limit, and a death that is only a record.

What travels is plain: paths, bytes and frames, both ways over a pipe between the parent and its own child.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.loop.forks import SERVER

if TYPE_CHECKING:
    import pandas as pd

LIMIT_SECONDS = 180.0
"""A heal of 1,000 rows takes 1 to 5 s on one core; a hundred columns on a busy machine some tens of seconds."""


@dataclass(frozen=True)
class HealTask:
    """What a child needs.

    ``memory`` holds (version, adapter file, its own window in raw units, if it has one), ``earlier`` the labelled rows
    of windows before, ``times`` the rows' event times, ``facts`` what the owner of the data has answered.
    """

    base: Path
    base_digest: str
    base_manifest: str
    adapter: bytes
    policy: str
    window: pd.DataFrame
    recent: tuple[pd.DataFrame, ...]
    labels: pd.Series | None
    memory: tuple[tuple[int, bytes, pd.DataFrame | None], ...]
    seed: int
    earlier: tuple[tuple[pd.DataFrame, pd.Series], ...] = ()
    unsampled: tuple[tuple[pd.DataFrame, pd.Series], ...] = ()
    facts: tuple[Mapping[str, Any], ...] = ()
    times: pd.Series | None = None
    first_seen: datetime | None = None


@dataclass(frozen=True)
class HealResult:
    """The outcome of :func:`selfheal.heal`, its adapter as a file, the facts of its answers as JSON records."""

    decision: str
    diagnosis: str
    reasons: tuple[str, ...]
    candidates: pd.DataFrame
    adapter: bytes | None
    recall: int | None
    changed_part: str
    numbers: Mapping[str, float]
    question: str = ""
    options: tuple[str, ...] = ()
    asks: str = ""
    answers: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    on_trial: tuple[str, ...] = ()


def heal_in_child(task: HealTask, limit: float = LIMIT_SECONDS) -> HealResult:
    """Run one heal and wait for it, at most ``limit`` seconds.

    Raises
    ------
    ChildFailedError
        If no outcome came back.
    """
    answer = SERVER.call(_heal, task, limit)
    assert isinstance(answer, HealResult)  # noqa: S101  what _heal returns
    return answer


def warm(*, here: bool = False) -> None:
    """Start the process that heals are forked from now, so that its imports are done when the first is asked for.

    For processes that live long; a run that handles one window and ends would only pay for it.

    Parameters
    ----------
    here
        Share this process's imports, see :meth:`ForkServer.start`.
    """
    SERVER.start(here=here)


def _heal(task: HealTask) -> HealResult:
    import torch
    from threadpoolctl import threadpool_limits

    from selfheal.adapter import Adapter
    from selfheal.healing.facts import Fact
    from selfheal.healing.heal import heal
    from selfheal.policy import Policy
    from selfheal.registry.archive import load_base

    torch.set_num_threads(1)
    with threadpool_limits(1):
        base = load_base(task.base, task.base_digest, task.base_manifest)
        model = base.with_policy(Policy.loads(task.policy)).with_adapter(Adapter.from_bytes(task.adapter))
        memory = [(version, Adapter.from_bytes(data), sample) for version, data, sample in task.memory]
        outcome = heal(
            model, task.window, task.recent or None, task.labels, memory, task.seed,
            earlier=task.earlier, unsampled=task.unsampled, facts=[Fact.from_json(fact) for fact in task.facts],
            times=task.times, first_seen=task.first_seen,
        )  # fmt: skip
        model.check_unchanged()
    return HealResult(
        decision=outcome.decision,
        diagnosis=outcome.diagnosis,
        reasons=tuple(outcome.reasons),
        candidates=outcome.candidates,
        adapter=None if outcome.adapter is None else outcome.adapter.to_bytes(),
        recall=outcome.recall,
        changed_part=outcome.changed_part,
        numbers=dict(outcome.numbers),
        question=outcome.question,
        options=outcome.options,
        asks=outcome.asks,
        answers={option: [fact.to_json() for fact in facts] for option, facts in outcome.answers.items()},
        on_trial=outcome.on_trial,
    )
