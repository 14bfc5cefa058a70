"""What labels may do: heal at once where they are loud, nothing where they are no fair draw; and rules on trial."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

import selfheal
from selfheal.board.synthetic import pattern
from selfheal.healing.labels.rules import rule_trial
from tests.prove.labelled import (
    BEFORE,
    LOST,
    Place,
    as_it_is,
    case,
    fair,
    figures,
    half_turned,
    harm,
    places,
    turned,
    unfair,
)  # fmt: skip
from tests.prove.ledger import Ledger

AGEING, TABLES = "SELFHEAL_PROVE_DATA", "SELFHEAL_PROVE_TABLES"
"""Variables that name folders of Parquet files: streams that age by themselves, and tables. Without them the shipped
weather stands for both, with a fraction of the cases."""

LABELS = (50, 100, 200)
CONCEPTS: dict[str, Callable[[Place], Any]] = {"turned": turned, "half turned": half_turned}
KINDS = ("positives late", "no positive yet", "mostly complaints", "complaints only", "by score", "the surest")

Results = list[dict[str, Any]]


def folders(variable: str) -> list[Path]:
    found = [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]
    assert all(folder.is_dir() for folder in found), f"{variable} names {os.environ[variable]!r}; it must be folders"
    return found


def changing(place: Place, concept: str, k: int) -> dict[str, Any]:
    return case(place, concept, CONCEPTS[concept](place), fair(k), refits=True)


def ageing(place: Place) -> dict[str, Any]:
    return case(place, "ageing", as_it_is, fair(LABELS[place.number % 3]), refits=True)


def selected(place: Place, kind: str) -> dict[str, Any]:
    """On a stream as it is or half turned, with or without windows before whose labels came in the same way."""
    number = place.number + KINDS.index(kind)
    change = half_turned(place) if number % 3 == 2 else as_it_is
    return case(place, kind, change, unfair(place)[kind], before=BEFORE * (number % 2))


def shares(found: Results) -> tuple[int, float, float]:
    """Of the cases that lost ten points: how many, what came back of what a refit gains, and the share promoted."""
    lost = [r for r in found if r["lost"] >= LOST and r["refit"] > r["before"][0]]
    room = sum(r["refit"] - r["before"][0] for r in lost)
    back = sum(r["after"][0] - r["before"][0] for r in lost)
    return len(lost), back / room if room else float("nan"), fmean(r["acted"] for r in lost) if lost else float("nan")


def told(name: str, found: Results) -> str:
    n, back, acted = shares(found)
    harmed, beyond = (sum(r[key] for r in found) for key in ("harmful", "beyond"))
    rest = [r for r in found if r["lost"] < LOST]
    return (
        f"{name}: {len(found)} cases, {harmed} harmful, {beyond} beyond noise; {n} lost ten points: {back:.2f} of what "
        f"a refit gains, {acted:.2f} promoted; of the others {sum(r['acted'] for r in rest)} of {len(rest)} promoted"
    )


def test_a_sample_of_labels() -> None:
    """Of each kind one, on the shipped weather: loud labels heal, natural ones and unfair ones do nothing."""
    first, *_ = places([], range(5, 6))
    loud = changing(first, "turned", 50)
    assert loud["acted"] and loud["after"][0] > loud["before"][0] + 0.3 and not loud["harmful"], loud
    assert not ageing(first)["acted"]
    assert not selected(first, "complaints only")["harmful"]


@pytest.mark.prove
def test_loud_labels(capsys: pytest.CaptureFixture[str]) -> None:
    """Some three minutes on thirteen tables."""
    ledger, found = Ledger("labels_loud"), {}
    for place in places(folders(TABLES), (3, 9)):
        for concept in CONCEPTS:
            for k in LABELS:
                key = f"{place.path.stem} {place.number} {concept} {k}"
                row = ledger.run(key, lambda p=place, c=concept, k=k: changing(p, c, k))
                found.setdefault((concept, k), []).append(row)
    with capsys.disabled():
        print("", *(told(f"{concept}, {k} labels", rows) for (concept, k), rows in found.items()), sep="\n")
        print(
            *(told(f"all, {k} labels", [r for (_, n), rows in found.items() if n == k for r in rows]) for k in LABELS),
            sep="\n",
        )
    assert not [r for rows in found.values() for r in rows if r["beyond"]]
    assert all(shares(rows)[1] >= 0.6 for (concept, _), rows in found.items() if concept == "turned"), "the target"


@pytest.mark.prove
@pytest.mark.parametrize("variable", [AGEING, TABLES])
def test_streams_that_age(variable: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger("labels_ageing")
    found = [
        ledger.run(f"{place.path.stem} {place.number}", lambda p=place: ageing(p))
        for place in places(folders(variable))
    ]
    with capsys.disabled():
        print("", told(f"as they are, {variable}", found), sep="\n")
    assert not [r for r in found if r["beyond"]]
    aged = [r for r in found if r["lost"] < LOST]
    assert sum(r["acted"] for r in aged) <= max(1, len(aged) // 48)


@pytest.mark.prove
def test_unfair_labels(capsys: pytest.CaptureFixture[str]) -> None:
    ledger, found = Ledger("labels_unfair"), {}
    for place in places(folders(TABLES), (*range(0, 12, 2), 11)):
        for kind in KINDS:
            row = ledger.run(f"{place.path.stem} {place.number} {kind}", lambda p=place, k=kind: selected(p, k))
            found.setdefault(kind, []).append(row)
    every = [r for rows in found.values() for r in rows]
    with capsys.disabled():
        for kind, rows in [*found.items(), ("all", every)]:
            harmed, acted = (sum(r[key] for r in rows) for key in ("harmful", "acted"))
            print(f"{kind}: {len(rows)} cases, {acted} promoted, {harmed} harmful")
    assert not [r for r in every if r["harmful"]]


# ------------------------------------------------------------------ rules on trial

RULES = 20
SHARE = 0.15
"""What a rule may cover until labels confirm it: the policy's default."""


def on_trial(seed: int, kind: str) -> dict[str, Any]:
    """A new rule in a world of its own; then labels of rows that it covers, in a hundred orders."""
    made = pattern(seed, kind)
    policy = made.model.policy.model_dump(by_alias=True)
    policy["rules"][0]["until_confirmed"] = {"share": SHARE, "for": "14d"}
    model = made.model.with_policy(policy)
    outcome = selfheal.heal(model, made.window, seed=seed)
    serves = model.with_adapter(outcome.adapter) if outcome.decision == "promote" and outcome.adapter else model
    was, now = (figures(m, made.unseen, made.unseen_truth) for m in (model, serves))
    rule = model.policy.rule_set[0]
    covered = made.window[rule.fires(model.model_units(made.window))]
    truth = made.truth[covered.index]
    says, labels = [], []
    for order in range(100):
        eight = np.random.default_rng([seed, order]).permutation(len(covered))[:8]
        trial = rule_trial(rule, model.model_units(covered.iloc[eight]), truth[eight])
        says.append(trial.says)
        labels.append(trial.answered)
    changed = float((model.predict(made.unseen) != serves.predict(made.unseen)).mean())
    return {
        "decision": outcome.decision, "acted": outcome.decision == "promote", "asks": outcome.asks, "changed": changed,
        "before": was, "after": now, "covers": len(covered) / len(made.window),
        "found": says.count("worse") / 100, "confirmed": says.count("better") / 100, "labels": fmean(labels),
        **harm(model, serves, made.unseen, made.unseen_truth, was, now),
    }  # fmt: skip


@pytest.mark.prove
def test_rules_on_trial(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger("labels_rules")
    wrong, right = (
        [ledger.run(f"{kind} {seed}", lambda s=seed, k=kind: on_trial(s, k)) for seed in range(720, 720 + RULES)]
        for kind in ("wrong", "right")
    )
    with capsys.disabled():
        for name, rows in (("wrong", wrong), ("right", right)):
            lost = max(r["before"][0] - r["after"][0] for r in rows)
            found, confirmed, labels = (fmean(r[key] for r in rows) for key in ("found", "confirmed", "labels"))
            print(
                f"\n{name} rules: {sum(r['acted'] for r in rows)} of {len(rows)} went out at once; at most "
                f"{max(r['changed'] for r in rows):.3f} of decisions changed, {lost:+.3f} of accuracy lost; 8 labels: "
                f"{found:.3f} refuted, {confirmed:.3f} confirmed, after {labels:.1f}"
            )
    assert max(r["before"][0] - r["after"][0] for r in wrong) <= SHARE and max(r["changed"] for r in wrong) <= SHARE
    assert fmean(r["found"] for r in wrong) >= 0.95
    assert all(r["decision"] == "promote" and r["asks"] == "labels" for r in right)
