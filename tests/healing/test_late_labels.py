"""A patch from a few labels: carried exactly, proposed only where left-out labels gain, proven by later ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import selfheal
from selfheal import Adapter, InputError, MonitoredModel
from selfheal.adapter import ColumnMap, InputMap
from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case
from selfheal.healing.fits.patch import Patch, Scaling, carried, fit, linear_head
from selfheal.healing.gate import gate
from selfheal.healing.heal import by_last_resort
from selfheal.healing.labels.rows import decision_losses, labelled_rows, log_losses
from selfheal.healing.mechanisms.late_labels import MECHANISM
from selfheal.healing.outcome import Outcome
from selfheal.healing.sequential import trial
from tests.healing.worlds import linear


def network(k: int, *, relu: bool, curved: bool = False, seed: int = 0) -> MonitoredModel:
    """Untrained: what counts is that the algebra holds."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd")).assign(y=np.arange(300) % k)
    body = nn.Sequential(nn.Linear(4, 8), nn.ReLU() if relu else nn.Tanh())
    outputs = 1 if k == 2 else k
    head = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, outputs)) if curved else nn.Linear(8, outputs)
    return MonitoredModel(body, head, rows, target="y")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 3, 5]), st.booleans(), st.booleans())
def test_a_linear_head_carries_a_patch_exactly(seed: int, k: int, relu: bool, offset: bool) -> None:
    model, rng = network(k, relu=relu), np.random.default_rng(seed)
    start = Adapter(InputMap({"a": ColumnMap(2.0, 1.0)}), logit_offset=rng.normal(size=k) if offset else None)
    # With k = 2 and one output column both logits are [0, z]: any patch of them is a patch of z.
    patch = Patch(float(rng.uniform(0.2, 3)), rng.normal(size=k), rng.normal(size=(k, 8)))
    rows = pd.DataFrame(rng.normal(size=(50, 4)), columns=list("abcd"))
    served = model.with_adapter(start)
    hidden = served.hidden_of_units(served.model_units(rows))
    wanted = patch.apply(served.logits_of_hidden(hidden), hidden.double().numpy())
    adapter = carried(model, start, patch, hidden)
    assert adapter.input_map == start.input_map
    assert np.abs(model.with_adapter(adapter).predict_proba(rows) - wanted).max() < 1e-4
    assert Adapter.from_bytes(adapter.to_bytes()).to_bytes() == adapter.to_bytes()


def test_a_head_that_is_not_linear_is_taught() -> None:
    model, rng = network(3, relu=True, curved=True), np.random.default_rng(0)
    assert linear_head(model) is None
    patch = Patch(0.5, np.array([0.5, 0.0, -0.5]), np.zeros((3, 8)))
    rows = pd.DataFrame(rng.normal(size=(400, 4)), columns=list("abcd"))
    hidden = model.hidden_of_units(rows)
    wanted = patch.apply(model.logits_of_hidden(hidden), hidden.double().numpy())
    made = model.with_adapter(carried(model, Adapter(), patch, hidden)).predict_proba(rows)
    assert np.abs(made - wanted).max() < 0.5 * np.abs(model.predict_proba(rows) - wanted).max()


def test_without_evidence_the_patch_is_the_identity() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 5))
    logits = np.column_stack([np.zeros(200), 3 * hidden[:, 0]])
    truth = (rng.random(200) < 1 / (1 + np.exp(-logits[:, 1]))).astype(int)
    for ridge, reach in pairwise((1e6, 4.0, 0.01)):
        held, loose = (fit(logits, hidden, truth, Scaling.of(hidden), r) for r in (ridge, reach))
        assert abs(held.scale - 1) <= abs(loose.scale - 1) + 0.02
    assert fit(logits, hidden, truth, Scaling.of(hidden), 1e9).weight == pytest.approx(np.zeros((2, 5)), abs=1e-4)


def case_of(model: MonitoredModel, told: list[tuple[pd.DataFrame, pd.Series]]) -> Case:
    """Of a window like the reference, with what has been told."""
    rows = linear(3).draw(300, 99).drop(columns="y")
    return Case(model, rows, Yardstick(model, None, 300), labelled_windows=told)


def windows_of(per: int, seed: int, count: int = 3) -> list[tuple[pd.DataFrame, pd.Series]]:
    """Labelled windows of a world that did not change."""
    drawn = [linear(3).draw(per, 1000 * seed + i) for i in range(count)]
    return [(rows.drop(columns="y"), rows["y"]) for rows in drawn]


def test_labels_that_show_a_loss_give_a_candidate_that_later_ones_prove() -> None:
    model = linear(3).with_policy()
    case = case_of(model, [(rows, 1.0 - y) for rows, y in windows_of(30, 1)])
    finding = MECHANISM.ask(case) or pytest.fail("enough labels")
    verdict = gate(case, finding)
    assert finding.explained and verdict.decision == "audit" and verdict.numbers["labels_held"] == 1
    assert finding.adapter is not None
    candidate = model.with_adapter(finding.adapter)
    nats, decisions = [], []
    for rows, labels in windows_of(100, 2):
        truth = 1 - labels.to_numpy()
        was, now = model.predict_proba(rows), candidate.predict_proba(rows)
        nats.append(log_losses(was, truth) - log_losses(now, truth))
        decisions.append(decision_losses(model, was, truth) - decision_losses(model, now, truth))
    assert trial(np.concatenate(nats), np.concatenate(decisions)).says == "better"


def test_without_a_drift_later_labels_let_nothing_through() -> None:
    """40 candidates, proposed whether left-out labels like it or not, looked at window by window."""
    model = linear(3).with_policy()
    base = model.hidden_of_units(model.reference)
    scaling, through = Scaling.of(base.double().numpy()), 0
    for seed in range(40):
        known = labelled_rows(model, windows_of(20, 10 + seed))
        hidden = model.hidden_of_units(known.rows)
        patch = fit(model.logits_of_hidden(hidden), hidden.double().numpy(), known.truth, scaling)
        nats, decisions = [], []
        for rows, labels in windows_of(50, 100 + seed, 4):
            h, truth = model.hidden_of_units(rows), labels.to_numpy()
            was, now = model.predict_proba(rows), patch.apply(model.logits_of_hidden(h), h.double().numpy())
            nats.append(log_losses(was, truth) - log_losses(now, truth))
            decisions.append(decision_losses(model, was, truth) - decision_losses(model, now, truth))
            if trial(np.concatenate(nats), np.concatenate(decisions)).says == "better":
                through += 1
                break
    assert through <= 2


def test_the_scale_alone_changes_no_decision_and_too_few_labels_say_nothing() -> None:
    model = linear(3).with_policy()
    sure = model.with_adapter(
        carried(model, Adapter(), Patch(8.0, np.zeros(2), np.zeros((2, 32))), model.hidden_of_units(model.reference))
    )
    case = case_of(sure, windows_of(250, 5, 4))
    finding = MECHANISM.ask(case) or pytest.fail("enough labels")
    assert finding.explained and "scale alone" in finding.reason
    verdict = gate(case, finding)
    assert verdict.decision == "promote" and verdict.numbers["labels_held"] >= 20, "three windows were foretold"
    case = case_of(sure, windows_of(120, 5, 1))
    verdict = gate(case, MECHANISM.ask(case) or pytest.fail("enough labels"))
    assert (verdict.decision, verdict.numbers["labels_held"]) == ("audit", 1), "parts of one window prove nothing"
    assert MECHANISM.ask(case_of(sure, windows_of(6, 5))) is None
    at_least, fewer = ([(told, y[:n])] for n in (20, 19) for told, y in windows_of(20, 5, 1))
    assert MECHANISM.ask(case_of(sure, at_least)) and not MECHANISM.ask(case_of(sure, fewer))
    rows = linear(3).draw(500, 7)
    assert finding.adapter is not None
    assert (model.with_adapter(finding.adapter).predict(rows) == model.predict(rows)).all()


def test_a_window_is_foretold_by_the_ones_before_it_alone() -> None:
    model, told = linear(3).with_policy(), windows_of(30, 1)
    rows, y = told[-1]
    finding = MECHANISM.ask(case_of(model, told)) or pytest.fail("enough labels")
    turned = MECHANISM.ask(case_of(model, [*told[:-1], (rows, y.where(y.index > 2, 1 - y))]))
    assert turned and finding.labels and turned.labels
    before, after = finding.labels.foretold, turned.labels.foretold
    assert (before.truth != after.truth).any() and (before.candidate == after.candidate).all()


def test_what_helps_nothing_is_not_made_and_what_helps_can_be_made_again_from_its_rows() -> None:
    model, told = linear(3).with_policy(), windows_of(30, 1)
    useless = MECHANISM.ask(case_of(model, windows_of(60, 1))) or pytest.fail("enough labels")
    assert (useless.explained, useless.adapter) == (False, None), useless.reason
    finding = MECHANISM.ask(case_of(model, [(rows, 1.0 - y) for rows, y in told])) or pytest.fail("enough labels")
    assert finding.adapter and finding.refit
    again, half = finding.refit(np.arange(90)), finding.refit(np.arange(45))
    assert again and half and again.to_bytes() == finding.adapter.to_bytes() != half.to_bytes()


def test_a_heal_that_stands_is_left_alone_and_a_refusal_gets_its_patch() -> None:
    model = linear(3).with_policy()
    case = case_of(model, [(rows, 1.0 - y) for rows, y in windows_of(30, 1)])
    for decision, diagnosis in (
        ("promote", "sensor"),
        ("recall", "sensor"),
        ("audit", "sensor"),
        ("refuse", "data_fault"),
    ):
        stands = Outcome(decision, diagnosis, ["so"], pd.DataFrame())  # type: ignore[arg-type]
        assert by_last_resort(case, stands, None) is stands
    patched = by_last_resort(case, Outcome("refuse", "unknown", ["nothing explains it"], pd.DataFrame()), None)
    assert (patched.decision, patched.diagnosis, patched.numbers["labels_fitted"]) == ("audit", "concept", 90)
    assert patched.reasons[-1] == "nothing explains it" and patched.candidates["name"].tolist() == ["late_labels"]
    assert patched.adapter is not None


def test_a_label_flip_under_unchanged_inputs_is_seen_by_last_resort_alone() -> None:
    world = linear(3)
    model = world.with_policy()
    rows = world.draw(600, 21)
    features, flipped = rows.drop(columns="y"), 1.0 - rows["y"]
    assert selfheal.heal(model, features).decision == "keep"
    before = [(f, 1.0 - y) for f, y in windows_of(30, 40, 2)]
    outcome = selfheal.heal(model, features, labels=flipped.where(flipped.index < 30), earlier=before)
    assert (outcome.decision, outcome.numbers["labels_fitted"]) == ("audit", 90), outcome.reasons
    assert outcome.adapter is not None and outcome.reasons[0].startswith("late_labels: 90 labels")
    assert outcome.candidates.set_index("name").changed_share["late_labels"] == outcome.numbers["changed_share"] > 0.5
    fresh = world.draw(2000, 22)
    healed = model.with_adapter(outcome.adapter)
    assert (healed.predict(fresh) == 1 - fresh["y"]).mean() > (model.predict(fresh) == 1 - fresh["y"]).mean() + 0.3


def test_labels_of_one_window_that_prove_better_decisions_are_heard_at_once() -> None:
    model = linear(3).with_policy(heal={"max_changed": 0.1})
    case = case_of(model, [(rows, 1.0 - y) for rows, y in windows_of(60, 1)])
    finding = MECHANISM.ask(case) or pytest.fail("enough labels")
    assert finding.labels is not None and finding.labels.proof and finding.labels.fitted == 60
    verdict = gate(case, finding)
    assert verdict.decision == "promote" and verdict.numbers["changed_share"] > 0.1, verdict.reasons


def test_labels_that_are_no_fair_draw_are_not_believed() -> None:
    """Labels of rows whose decisions stay prove better probabilities; a quarter of the others would turn."""
    world = linear(3)
    model = world.model.with_policy({"heal": {"max_changed": 0.05}})
    patch, hidden = Patch(0.3, np.zeros(2), np.zeros((2, 32))), model.hidden_of_units(model.reference)

    def told(serving: MonitoredModel, n: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
        rows = world.draw(n, seed)
        p = serving.predict_proba(rows)[:, 1]
        return rows.drop(columns="y"), rows["y"].astype(float).where((p < 0.2) | (p > 0.95))

    serving = model.with_adapter(carried(model, Adapter(), patch, hidden))
    rows, labels = told(serving, 500, 82)
    outcome = selfheal.heal(serving, rows, labels=labels, earlier=[told(serving, 150, 5000 + i) for i in range(4)])
    assert (outcome.decision, outcome.adapter) == ("keep", None), outcome.reasons
    assert "no fair draw" in " ".join(outcome.reasons)


def test_labels_that_are_no_class_or_no_number_are_refused_or_left_out() -> None:
    model = linear(3).model
    rows = linear(3).draw(30, 1)
    features = rows.drop(columns="y").astype(object)
    features.loc[3, "x1"] = "n/a"
    features.loc[4, "x2"] = np.inf
    labels = rows["y"].astype(float).where(rows.index < 10)
    assert len(labelled_rows(model, [(features, labels)])) == 8
    with pytest.raises(InputError, match="is no class of the model"):
        labelled_rows(model, [(features, labels.replace(1.0, 7.0).replace(0.0, 7.0))])
    assert len(labelled_rows(model, [])) == 0
