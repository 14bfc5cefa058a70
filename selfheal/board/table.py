"""The scoreboard in lines of text, for a terminal. Pure: it reads the summary and the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfheal.board.score import Row
from selfheal.board.summary import by_scenario
from selfheal.board.triggers import tabulated

Record = Mapping[str, Any]
NAME = 40


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none.

    >>> number(0.9514), number(None)
    ('0.951', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def tally(decisions: Mapping[str, int]) -> str:
    """Decisions with how often they came.

    >>> tally({"promote": 4, "audit": 1})
    'promote 4, audit 1'
    """
    return ", ".join(f"{name} {n}" for name, n in decisions.items())


def lines(rows: Sequence[Row], summary: Record, triggers: Sequence[Record] = ()) -> Iterator[str]:
    """The whole board: scenarios, rivals, triggers, targets, totals, what was skipped."""
    if rows:
        yield from _scenarios(rows)
        yield from _rivals(summary)
        yield from _estimators(summary)
    yield from _triggers(triggers)
    yield from _targets(summary)
    yield ""
    yield totals(summary)
    yield seeds(summary)
    yield from (f"skipped: {text}" for text in summary["skipped"])


def _scenarios(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        f"{'scenario':<{NAME}} {'right':>7}  {'before':>6} {'after':>6} {'oracle':>6}  {'log-loss':>15}  "
        f"{'gap':>5} {'harm':>4}  decisions"
    )
    for r in by_scenario(rows):
        loss = f"{number(r['before']['log_loss'], 2)} → {number(r['after']['log_loss'], 2)}"
        yield (
            f"{r['name']:<{NAME}} {r['right']:>3}/{r['rows']:<3}  {number(r['before']['accuracy']):>6} "
            f"{number(r['after']['accuracy']):>6} {number(r['oracle']['accuracy']):>6}  {loss:>15}  "
            f"{number(r['gap'], 2):>5} {r['harmful'] or '':>4}  {tally(r['decisions'])}"
        )


def _rivals(summary: Record) -> Iterator[str]:
    yield ""
    yield f"{'rival, used in every row':<{NAME}} {'harmed':>11}  {'gap':>6}"
    for name, r in summary["rivals"].items():
        yield f"{name:<{NAME}} {r['harmful']:>5.0f}/{r['rows']:<5.0f}  {number(r['gap_pooled'], 2):>6}"
    yield f"{'selfheal':<{NAME}} {summary['harmful']:>5}/{summary['rows']:<5}  {number(summary['gap_pooled'], 2):>6}"


def _estimators(summary: Record) -> Iterator[str]:
    if not summary.get("estimators"):
        return
    yield ""
    yield f"{'estimator of accuracy':<{NAME}} {'rows':>5}  {'error':>6} {'worst':>6}  {'saw falls':>10} {'false':>6}"
    for name, r in summary["estimators"].items():
        yield (
            f"{name:<{NAME}} {r['rows']:>5.0f}  {number(r['mean_error']):>6} {number(r['largest_error']):>6}  "
            f"{number(r['seen'], 2):>10} {number(r['false_alarms'], 2):>6}"
        )


def _triggers(triggers: Sequence[Record]) -> Iterator[str]:
    if not triggers:
        return
    yield ""
    yield f"{'triggers':<{NAME}} {'windows':>7}  in windows"
    for r in tabulated([dict(t) for t in triggers]):
        name = f"{r['stream']}: {r['change']}"
        if r["change"] == "none":
            facts = (
                f"false alarms {r['false_alarms_a_window']:.3f} a window, confirmed {r['confirmed_a_window']:.3f}; "
                f"run length ≥ {r['run_length_at_least']:.0f}"
            )
        else:
            seen, sure = number(r["delay"], 1), number(r["delay_confirmed"], 1)
            facts = f"seen after {seen}, confirmed after {sure}; missed {r['missed']} of {r['streams']}"
        yield f"{name:<{NAME}} {r['windows']:>7}  {facts}"


def _targets(summary: Record) -> Iterator[str]:
    yield ""
    yield f"{'target':<52} {'value':>8}  {'goal':>8}  {'cases':>5}  met"
    for t in summary["targets"]:
        met = {True: "yes", False: "NO", None: "–"}[t["met"]]
        yield f"{t['name']:<52} {number(t['value']):>8}  {t['goal']:>8}  {t['cases']:>5}  {met}"


def totals(summary: Record) -> str:
    """One line: what was promoted, what it did."""
    unlucky = f" ({summary['unlucky']} exact repairs of a luckily broken stream)" if summary["unlucky"] else ""
    return (
        f"{summary['rows']} rows, {summary['promotions']} promotions, {summary['harmful']} harmful{unlucky}; "
        f"gap {number(summary['gap_pooled'], 2)}; on clean windows {summary['false_promotions_clean']}; "
        f"{number(summary['seconds_median'], 2)} s a heal"
    )


def seeds(summary: Record) -> str:
    """Both sets of seeds, and whether they are disjoint."""
    reported, tuned = summary["seeds"]["reported"], summary["seeds"]["tuned_on"]
    both = sorted(set(reported) & set(tuned))
    note = f"; NOT disjoint: {', '.join(map(str, both))}" if both else ""
    return f"seeds reported: {', '.join(map(str, reported))}; tuned on: {', '.join(map(str, tuned))}{note}"
