"""What labels that come later say of a heal's decision: was the diagnosis right, did it help, what did refusing cost.

A decision is judged by rows that it has not seen, those of the windows after it, until something else serves. Where
nothing was made that could have served instead, the window itself is held against the reference.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selfheal.errors import SelfhealError
from selfheal.loop.context import SAMPLE_ROWS, Serving
from selfheal.loop.expected import JUDGED
from selfheal.steering.models import load_version

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.model import MonitoredModel

LEAST = 30
"""Labels below which they say nothing about a decision."""

AFTER = 3
"""Windows after a decision that judge it: later ones may have drifted anew."""

HEALS = 8
"""The newest heals that are judged again whenever labels come."""

ERRORS = 2.0
"""Standard errors below the reference's accuracy at which a window counts as one that lost some."""

MARK = "judged"
"""Mark of the labels and windows that were there when it was judged last."""

UNHARMED = ("stable", "benign")
"""Diagnoses that say that nothing was lost."""

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class Judgement:
    """What labels say of a decision.

    Attributes
    ----------
    decision
        ``promote`` and ``recall`` where the version went out, ``held`` where one was made and did not; else ``keep``
        or ``refuse``.
    windows, labelled
        Whose labels judge, and how many there are.
    without, with_
        Accuracy of these rows under the version that served when it was decided, and under the one that was made; the
        latter None where there is none.
    level
        The model's accuracy on its reference, for rows that nothing has happened to.
    right
        Whether the diagnosis was right; None where labels leave it open.
    helped
        Whether it was better to decide so; None where labels leave it open.
    cost
        Answers of these windows that were wrong and need not have been: what refusing cost, or a promotion spoiled.
        Where no other version was made, at most so many.
    """

    decision: str
    diagnosis: str
    windows: tuple[int, ...]
    labelled: int
    without: float
    with_: float | None
    level: float
    right: bool | None
    helped: bool | None
    cost: int

    def record(self) -> dict[str, Any]:
        """As a record of plain names."""
        return {name.rstrip("_"): list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}


def judge_decisions(serving: Serving) -> Serving:
    """Hold the last windows and the newest heals against labels, where any have come since this was done last.

    Counting the labels of a window that is full of them takes as long as reading it: without new ones nothing is asked.
    """
    newest = serving.cycles[-1]["index"] if serving.cycles else None
    labels = serving.books.labels
    state = json.dumps([*labels, newest])
    if serving.policy.foreign is None and (not labels[0] or serving.books.marks.get(MARK) == state):
        return serving
    anew = judged(realised(serving))
    serving.ws.table.outbox.set_mark(serving.name, MARK, state)
    return anew


def realised(serving: Serving) -> Serving:
    """The accuracy of the last windows' answers by labels that have come since; the result joins their records."""
    last = serving.cycles[-JUDGED:]
    counts = serving.labelled_windows([c["index"] for c in last])
    new = [c for c in last if counts.get(c["index"], 0) not in (0, (c.get("realised") or {}).get("labelled"))]
    accuracies = {}
    for cycle in new:
        window = serving.labelled(cycle["index"])
        if window.frame.empty:
            continue
        said = serving.model.classes_[serving.model.decide(window.probabilities)]
        right = float(np.mean(said == window.labels.to_numpy(dtype=said.dtype)))
        accuracies[cycle["index"]] = {"accuracy": right, "labelled": counts[cycle["index"]]}
        serving.ws.table.amend_cycle(serving.name, cycle["index"], realised=accuracies[cycle["index"]])
    return _joined(serving, "realised", accuracies)


def _joined(serving: Serving, key: str, entries: Mapping[int, Mapping[str, Any]]) -> Serving:
    cycles = ({**c, key: entries[c["index"]]} if c["index"] in entries else c for c in serving.cycles)
    return replace(serving, cycles=tuple(cycles)) if entries else serving


def judged(serving: Serving) -> Serving:
    """Judge the newest heals by labels that have come since; the result joins the records of their windows.

    A version or a window that can't be read leaves its decision as it was judged before.
    """
    judgements = {}
    for cycle in [c for c in serving.cycles if c.get("heal")][-HEALS:]:
        try:
            judgement = _judged(serving, cycle)
        except SelfhealError as error:
            _log.warning("%s, window %d: its decision was not judged: %s", serving.name, cycle["index"], error)
            continue
        if judgement is not None:
            judgements[cycle["index"]] = judgement.record()
            serving.ws.table.amend_cycle(serving.name, cycle["index"], judged=judgements[cycle["index"]])
    if not judgements:
        return serving
    return _logged(_joined(serving, "judged", judgements))


def score(cycles: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How often the decisions of these windows were right, as far as labels have said so.

    >>> told = {"decision": "promote", "right": True, "helped": True, "cost": 0}
    >>> score([{"judged": told, "estimate": {"held": False}}, {}])["promotions"]
    {'judged': 1, 'good': 1, 'bad': 0, 'cost': 0}
    """
    judgements = [c["judged"] for c in cycles if c.get("judged")]
    out = [j for j in judgements if j["decision"] in ("promote", "recall")]
    kept = [j for j in judgements if j not in out]
    estimates = [good for c in cycles if (good := (c.get("estimate") or {}).get("held")) is not None]
    return {
        "diagnoses": _tally([j["right"] for j in judgements], 0),
        "promotions": _tally([j["helped"] for j in out], sum(j["cost"] for j in out)),
        "refusals": _tally([j["helped"] for j in kept], sum(j["cost"] for j in kept)),
        "estimates": _tally(estimates, 0),
    }


def counted(tallies: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A score in words, a line for each kind of decision that was judged.

    >>> counted({"diagnoses": {"judged": 3, "good": 2, "bad": 0, "cost": 0}})
    ['diagnoses: 2 right, 0 wrong, 1 open, of 3 judged by labels']
    """
    names = {"promotions": ("helped", "did harm"), "refusals": ("were right", "were wrong")}
    lines = []
    for kind, each in tallies.items():
        good, bad = names.get(kind, ("right", "wrong"))
        left = each["judged"] - each["good"] - each["bad"]
        cost = f"; {each['cost']:,} answers were wrong that need not have been" if each["cost"] else ""
        if each["judged"]:
            said = f"{each['good']} {good}, {each['bad']} {bad}, {left} open"
            lines.append(f"{kind}: {said}, of {each['judged']} judged by labels{cost}")
    return lines


def _tally(said: Sequence[bool | None], cost: int) -> dict[str, int]:
    return {"judged": len(said), "good": said.count(True), "bad": said.count(False), "cost": cost}


def _judged(serving: Serving, cycle: Mapping[str, Any]) -> Judgement | None:
    """What labels say of a decision now; None where they say nothing new."""
    heal = cycle["heal"]
    made, out = heal.get("version"), bool(heal["promoted"])
    if heal["decision"] == "failed" or (made is None and heal["decision"] not in ("keep", "refuse")):
        return None
    windows = [cycle] if made is None else list(_after(serving, cycle, made if out else cycle["version"]))
    counts = serving.labelled_windows([c["index"] for c in windows])
    labelled = sum(counts.values())
    if labelled < LEAST or labelled == (cycle.get("judged") or {}).get("labelled"):
        return None
    rows = [_rows(serving, index) for index in counts]
    before = load_version(serving.ws, serving.name, serving.info(cycle["version"])).with_policy(serving.policy)
    answered = sum(c["rows"] for c in windows)
    draft = Judgement(
        heal["decision"] if out or made is None else "held", heal["diagnosis"], tuple(counts), labelled,
        accuracy(before, rows), None, _level(before), None, None, 0,
    )  # fmt: skip
    if made is None:
        return _unhealed(draft, answered)
    after = load_version(serving.ws, serving.name, serving.info(made)).with_policy(serving.policy)
    return _compared(draft, before, after, rows, answered, out=out)


def _after(serving: Serving, cycle: Mapping[str, Any], version: int) -> Iterator[Mapping[str, Any]]:
    """The windows after a decision, until something else serves or is made."""
    later = [c for c in serving.cycles if c["index"] > cycle["index"]]
    for each in later[:AFTER]:
        if each.get("version") != version:
            return
        yield each
        if (each.get("heal") or {}).get("version") is not None:
            return


def _rows(serving: Serving, index: int) -> tuple[pd.DataFrame, pd.Series]:
    window = serving.labelled(index)
    step = max(1, -(-len(window.frame) // SAMPLE_ROWS))
    return window.frame.iloc[::step], window.labels.iloc[::step]


def accuracy(model: MonitoredModel, rows: Sequence[tuple[pd.DataFrame, pd.Series]]) -> float:
    """Share of labelled rows that a model calls right, by the decisions that it makes."""
    said = [model.classes_[model.decide(model.predict_proba(frame))] for frame, _ in rows]
    truth = [labels.to_numpy(dtype=model.classes_.dtype) for _, labels in rows]
    return float(np.mean(np.concatenate(said) == np.concatenate(truth)))


def _level(model: MonitoredModel) -> float:
    """Accuracy of the base on its reference, which it was not trained on; in model units, so whatever the map."""
    rows = model.reference.iloc[:: max(1, -(-len(model.reference) // SAMPLE_ROWS))]
    said = model.classes_[model.decide(model.proba_of_units(rows))]
    return float(np.mean(said == model.reference_labels.loc[rows.index].to_numpy(dtype=said.dtype)))


def _unhealed(draft: Judgement, answered: int) -> Judgement:
    """A window that was left as it was: right where nothing was lost; where something was, a fault was a fault."""
    slack = ERRORS * float(np.sqrt(max(draft.level * (1 - draft.level), 1 / draft.labelled) / draft.labelled))
    lost = draft.without < draft.level - slack
    if draft.diagnosis in UNHARMED:
        cost = _cost(lost * (draft.level - draft.without), answered)
        return replace(draft, right=not lost, helped=not lost, cost=cost)
    if draft.diagnosis == "data_fault":  # is no less one for having cost nothing; and no version would have undone it
        return replace(draft, right=True if lost else None)
    return replace(draft, cost=_cost(lost * (draft.level - draft.without), answered))


def _compared(
    draft: Judgement, before: MonitoredModel, after: MonitoredModel, rows: Sequence[tuple[pd.DataFrame, pd.Series]],
    answered: int, *, out: bool,
) -> Judgement:  # fmt: skip
    """The version that was made against the one that it was made from, by the paired test that the watch uses too."""
    from selfheal.healing.labels.trials import taken_back

    says, _ = taken_back(before, after, rows)
    made = accuracy(after, rows)
    better = {"better": True, "worse": False}.get(says)
    helped = better if out or better is None else not better
    lost = max(0.0, (draft.without - made) if out else (made - draft.without))
    return replace(draft, with_=made, right=better, helped=helped, cost=_cost(lost, answered))


def _cost(share: float, answered: int) -> int:
    return round(max(0.0, share) * answered)


def _logged(serving: Serving) -> Serving:
    """The running score on the watch run, at the newest window; MLflow being away loses a point of a plot."""
    runs, name, last = serving.ws.registry.runs, serving.name, serving.cycles[-1]
    numbers = {
        f"score/{kind} {what}": float(count)
        for kind, counted in score(serving.cycles).items()
        for what, count in counted.items()
        if counted["judged"] and (what != "cost" or kind in ("promotions", "refusals"))
    }
    try:
        run = last.get("run") or runs.watch_run(name, last["version"], lambda: serving.info(last["version"]))
        runs.log_metrics(run, numbers, last["index"], None)
    except SelfhealError as away:
        _log.warning("%s: the score of its decisions was not logged: %s", name, away)
    return serving
