"""A pattern that the reference never saw, and a rule for it: the ReflexiveLayer learns from the rule alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import binom

from selfheal.adapter import Adapter
from selfheal.drift.signals import new_rule_excess
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.facts import NOTHING, about_rules
from selfheal.healing.fits.reflex import teach, with_share
from selfheal.healing.fits.shares import band
from selfheal.healing.labels.rules import rule_trial
from selfheal.healing.mechanism import LABELS, NEW_RULE, Mechanism
from selfheal.healing.outcome import Finding
from selfheal.healing.sequential import Audit
from selfheal.rules import Rule

RULE_WEIGHT = 3.0
"""How much a covered row counts against one that keeps the frozen answer (docs/notes.md)."""

DOUBT_P = 0.01
"""Binomial tail below which the reference rows that a new rule covers speak against its declared precision."""

OLD = 0.15
"""Share of what a rule covers now that it covered before, from which its record says something of the whole."""

CONTRADICTED = 0.5
"""Share of a new rule's rows on which an older rule votes otherwise, from which a person is asked."""

ANCHORS = 2000
"""Reference rows outside the rule that hold the layer to the frozen answers."""


def explain(case: Case) -> Finding:
    """Whether rules marked ``knowledge: new`` fire beyond chance, and everything else looks as it did."""
    rules = case.new_rules
    excess = {rule.name: _excess(case, rule) for rule in rules}
    active = [rule for rule in rules if excess[rule.name] > 1.0]
    best = max(excess, key=lambda name: excess[name])
    if not active:
        reason = f"{best} fires no more than chance: {excess[best]:.2f} of the limit"
        return Finding("new_rule", "concept", False, "new rule's excess", excess[best], 1.0, reason)
    targets, covered = taught(case, active, case.raw)
    rest = case.stick.judge(case.raw[~covered])
    name, ratio = rest.worst
    high = float(band(case)[1][-1])
    failed = [f"{covered.mean():.0%} covered, above the prior band's {high:.0%}"] if covered.mean() > high else []
    failed += [f"the rows beside it are unusual too: {name} at {ratio:.2f}"] if ratio > 1.0 else []
    labels = case.model.classes_[case.labelled.truth]
    said = {rule.name: rule_trial(rule, case.labelled.rows, labels) for rule in active}
    failed += [f"labels refute {rule}: {_counted(audit)}" for rule, audit in said.items() if audit.says == "worse"]
    unproven = [rule for rule in active if said[rule.name].says != "better"]
    doubts = [doubt for rule in unproven for doubt in (*_against(case, rule), *_beyond(case, rule))]
    on_trial = tuple(rule.name for rule in unproven if rule.until_confirmed)
    adapter = _learn(case, active) if not failed else None
    words = ", ".join(f"{r.name} (declared precision {r.precision:g})" for r in active)
    reason = (
        f"{words} covers {covered.mean():.1%} of rows, {excess[best]:.1f} times what chance allows; the rule is taken "
    )
    reason += "at its word, for without labels a wrong one looks the same"
    return Finding(
        "new_rule", "concept", not failed, f"rows beside the rule: {name}", ratio, 1.0,
        reason + "".join(f"; {why}" for why in failed + doubts + _at_odds(case, active)), adapter=adapter,
        trusted=not doubts, teacher=targets,
        refit=lambda rows: _learn(case.part(rows), active), on_trial=on_trial,
        question=about_rules(on_trial, case.model.classes_.tolist()) if on_trial else NOTHING,
    )  # fmt: skip


def _counted(audit: Audit) -> str:
    return f"right on {audit.candidate} of {audit.answered} rows that it covers (a lead of {audit.lead} decides)"


def _excess(case: Case, rule: Rule) -> float:
    before = float(np.mean([rule.fires(block).mean() for block in case.stick.blocks]))
    fired = rule.fires(case.raw)
    return new_rule_excess(int(fired.sum()), len(fired), before, case.stick)


def _beyond(case: Case, rule: Rule) -> list[str]:
    """Whether an unconfirmed rule covers more than its owner lets it."""
    if rule.until_confirmed is None:
        return []
    share, most = float(rule.fires(case.raw).mean()), rule.until_confirmed.share
    words = f"{rule.name} covers {share:.1%} of rows, and until labels confirm it {most:.0%} at most (until_confirmed)"
    return [words] if share > most else []


def _against(case: Case, rule: Rule) -> list[str]:
    """Evidence that a declared rule is wrong: the few reference rows it covers, and the other rules' votes beside it.

    Neither can prove it (the pattern is new); either is enough to let labels decide.
    """
    doubts = []
    known = case.truth[rule.fires(case.reference)]
    right = int((case.model.classes_[known] == rule.vote).sum())
    # What fired before goes on firing; only of the excess nothing is known.
    before = min(1.0, len(known) / len(case.truth) / max(float(rule.fires(case.raw).mean()), 1e-9))
    if before > OLD and binom.cdf(right, len(known), rule.precision) < DOUBT_P:
        doubts.append(
            f"{rule.name}: right on {right} of the {len(known)} reference rows it covers, declared {rule.precision:g}, "
            f"and {before:.0%} of the rows that it covers now are of their kind (bound {OLD:.0%})"
        )
    covered = case.raw[rule.fires(case.raw)]
    for other in case.model.policy.rule_set:
        if other.knowledge == "record" and other.vote != rule.vote:
            share = float(other.fires(covered).mean())
            if share > CONTRADICTED:
                doubts.append(f"{other.name} votes {other.vote!r} on {share:.0%} of the rows that {rule.name} covers")
    return doubts


def _at_odds(case: Case, rules: list[Rule]) -> list[str]:
    """New rules that vote otherwise on most of the rows of one of them: the later one is what is learnt there."""
    reasons = []
    for first, second in combinations(rules, 2):
        one, other = first.fires(case.raw), second.fires(case.raw)
        share = float((one & other).sum() / max(min(one.sum(), other.sum()), 1))
        if first.vote != second.vote and share > CONTRADICTED:
            reasons.append(
                f"{first.name} votes {first.vote!r} and {second.name} {second.vote!r} on {share:.0%} of the rows that "
                f"one of them covers: only one can be right, and {second.name} is followed"
            )
    return reasons


def taught(case: Case, rules: list[Rule], rows: pd.DataFrame) -> tuple[Floats, NDArray[np.bool_]]:
    """Frozen probabilities [n, k] with the rules' declared precision where they fire, and where that is, bool [n]."""
    targets = case.base.proba_of_units(rows)
    covered = np.zeros(len(rows), dtype=bool)
    for rule in rules:
        fired = rule.fires(rows)
        vote = int(np.flatnonzero(case.model.classes_ == rule.vote)[0])
        targets[fired] = with_share(targets[fired], vote, np.full(int(fired.sum()), rule.precision))
        covered |= fired
    return targets, covered


def _learn(case: Case, rules: list[Rule]) -> Adapter:
    """Covered rows towards the rule, all others and the reference outside the rule towards the frozen answers."""
    targets, covered = taught(case, rules, case.raw)
    outside = ~np.logical_or.reduce([rule.fires(case.reference) for rule in rules])
    chosen = np.sort(np.random.default_rng(case.seed).permutation(np.flatnonzero(outside))[:ANCHORS])
    anchors = case.reference.iloc[chosen]
    hidden = torch.cat([case.base.hidden_of_units(case.raw), case.base.hidden_of_units(anchors)])
    wanted = np.concatenate([targets, case.base.proba_of_units(anchors)])
    weights = np.r_[np.where(covered, RULE_WEIGHT, 1.0), np.ones(len(anchors))]
    return Adapter(reflexive=teach(case.base, hidden, wanted, weights, case.seed))


MECHANISM = Mechanism("new_rule", rank=20, explain=explain, needs=(NEW_RULE,), heeds=(LABELS,))
