"""How right the answers of a window were, by labels that are asked for: which rows, and what came of it.

Rows are drawn by the model's own doubt (:mod:`selfheal.healing.labels.accuracy`). What was drawn is journaled with its
weights, so that every label that comes, whichever way, makes the interval narrower, and a further draw goes on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from selfheal.errors import RefusedError, SelfhealError
from selfheal.loop.context import Serving, load
from selfheal.loop.decide import usable
from selfheal.loop.records import LABELS_ASKED
from selfheal.steering import actors
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.healing.labels.accuracy import Accuracy

DRAWN, TOLD = "drawn", "told"

MOST = 20
"""Draws for each row that is asked for, at most: where hardly a row is without a label, the rest can't be found."""

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class Asked:
    """Rows to label.

    Attributes
    ----------
    name, window
        The model, and the index of the window that they are from.
    rows
        Raw features, indexed by prediction id.
    draws
        Of the window so far, these included.
    """

    name: str
    window: int
    rows: pd.DataFrame
    draws: int


def ask_labels(ws: Workspace, name: str, count: int, window: int | None = None) -> Asked:
    """Draw rows of a window whose labels say how right its answers were, and journal the draw.

    Parameters
    ----------
    count
        Rows to label.
    window
        Its index; by default the newest that could be read.

    Raises
    ------
    NotFoundError
        No such model or window.
    RefusedError
        No window was handled yet, or all rows of this one have a label.
    """
    import numpy as np

    from selfheal.healing.labels.accuracy import draw, weights_of

    serving = load(ws, name)
    index = window if window is not None else _newest(serving)
    rows = serving.own(serving.source.read(ws.table.window(name, index)))
    before = sum(len(e["ids"]) for e in _drawn(ws, name, index))
    known = set(rows.frame.index[rows.labels.notna().to_numpy()])
    if len(known) == len(rows.frame):
        raise RefusedError(f"all {len(rows.frame)} rows of window {index} of {name!r} have a label: none is left")
    drawn = draw(rows.probabilities, MOST * count, seed=index * 1_000_003 + before)
    ids = rows.frame.index[drawn]
    fresh = ~ids.duplicated() & ~ids.isin(known)
    ends = int(np.flatnonzero(fresh)[:count][-1]) + 1 if fresh.any() else len(drawn)
    drawn, chosen = drawn[:ends], drawn[:ends][fresh[:ends]]
    weights = weights_of(rows.probabilities)
    said = serving.model.decide(rows.probabilities[drawn])
    note = {
        "ids": ids[:ends].tolist(), "weights": [round(float(w), 6) for w in weights[drawn]], "said": said.tolist(),
        "most": round(float(weights.max()), 6), "rows": len(rows.frame),
    }  # fmt: skip
    _note(ws, name, DRAWN, index, f"{len(chosen)} rows of window {index}, drawn by the model's doubt", note)
    return Asked(name, index, rows.frame.iloc[chosen], before + ends)


def accuracy_told(ws: Workspace, name: str, serving: Serving | None = None) -> dict[str, Any] | None:
    """What the labels say of the window that rows were asked of last; journaled where it has changed.

    Parameters
    ----------
    serving
        What serves, if it was read just now.

    Returns
    -------
    dict or None
        As :func:`last_told`; None where nothing was asked, or no answer has come.

    Raises
    ------
    UnavailableError
        The database or the log can't be reached.
    """
    asked = ws.table.journal(name, kind=LABELS_ASKED) if serving is None else serving.journal["asked"]
    index = next((e.intent["window"] for e in reversed(asked) if e.intent["step"] == DRAWN), None)
    if index is None:
        return None
    serving = serving or load(ws, name)
    labels = serving.labelled(index).labels
    accuracy = _of_draws(_drawn(ws, name, index), labels.to_dict(), tuple(serving.model.classes_.tolist()))
    record = {"window": index} | asdict(accuracy)
    if accuracy.labels and record != last_told(ws, name):
        words = (
            f"window {index}: accuracy {accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f}, at any time "
            f"with {1 - accuracy.level:.0%}) by {accuracy.labels} labels that were asked for"
        )
        _note(ws, name, TOLD, index, words, {"accuracy": record})
    return record if accuracy.labels else None


def tell_accuracy(serving: Serving) -> None:
    """The same, beside other work: a store that is away changes nothing and is logged; a later run asks again."""
    try:
        accuracy_told(serving.ws, serving.name, serving)
    except SelfhealError as error:
        _log.warning("%s: labels that were asked for were not read: %s", serving.name, error)


def last_told(ws: Workspace, name: str) -> dict[str, Any] | None:
    """The newest accuracy by labels that were asked for.

    Returns
    -------
    dict or None
        ``window, value, low, high, labels, level``; None where there is none.
    """
    records = [e.intent for e in ws.table.journal(name, kind=LABELS_ASKED) if e.intent["step"] == TOLD]
    return dict(records[-1]["accuracy"]) if records else None


def _newest(serving: Serving) -> int:
    indexes = [c["index"] for c in serving.cycles if usable(c) and c["decision"] != "too_few"]
    if not indexes:
        raise RefusedError(
            f"no window of {serving.name!r} was handled yet, so there are no rows to ask about; run selfheal monitor "
            f"{serving.name} first"
        )
    return int(indexes[-1])


def _drawn(ws: Workspace, name: str, window: int) -> list[Mapping[str, Any]]:
    """What was drawn of a window, oldest first."""
    notes = [e.intent for e in ws.table.journal(name, kind=LABELS_ASKED)]
    return [n for n in notes if n["step"] == DRAWN and n["window"] == window]


def _of_draws(notes: Sequence[Mapping[str, Any]], labels: Mapping[Any, Any], classes: tuple[Any, ...]) -> Accuracy:
    """The accuracy by the labels of what was drawn, up to the last draw that has one."""
    import numpy as np
    import pandas as pd

    from selfheal.healing.labels.accuracy import weighed

    draws = [
        (labels.get(key), classes[said], weight)
        for note in notes
        for key, said, weight in zip(note["ids"], note["said"], note["weights"], strict=True)
    ]
    unknown = np.array([label is None or bool(pd.isna(label)) for label, *_ in draws])
    ends = int(np.flatnonzero(~unknown)[-1]) + 1 if (~unknown).any() else 0
    wrong = np.array([label != said for label, said, _ in draws[:ends]], dtype=bool)
    weights = np.array([weight for *_, weight in draws[:ends]], dtype=np.float64)
    return weighed(weights, max(note["most"] for note in notes), wrong, unknown[:ends])


def _note(ws: Workspace, name: str, step: str, window: int, reason: str, more: Mapping[str, Any]) -> None:
    intent = {"step": step, "window": window, "actor": actors.AUDIT, "reasons": [reason], **more}
    ws.table.journal_note(name, LABELS_ASKED, intent, step, ws.clock())
