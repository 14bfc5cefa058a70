"""What a board amounts to: the totals, a line per target, a line per scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from selfheal.board.estimators import REFERENCE
from selfheal.board.ledger import TUNED_ON
from selfheal.board.score import Row
from selfheal.board.targets import is_clean, pooled, targets, trigger_targets

FIGURES = ("accuracy", "balanced_accuracy", "f1", "average_precision", "log_loss", "cost")


def summarise(rows: Sequence[Row], triggers: Sequence[Row] = (), absent: Sequence[str] = ()) -> dict[str, Any]:
    """Totals over all rows, and the project's targets.

    Returns
    -------
    dict
        ``promotions`` (recalls too), ``harmful``, ``gap_pooled`` (identifiable rows), ``false_promotions_clean``,
        ``seconds_median``; ``unlucky``: of the harmful, those that restored the clean inputs' figures, for a fault can
        push a stale model to a luckier answer; ``rivals``: how often each rival would have harmed; ``estimators``: how
        each estimator of the accuracy did, where they were asked; ``targets``; ``seeds``: reported and tuned on;
        ``skipped``.
    """
    acted = [r for r in rows if r["acted"]]
    harmful = [r for r in rows if r["harmful"]]
    return {
        "rows": len(rows),
        "promotions": len(acted),
        "harmful": len(harmful),
        "unlucky": sum(_restored(r) for r in harmful),
        "gap_pooled": pooled([r for r in rows if r["identifiable"]])[0],
        "false_promotions_clean": sum(r["acted"] for r in rows if is_clean(r) or r["kind"] == "natural"),
        "right": sum(r["right"] for r in rows),
        "seconds_median": median(r["seconds"] for r in rows) if rows else None,
        "rivals": _rivals(rows),
        "estimators": _estimators(rows),
        "targets": [
            asdict(t) for t in [*(targets(rows) if rows else ()), *(trigger_targets(triggers) if triggers else ())]
        ],
        "seeds": {"reported": sorted({r["seed"] for r in rows}), "tuned_on": list(TUNED_ON)},
        "skipped": list(absent),
    }


def _restored(row: Row) -> bool:
    clean, after = row["undrifted"], row["after"]
    return bool(
        clean and after and row["mechanism"] == "sensor" and after["accuracy"] >= clean["accuracy"] - 0.01
        and after["log_loss"] <= clean["log_loss"] + 0.02
    )  # fmt: skip


def _rivals(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """For each rival what would have come of using it everywhere: harmed rows, and its share of the pooled gap."""
    figures = {}
    for name in dict.fromkeys(n for r in rows for n in r["rivals"]):
        cases = [r for r in rows if r["rivals"].get(name) and r["before"]]
        as_if = [{**r, "after": r["rivals"][name], "acted": True} for r in cases]
        lost = [r["before"]["accuracy"] - r["after"]["accuracy"] for r in as_if]
        worse = [r["after"]["log_loss"] - r["before"]["log_loss"] for r in as_if]
        figures[name] = {
            "rows": float(len(cases)),
            "harmful": float(sum(a > 0.01 or b > 0.02 for a, b in zip(lost, worse, strict=True))),
            "gap_pooled": pooled([r for r in as_if if r["identifiable"]])[0],
        }
    return figures


FELL, SAID = 0.05, 0.025
"""Accuracy lost against the reference that an estimator should see, and what it must say to have seen it."""


def _estimators(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    """For each estimator its mean and largest error, and how often it said that accuracy fell where it did, and not."""
    asked = [r for r in rows if r.get("estimates") and r["before"]]
    figures = {}
    for name in dict.fromkeys(n for r in asked for n in r["estimates"]):
        triples = [
            (r["estimates"][name], r["before"]["accuracy"], r["estimates"][REFERENCE])
            for r in asked
            if r["estimates"].get(name) is not None
        ]
        errors = [abs(said - true) for said, true, _ in triples]
        fell = [usual - said >= SAID for said, true, usual in triples if usual - true >= FELL]
        stood = [usual - said >= SAID for said, true, usual in triples if usual - true < SAID]
        figures[name] = {
            "rows": float(len(triples)),
            "mean_error": fmean(errors) if errors else None,
            "largest_error": max(errors, default=None),
            "seen": fmean(fell) if fell else None,
            "false_alarms": fmean(stood) if stood else None,
        }
    return figures


def by_scenario(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One record per scenario, or per kind of case of a group with many: means over its rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_label(row), []).append(row)
    return [_record(name, part) for name, part in groups.items()]


def _label(row: Row) -> str:
    if row["group"] == "random":
        return f"random: {row['mechanism']}" + ("" if row["identifiable"] else " (not identifiable)")
    if row["kind"]:
        few = f", {row['rows']} rows" if row["kind"] == "unit" and row["rows"] < 500 else ""
        return f"{row['group']}: {row.get('labels', '')} {row['kind']}".replace(":  ", ": ") + few
    return str(row["scenario"])


def _record(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    decisions = Counter(r["decision"] for r in rows)
    return {
        "name": name,
        "group": rows[0]["group"],
        "rows": len(rows),
        "declared": rows[0]["declared"],
        "decisions": dict(decisions.most_common()),
        "diagnoses": dict(Counter(r["diagnosis"] for r in rows).most_common()),
        "expected": rows[0]["expected"],
        "right": sum(r["right"] for r in rows),
        "harmful": sum(r["harmful"] for r in rows),
        "gap": pooled(rows)[0],
        "seconds": median(r["seconds"] for r in rows),
        **{at: {f: _mean(rows, at, f) for f in FIGURES} for at in ("before", "after", "oracle", "undrifted")},
        "rivals": {n: {f: _mean([r["rivals"] for r in rows], n, f) for f in FIGURES} for n in rows[0]["rivals"]},
    }


def _mean(rows: Sequence[Any], at: str, figure: str) -> float | None:
    values = [r[at][figure] for r in rows if r.get(at) and r[at].get(figure) is not None]
    return fmean(values) if values else None
