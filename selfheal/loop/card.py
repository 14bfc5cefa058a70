"""The card of a healed version: its description in MLflow, as Markdown, written once, before it can be moved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from selfheal.loop.plots import PLOT
from selfheal.registry.versions import CARD

LIMITS = {
    "sensor": "It is right as long as these columns arrive as they did then. When they return to what they were, the "
    "watch says so and a version that fits is recalled.",
    "population": "It takes for granted that what a row means has not changed, only which rows come.",
    "prior": "It takes for granted that only the shares of the classes have moved. Where the rows of a class look "
    "otherwise now, it is wrong, and only labels show that.",
    "concept": "It rests on what rules or labels say of the rows that they cover, and changes nothing for certain "
    "elsewhere.",
}
"""What each diagnosis takes for granted."""

UNLABELLED = (
    "No label was used: what was measured is how natural the rows look to it, on rows that it was not fitted to."
)
LABELLED = "It was fitted to {count:g} labels; others, which it had not seen, decided about it."


def card(
    name: str, *, window: int, span: str, rows: int, broke: Sequence[str], words: Sequence[str], reasons: Sequence[str],
    diagnosis: str, parent: int, verdict: str, labels: float = 0.0, trial: Sequence[str] = (), run: str = "",
) -> str:  # fmt: skip
    """The whole description: in a line what was done, why it was believed, and under headings what else one must know.

    Parameters
    ----------
    window, span, rows
        The window that it was made for: its index, its times in words, and how many rows were looked at.
    broke, reasons
        Why a heal was asked for, and why the gate believed this one.
    words
        What the adapter does, a line each.
    parent
        The version that it was made from.
    labels
        How many it was fitted to.
    trial
        Rules that labels have yet to confirm.
    run
        Of the heal, in MLflow.
    """
    waits = "It waits in Staging until an answer or labels decide. " if verdict == "audit" else ""
    unproven = f" On trial until labels confirm: {', '.join(trial)}." if trial else ""
    what = f"{_safe(diagnosis).replace('_', ' ')}: {'; '.join(map(_safe, words))}"
    sections = {
        "What broke": "; ".join(_safe(line) for line in broke) or "somebody asked for a heal by hand",
        "What was done": f"{what}. Made of {rows:,} rows of window {window} ({span}) from version {parent}; backbone, "
        f"head and preprocessing are untouched.{_picture(run)}",
        "Limits": (LABELLED.format(count=labels) if labels else UNLABELLED)
        + f" {LIMITS.get(diagnosis, '')}{unproven}".rstrip(),
        "To undo it": f"{waits}`selfheal rollback {name}`, or move the alias or stage to version {parent} here; it is "
        "served within seconds, and nothing by the loop puts the like of this one back without labels or a person.",
        "Evidence": f"Under *Source Run*: `{PLOT}`, `candidates.html`, `drift-report.html` (run {run}). "
        f"`selfheal report {name}` tells the whole story.",
    }
    head = "; ".join(words) + "\n\n" + "\n".join(f"- {line}" for line in reasons)
    return head + "".join(f"{CARD}{title}\n\n{text}" for title, text in sections.items())


def _picture(run: str) -> str:
    """The drawing of a run, where MLflow's own pages show the card: they serve its artifacts beside them."""
    return f"\n\n![before and after](get-artifact?path={quote(PLOT, safe='')}&run_uuid={run})" if run else ""


def _safe(text: str) -> str:
    """A line whose names and values, which come from traffic, are no markup."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|#])", r"\\\1", flat)
