"""What the data cannot decide: a few labels, handed out or late, do; and twins that no data can tell apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer

from selfheal import Adapter, MonitoredModel
from selfheal.errors import InputError, RefusedError
from selfheal.healing.labels.asked import ROWS, ask
from selfheal.healing.sequential import lead
from selfheal.loop import answer, heal_window, load, monitor, open_audit
from selfheal.loop.audit import _plain
from selfheal.loop.trial import try_waiting, waiting
from selfheal.steering import promote, release
from selfheal.steering.look import last_look
from selfheal.steering.workspace import Workspace
from tests.steering.conftest import closed, copied
from tests.steering.given import HEALS, NAME, POLICY, START, in_celsius, kinds, rows, send, stages, toy, workspace_at

FAR = START.replace(year=2027)
COLUMNS = ("temperature", "dew")


def register(ws, adapter=HEALS[0], **tags: object) -> int:
    about = {"diagnosis": "sensor", "verdict": "audit", "parent": 1, "window": 0, **tags}
    version = ws.registry.register(
        NAME, toy().with_adapter(adapter).adapter, tags=about, sample=rows(200, 9).drop(columns="y")
    )
    release(ws, NAME, version)
    return version


def windows(ws, count: int = 2, *, labelled: int = 0, policy: str = POLICY) -> pd.Series:
    """Windows in °C that nobody healed, closed and looked at once; their truth."""
    (ws.settings.rules / "toy.yaml").write_text(policy.replace("[2, 3]", "[9, 9]"))
    truth = {}
    for k in range(count):
        frame = in_celsius(rows(200, 50 + k), *COLUMNS)
        ids = send(ws, frame, 200 * k)
        truth |= dict(zip(ids, frame["y"].tolist(), strict=True))
        if labelled:
            ws.table.add_labels(NAME, ids[:labelled], frame["y"].tolist()[:labelled], ws.clock())
    monitor(ws, NAME, FAR)
    return pd.Series(truth)


@cache
def looked_at(template: Path) -> tuple[Path, pd.Series]:
    """The adopted home with two such windows, made once and copied for each test; their truth."""
    ws = workspace_at(copied(template, template.with_name("looked at")))
    truth = windows(ws)
    return closed(ws), truth


@pytest.fixture
def truth(template: Path) -> pd.Series:
    """Of the two windows that :func:`later` has seen."""
    return looked_at(template)[1]


@pytest.fixture
def later(template: Path, tmp_path: Path) -> Iterator[Workspace]:
    """The home after two windows."""
    opened = workspace_at(copied(looked_at(template)[0], tmp_path / "home"))
    yield opened
    opened.table.close()


def tag(ws, version: int, key: str) -> str:
    return ws.registry.version(NAME, version).tags.get(key, "")


# ------------------------------------------------------------------ a person answers


def test_right_answers_put_the_version_into_production_and_stop_early(later, truth):
    ws, version = later, register(later)
    audit = open_audit(ws, NAME)
    assert audit is not None and (audit.version, audit.against) == (version, 1)
    assert lead() <= len(audit.asked.rows) <= ROWS and not set(audit.asked.rows.columns) & {"y", "label"}
    asked = 0
    while not audit.verdict:
        key = audit.asked.open_rows.index[0]
        audit = answer(ws, audit, {key: str(truth[key])})
        asked += 1
    assert (audit.verdict, audit.promoted) == ("passed", True) and lead() <= asked <= 8
    assert ws.registry.production(NAME) == [version]
    assert tag(ws, version, "audit").startswith("passed: of")
    assert ws.table.journal(NAME)[-1].intent["change"]["actor"] == "audit"
    assert open_audit(ws, NAME) is None, "nothing waits any more"


def test_wrong_for_the_version_is_refused_and_its_like_is_known(later, truth):
    ws, version = later, register(later)
    audit = open_audit(ws, NAME)
    done = answer(ws, audit, {key: 1 - truth[key] for key in audit.asked.rows.index})
    assert (done.verdict, stages(ws)[version]) == ("refused", "Archived")
    assert tag(ws, version, "audit").startswith("refused: of")
    assert last_look(ws, NAME).settled == 1 and version in last_look(ws, NAME).vetoed
    assert kinds(ws).count("audit") == 3, "asked, answered, decided"


def test_an_interrupted_audit_goes_on_where_it_stopped(later, truth):
    ws = later
    register(ws)
    first = open_audit(ws, NAME)
    keys = first.asked.rows.index[:2]
    first = answer(ws, first, {keys[0]: truth[keys[0]]})
    assert "rows are left" in first.note
    again = open_audit(ws, NAME, seed=99)
    assert again.asked.rows.index.tolist() == first.asked.rows.index.tolist() and again.asked.said == first.asked.said
    pd.testing.assert_frame_equal(again.asked.rows, first.asked.rows, check_names=False)
    assert again.asked.answers == {keys[0]: truth[keys[0]]}
    with pytest.raises(InputError, match="answers of an audit stand"):
        answer(ws, again, {keys[0]: 1 - truth[keys[0]]})
    assert answer(ws, again, {key: truth[key] for key in again.asked.rows.index}).promoted


def test_answers_that_decided_before_a_crash_are_acted_on(later, truth):
    ws, version = later, register(later)
    audit = open_audit(ws, NAME)
    given = {key: int(truth[key]) for key in audit.asked.rows.index}
    intent = {"step": "answered", "version": version, "against": 1, "answers": given}
    ws.table.journal_done(ws.table.journal_begin(NAME, "audit", intent, ws.clock()), {})
    assert open_audit(ws, NAME).promoted


def test_bad_answers_are_refused_by_name_and_nothing_is_taken(later):
    register(later)
    audit = open_audit(later, NAME)
    keys = audit.asked.rows.index
    for given, words in (
        ({"r999999": "1"}, "is no row of this audit"),
        ({}, "no answers"),
        ({keys[0]: "1", keys[1]: "rain"}, "label 'rain' of .* is no class of 'toy'"),
    ):
        with pytest.raises(InputError, match=words):
            answer(later, audit, given)
        assert open_audit(later, NAME).asked.answers == {}


def test_a_row_that_lacks_what_rows_may_lack_is_asked_about_and_a_broken_one_is_not():
    reference = rows(2400, 0)
    reference.loc[::3, "wind"] = np.nan
    mean = SimpleImputer().fit(reference.drop(columns="y"))
    model = MonitoredModel(toy().backbone, toy().head, reference, target="y", preprocess=mean)
    frame = in_celsius(rows(200, 50), *COLUMNS).drop(columns="y").assign(wind=np.nan)
    frame.loc[:49, "dew"] = np.inf
    asked = ask(model, model.with_adapter(HEALS[0]), frame, 0)
    assert len(asked.rows) == len(asked.said) >= lead() and asked.rows.index.min() >= 50
    assert json.loads(json.dumps(_plain(asked.rows), allow_nan=False))[0][2] is None


def test_what_can_not_be_audited(later):
    ws = later
    assert open_audit(ws, NAME) is None
    with pytest.raises(RefusedError, match="only one in Staging"):
        open_audit(ws, NAME, 1)
    alike = register(ws, HEALS[0].belonging_to("", None).__class__())
    with pytest.raises(RefusedError, match="differ on 0 unlabelled rows"):
        open_audit(ws, NAME, alike)
    version = register(ws)
    audit = open_audit(ws, NAME)
    promote(ws, NAME, 3, "ann")
    with pytest.raises(RefusedError, match="version 3 of 'toy' serves by now"):
        answer(ws, audit, dict.fromkeys(audit.asked.rows.index, 1))
    assert stages(ws)[version] == "Staging"
    promote(ws, NAME, 3, "ann", pin=True)
    with pytest.raises(RefusedError, match="is pinned"):
        open_audit(ws, NAME)


def test_manual_approval_leaves_the_last_word_to_a_person(ws):
    truth = windows(ws, policy=POLICY.replace("release: {", "release: {approval: manual, "))
    version = register(ws)
    audit = open_audit(ws, NAME)
    done = answer(ws, audit, {key: truth[key] for key in audit.asked.rows.index})
    assert (done.verdict, done.promoted, stages(ws)[version]) == ("passed", False, "Staging")
    assert "selfheal promote toy" in done.note and "a person" in tag(ws, version, "waits")


def shifted(ws, by: float) -> int:
    """A version that waits for an audit: it calls the last class more often (``by`` > 0) or less."""
    return register(ws, Adapter(logit_offset=np.array([-by / 2, by / 2])))


def test_who_is_right_more_often_may_still_cost_more(ws):
    """Five false alarms less for one more miss: no gain at 1 : 5."""
    policy = POLICY.replace("[2, 3]", "[9, 9]")
    costs = "cost: {false_positive: 1, false_negative: 5}"
    (ws.settings.rules / "toy.yaml").write_text(policy + costs)
    send(ws, rows(200, 50), 0)
    monitor(ws, NAME, FAR)
    for text, verdict, stage in ((policy + costs, "refused", "Archived"), (policy, "passed", "Production")):
        (ws.settings.rules / "toy.yaml").write_text(text)
        version = shifted(ws, -3.0)
        audit = open_audit(ws, NAME)
        assert set(audit.asked.said) == {(0, 1)}
        done = answer(ws, audit, {key: int(i == 0) for i, key in enumerate(audit.asked.rows.index[:6])})
        assert (done.verdict, stages(ws)[version]) == (verdict, stage)
        assert ("expected cost" in done.note) == (verdict == "refused")


# ------------------------------------------------------------------ labels come


def test_late_labels_promote_what_waits(ws):
    windows(ws, labelled=60)
    version = register(ws)
    found = try_waiting(load(ws, NAME))
    assert found is not None and (found.version, found.says, found.promoted) == (version, "better", True)
    assert "log-loss gain" in tag(ws, version, "trial")
    assert ws.registry.production(NAME) == [version]
    assert try_waiting(load(ws, NAME)) is None


def test_labels_that_show_nothing_of_its_decisions_do_not_override_the_policy(ws):
    """All labels are of rows on which both call the last class; the candidate is surer of it."""
    policy = POLICY.replace("[2, 3]", "[9, 9]")
    capped = policy.replace("max_changed: 0.9", "max_changed: 0.05")
    costly = policy + "cost: {false_positive: 1, false_negative: 5}"
    (ws.settings.rules / "toy.yaml").write_text(policy)
    frame = rows(400, 50)
    ids = send(ws, frame, 0)
    monitor(ws, NAME, FAR)
    score = toy().predict_proba(frame)[:, 1]
    chosen = np.flatnonzero((score > 0.5) & (score < 0.97))
    ws.table.add_labels(NAME, [ids[i] for i in chosen], [1] * len(chosen), ws.clock())
    version = shifted(ws, 2.0)
    for text, words in ((capped, "it changes 10% of predictions (max_changed 5%)"), (costly, "expected cost")):
        (ws.settings.rules / "toy.yaml").write_text(text)
        found = try_waiting(load(ws, NAME))
        assert (found.says, stages(ws)[version]) == ("undecided", "Staging")
        assert words in found.reason and tag(ws, version, "trial") == found.reason
    (ws.settings.rules / "toy.yaml").write_text(policy)
    found = try_waiting(load(ws, NAME))
    assert (found.says, stages(ws)[version]) == ("undecided", "Staging")
    assert "no fair draw" in found.reason, "the rows without a label are looked at, too"


def test_late_labels_archive_what_is_worse_and_wait_where_they_say_nothing(later):
    ws, version = later, register(later)
    assert try_waiting(load(ws, NAME)) is None, "no label yet"
    frame = rows(200, 77)
    ids = send(ws, frame, 400)
    monitor(ws, NAME, FAR)
    ws.table.add_labels(NAME, ids[:4], frame["y"].tolist()[:4], ws.clock())
    assert try_waiting(load(ws, NAME)).says == "undecided"
    ws.table.add_labels(NAME, ids, frame["y"].tolist(), ws.clock())
    monitor(ws, NAME, FAR)
    assert stages(ws)[version] == "Archived", "in °F the map does harm"
    assert len(load(ws, NAME).at(replace(ws.table.window(NAME, 2), index=3)).labelled_before()) == 1


def test_what_was_fitted_to_labels_waits_for_later_ones_whatever_the_policy(ws):
    for ambiguous in ("promote", "refuse"):
        (ws.settings.rules / "toy.yaml").write_text(
            POLICY.replace("release: {", f"release: {{ambiguous: {ambiguous}, ")
        )
        version = register(ws, **{"number.labels_fitted": 60})
        assert stages(ws)[version] == "Staging" and tag(ws, version, "waits").startswith("labels")
    windows(ws, 1, labelled=60)
    register(ws, HEALS[1], **{"number.labels_fitted": 60, "labels_from": 1})
    assert try_waiting(load(ws, NAME)) is None, "it has seen these labels"
    assert waiting(ws.registry.versions(NAME), last_look(ws, NAME))[0].version == max(stages(ws))


def test_a_patch_that_labels_do_not_decide_on_is_dropped(ws):
    windows(ws, 4, labelled=3)
    version = register(ws, **{"number.labels_fitted": 60})
    assert "4 windows of labels did not decide" in try_waiting(load(ws, NAME)).reason
    assert stages(ws)[version] == "Archived"


@pytest.mark.xdist_group("loop")  # the fork server is there
def test_a_heal_on_labels_is_proven_by_the_next_windows_labels(ws):
    """Inputs as ever, labels flipped: only labels show it. The whole way, the heal in its own process."""
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    for k in range(2):
        frame = rows(200, 60 + k)
        ids = send(ws, frame, 200 * k)
        ws.table.add_labels(NAME, ids[:30], (1 - frame["y"]).tolist()[:30], ws.clock())
        monitor(ws, NAME, FAR)
    record = heal_window(ws, NAME, ws.table.window(NAME, 1))
    assert (record.decision, record.promoted, record.failure) == ("audit", False, "")
    version = record.version
    assert tag(ws, version, "labels_from") == "2" and tag(ws, version, "waits").startswith("labels of the next windows")
    again = heal_window(ws, NAME, ws.table.window(NAME, 1))
    assert again.version == version
    assert try_waiting(load(ws, NAME)) is None, "it has seen every label there is"
    frame = rows(200, 70)
    ids = send(ws, frame, 400)
    monitor(ws, NAME, FAR)
    ws.table.add_labels(NAME, ids[:60], (1 - frame["y"]).tolist()[:60], ws.clock())
    assert try_waiting(load(ws, NAME)).promoted
    assert ws.registry.production(NAME) == [version]
