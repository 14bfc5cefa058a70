"""A heal in a process of its own: low priority, one thread, a time limit, and a death that is only a record.

The parent may be a Prefect worker with threads, so it does not fork itself: a fork server, which has imported the
healing code once, forks the children. What travels is plain: paths, bytes and frames, both ways over a pipe between
the parent and its own child.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from selfheal.errors import SelfhealError

PRELOAD = ("selfheal.healing", "skops.io", "torch.export.pt2_archive", "torch.export._trace")
"""What the fork server imports once: the healing code, and what opening a base imports on first use. Without the last
three each child spent 4 s of CPU on them, against 0.2 s on the heal of a year of weather."""
NICENESS = 10
"""With it a heal beside the scoring service raised its p50 by at most 6 % (FACTS.md)."""

LIMIT_SECONDS = 180.0
"""A heal of 1,000 rows takes 1 to 5 s on one core; a hundred columns on a busy machine some tens of seconds."""


class ChildFailedError(SelfhealError):
    """The heal's process died, ran out of time, or raised; the message says which."""


@dataclass(frozen=True)
class HealTask:
    """What a child needs.

    ``memory`` holds (version, adapter file, its own window in raw units, if it has one), ``earlier`` the labelled rows
    of windows before.
    """

    base: Path
    base_digest: str
    adapter: bytes
    policy: str
    window: pd.DataFrame
    recent: tuple[pd.DataFrame, ...]
    labels: pd.Series | None
    memory: tuple[tuple[int, bytes, pd.DataFrame | None], ...]
    seed: int
    earlier: tuple[tuple[pd.DataFrame, pd.Series], ...] = ()
    unsampled: tuple[tuple[pd.DataFrame, pd.Series], ...] = ()


@dataclass(frozen=True)
class HealResult:
    """The outcome of :func:`selfheal.heal`, its adapter as a file."""

    decision: str
    diagnosis: str
    reasons: tuple[str, ...]
    candidates: pd.DataFrame
    adapter: bytes | None
    recall: int | None
    changed_part: str
    numbers: Mapping[str, float]


def heal_in_child(task: HealTask, limit: float = LIMIT_SECONDS) -> HealResult:
    """Run one heal and wait for it, at most ``limit`` seconds.

    Raises
    ------
    ChildFailedError
        If no outcome came back.
    """
    answer = run_in_child(_heal, task, limit)
    assert isinstance(answer, HealResult)  # noqa: S101  what _heal returns
    return answer


def warm() -> None:
    """Start the fork server now, so that its imports (some 8 s of CPU) are done when the first heal is asked for.

    For processes that live long; a run that handles one window and ends would only pay for it.
    """
    mp.get_context("forkserver").set_forkserver_preload(list(PRELOAD))
    forkserver.ensure_running()


def run_in_child(work: Any, task: Any, limit: float) -> Any:
    """Run ``work(task)`` in a child of the fork server and return what it returns."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, task, sender), name="selfheal heal", daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            raise ChildFailedError(
                f"the heal did not end within {limit:g} s and was stopped; is the machine overloaded?"
            )
        ok, answer = receiver.recv()
    except EOFError:
        process.join(5)
        raise ChildFailedError(
            f"the heal's process died (exit code {process.exitcode}; negative: the signal, -9 when memory ran out)"
        ) from None
    finally:
        receiver.close()
        if process.is_alive():
            process.join(0.5)
            process.kill()
        process.join(5)
        with suppress(ValueError):  # still running: it is a daemon and dies with us
            process.close()
    if not ok:
        raise ChildFailedError(str(answer))
    return answer


def _run(work: Any, task: Any, sender: Connection) -> None:
    os.nice(NICENESS)
    try:
        sender.send((True, work(task)))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        sender.send((False, f"the heal raised {type(error).__name__} at {where}: {error}"))
    finally:
        sender.close()


def _heal(task: HealTask) -> HealResult:
    import torch
    from threadpoolctl import threadpool_limits

    from selfheal.adapter import Adapter
    from selfheal.healing import heal
    from selfheal.registry.archive import load_base

    torch.set_num_threads(1)
    with threadpool_limits(1):
        base = load_base(task.base, task.base_digest)
        model = base.with_policy(yaml.safe_load(task.policy)).with_adapter(Adapter.from_bytes(task.adapter))
        memory = [(version, Adapter.from_bytes(data), sample) for version, data, sample in task.memory]
        outcome = heal(
            model, task.window, task.recent or None, task.labels, memory, task.seed,
            earlier=task.earlier, unsampled=task.unsampled,
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
    )
