"""A follower answers as the model does, logs as the service does, swaps, forks, and goes on without the database."""

from __future__ import annotations

import logging
import math
import multiprocessing
import pickle
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import selfheal
from selfheal.adapter import Adapter
from selfheal.errors import InputError, NotFoundError
from tests.following.conftest import settings_of
from tests.serving.test_swap import until

WHEN = datetime(2026, 3, 1, tzinfo=UTC)


def offset(by: float) -> Adapter:
    return Adapter(logit_offset=np.array([0.0, by]))


def test_answers_are_the_models_and_the_log_is_the_services(place, following) -> None:
    rows = place.model.reference.iloc[:40]
    follower = following()
    found = follower.predict_proba(
        rows.assign(request="kept out"), ids=[f"r{k}" for k in range(40)], event_times=[WHEN] * 40
    )
    np.testing.assert_allclose(found, place.model.predict_proba(rows), atol=1e-6)
    assert found.dtype == np.float64 and follower.version == 1 and follower.classes_.tolist() == [0, 1]
    times = pd.Series(pd.date_range(WHEN, periods=3, freq="1s"))
    follower.predict_proba(pl.from_pandas(rows.iloc[:3]), pd.Index(["p0", "p1", "p2"]), times)
    answer = follower.answer(rows.iloc[:2], event_times=[WHEN.isoformat(), WHEN + timedelta(days=1)])
    assert answer.probabilities.tolist() == found[:2].tolist() and answer.version == 1
    assert follower.predict_proba(rows.iloc[:0]).shape == (0, 2)
    assert follower.trouble == ""
    follower.close()
    log = place.logged()
    assert len(log) == 45 and set(log.version) == {1}
    assert {f"r{k}" for k in range(40)} | {"p0", "p1", "p2", *answer.prediction_ids} <= set(log.index)
    assert log.loc["r7", "temp"] == rows.temp.iloc[7]
    assert log.loc["p2", "event_time"] == WHEN + timedelta(seconds=2)


def test_text_with_gaps_and_a_model_without_a_fast_path(adopt_in, following, tmp_path) -> None:
    for name in ("payments", "union"):
        (tmp_path / name).mkdir()
        place = adopt_in(name, tmp_path / name)
        rows = place.model.reference.iloc[:30]
        follower = following(adopt_in(name, tmp_path / name), log=True)
        assert (follower._now().source.scorer.path is None) == (name == "union")
        np.testing.assert_allclose(follower.predict_proba(rows), place.model.predict_proba(rows), atol=1e-6)
        huge = rows.assign(**{place.model.features[0]: 1e300})
        assert np.isfinite(follower.predict_proba(huge)).all()
        follower.close()
        assert len(place.logged()) == 60


def test_swaps_under_threads_mix_no_version(place, following) -> None:
    rows = place.model.reference.iloc[:5]
    follower = following()
    stop, failures = threading.Event(), []
    answers: list[np.ndarray] = []

    def ask() -> None:
        while not stop.wait(0.001):
            try:
                answers.append(follower.predict_proba(rows))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in (2, 3):
        place.settle(version, offset(0.3 * version))
        assert until(lambda v=version: follower.version == v)
        asked = len(answers)
        assert until(lambda n=asked: len(answers) > n + 3)  # so that each thread has met it
    stop.set()
    for thread in threads:
        thread.join(20)
    follower.close()
    assert not failures
    expected = [model.predict_proba(rows) for model in place.versions.values()]
    assert all(any(np.allclose(a, e, atol=1e-6) for e in expected) for a in answers)
    log = place.logged()
    assert len(log) == 5 * len(answers)
    assert {1, 3} <= set(log.version)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_follows_and_logs_by_itself(place, following, request) -> None:
    rows = place.model.reference
    many = pd.concat([rows] * 20)
    torch.set_num_threads(2)  # a pool, which the child has not: it would be waited for
    request.addfinalizer(lambda: torch.set_num_threads(1))
    follower = following()
    follower.predict_proba(many)
    there = follower._now()
    fork = multiprocessing.get_context("fork")
    told, go = fork.SimpleQueue(), fork.Event()

    def child() -> None:
        first = follower.predict_proba(many)
        mine = follower._now()
        apart = mine.table is not there.table and mine.writer is not there.writer and mine.source is not there.source
        told.put((len(first), apart))
        go.wait(30)
        told.put(until(lambda: follower.version == 2))
        follower.predict_proba(rows.iloc[:7])  # and it ends without closing

    process = fork.Process(target=child, daemon=True)
    process.start()
    assert until(lambda: not told.empty(), 30), "the child hangs"
    assert told.get() == (len(many), True)
    follower.close()  # the parent's connections are gone: SQLite asks the child's locks who else is there
    place.settle(2, offset(1.0))
    with sqlite3.connect(place.database) as last:
        last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    last.close()
    go.set()
    assert told.get(), "a settled version is seen"
    process.join(30)
    assert process.exitcode is not None  # what else it loaded (Prefect, say) may fail at its end
    log = place.logged()
    assert (log.version == 1).sum() == 2 * len(many), "parent and child gave the same ids"
    assert (log.version == 2).sum() == 7


def test_what_serves_goes_on_without_the_database_and_says_so_once(place, following, caplog) -> None:
    follower = following()
    caplog.set_level(logging.WARNING, "selfheal.serving")
    away = place.database.with_suffix(".away")
    place.database.rename(away)
    assert until(lambda: "cannot be followed" in follower.trouble)
    assert follower.predict_proba(place.model.reference.iloc[:4]).shape == (4, 2)
    assert until(lambda: "have not been logged" in follower.trouble)
    away.rename(place.database)
    place.settle(2, offset(1.0))
    assert until(lambda: follower.version == 2 and follower.trouble == "")
    said = [record.message for record in caplog.records]
    assert sum("goes on serving" in words for words in said) == 1
    assert sum("are seen again" in words for words in said) == 1
    follower.close()
    assert len(place.logged()) == 4, "rows that waited are logged"


WRONG = [
    (lambda f: f.drop(columns="dew"), {}, "column 'dew' is missing"),
    (lambda f: f.assign(dew="wet"), {}, "column 'dew', row 0: 'wet' is not a number"),
    (lambda f: f.assign(dew=math.nan), {}, "nan is not a finite number"),
    (lambda f: f.to_numpy(), {}, "must be a DataFrame with a column per feature, not ndarray"),
    (lambda f: pd.concat([f, f[["dew"]]], axis=1), {}, "names column 'dew' twice"),
    (lambda f: f, {"ids": ["a", "a"]}, "prediction id 'a' appears twice"),
    (lambda f: f, {"ids": ["a"]}, "ids must be a list of 2 ids"),
    (lambda f: f, {"event_times": [datetime(2026, 3, 1)] * 2}, "has no time zone"),
    (lambda f: f, {"event_times": pd.Series(pd.to_datetime(["2026-03-01"] * 2))}, "has no time zone"),
    (lambda f: f, {"event_times": pd.DatetimeIndex([WHEN, "2222-01-01T00:00Z"])}, "row 1, 2222-01-01.* the future"),
]


def test_wrong_rows_are_refused_in_the_services_words_and_counted(place, following) -> None:
    follower = following()
    rows = place.model.reference.iloc[:2]
    for spoil, more, words in WRONG:
        with pytest.raises(InputError, match=words):
            follower.predict_proba(spoil(rows), **more)
    follower.close()
    with place.table() as table:
        counted = {(r.reason, r.column): r.rows for r in table.refusals.between(place.name)}
    assert sum(counted.values()) == 2 * len(WRONG)
    assert (counted["missing column", "dew"], counted["not a number", "dew"], counted["null", "dew"]) == (2, 2, 2)
    assert not len(place.logged())


def test_logging_can_be_left_out_and_a_job_waits_for_room(place, following, monkeypatch) -> None:
    rows = place.model.reference.iloc[:100]
    quiet = following(log=False)
    quiet.predict_proba(rows)
    quiet.close()
    assert not len(place.logged())
    job = following(wait=True)
    job._now().writer._capacity = 1
    for _ in range(20):
        job.predict_proba(rows)
    job.close()
    assert len(place.logged()) == 2000


def test_two_followers_of_two_models_are_apart(place, adopt_in, following, tmp_path) -> None:
    (tmp_path / "other").mkdir()
    other = adopt_in("plain", tmp_path / "other")
    one, two = following(), following(other)
    other.settle(2, offset(1.0))
    assert until(lambda: two.version == 2)
    rows = place.model.reference.iloc[:4]
    assert not np.allclose(one.predict_proba(rows), two.predict_proba(rows))
    assert (one.version, two.version) == (1, 2)
    two.close()
    assert one.predict_proba(rows).shape == (4, 2)


def test_closed_twice_used_after_and_sent_to_another_process(place, following) -> None:
    with following() as follower:
        copy = pickle.loads(pickle.dumps(follower))
    follower.close()
    for use in (
        lambda: follower.version,
        lambda: follower.predict_proba(place.model.reference),
        lambda: follower.trouble,
    ):
        with pytest.raises(InputError, match="was closed; make another"):
            use()
    assert repr(follower) == "Follower('weather', closed, via database)"
    with copy:
        assert copy.version == 1
    threads = [thread.name for thread in threading.enumerate()]
    assert not {"selfheal-pointer", "selfheal-log"} & set(threads)


def test_what_cannot_be_followed_is_said_and_nothing_is_made(place, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SELFHEAL_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError, match="nowhere"):
        selfheal.follow("weather")
    assert not (tmp_path / "nowhere").exists()
    here = settings_of(place)
    with pytest.raises(NotFoundError, match=r"no model 'wether' has been adopted.*did you mean 'weather'"):
        selfheal.follow("wether", settings=here)
    with pytest.raises(InputError, match="via is 'mlfow'; did you mean 'mlflow'"):
        selfheal.follow("weather", via="mlfow", settings=here)
    with pytest.raises(InputError, match="no table to log to"):
        selfheal.follow("weather", via="mlflow", log=True, settings=here)
