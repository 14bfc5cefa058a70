"""By MLflow alone, and a host that lacks the base: a follower gets what it needs, and keeps what it has."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

import selfheal
from selfheal.errors import NotFoundError, UnavailableError
from selfheal.following import origins
from selfheal.following.fetch import main
from tests.serving.test_swap import until
from tests.steering.given import NAME, rows

FRAME = rows(20, 7)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at MLflow follow each other quickly."""
    monkeypatch.setattr("selfheal.following.follower.MLFLOW_POLL_S", 0.1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_mlflow_alone_is_followed_and_what_serves_is_kept(ws, here: Path, caplog) -> None:
    ws.table.close()
    (here / "selfheal.db").unlink()
    caplog.set_level(logging.WARNING, "selfheal.serving")
    with selfheal.follow(NAME, via="mlflow") as follower:
        assert (follower.version, follower.trouble) == (1, "")
        before = follower.predict_proba(FRAME)
        np.testing.assert_allclose(before, ws.registry.load(NAME).predict_proba(FRAME), atol=1e-6)
        fork = multiprocessing.get_context("fork")
        told, go = fork.SimpleQueue(), fork.Event()

        def child() -> None:
            told.put(follower.version)
            go.wait(30)
            told.put(until(lambda: follower.version == 2))

        process = fork.Process(target=child, daemon=True)
        process.start()
        assert until(lambda: not told.empty(), 30), "the child hangs"
        assert told.get() == 1
        ws.registry.transition(NAME, 2, "Production")
        go.set()
        assert told.get(), "a forked child follows MLflow by itself"
        process.join(30)
        assert process.exitcode is not None
        assert until(lambda: follower.version == 2)
        assert np.abs(follower.predict_proba(FRAME) - before).max() > 0.1

        for version in (1, 2):
            ws.registry.transition(NAME, version, "Archived")
        assert until(lambda: "no version in Production" in follower.trouble)
        (here / "mlflow.db").rename(here / "away.db")
        assert until(lambda: "cannot be reached" in follower.trouble)
        assert follower.version == 2 and follower.predict_proba(FRAME).shape == (20, 2)
        (here / "away.db").rename(here / "mlflow.db")
        ws.registry.transition(NAME, 3, "Production")
        assert until(lambda: follower.version == 3 and not follower.trouble)
    assert sum("goes on serving" in record.message for record in caplog.records) == 2
    assert not (here / "selfheal.db").exists()


def test_nothing_to_follow_is_said(ws, here: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no registered model 'tony'.*did you mean 'toy'"):
        selfheal.follow("tony", via="mlflow")
    ws.registry.transition(NAME, 1, "Archived")
    with pytest.raises(NotFoundError, match=r"'toy' has no version in Production \(v1 Archived, .*move one there"):
        selfheal.follow(NAME, via="mlflow")
    (here / "mlflow.db").unlink()
    with pytest.raises(UnavailableError, match="is not there"):
        selfheal.follow(NAME, via="mlflow")


def test_what_fetches_a_base_says_where_it_is_or_why_not(ws, here: Path, capfd, monkeypatch) -> None:
    pointer = ws.table.pointer(NAME)
    shutil.rmtree(here / "cache")
    assert main(NAME, str(pointer.base_version)) == 0
    assert capfd.readouterr().out.strip() == str(ws.settings.cache / pointer.base_manifest)
    assert main(NAME, "7") == 2
    assert "'toy-base' has no version 7" in capfd.readouterr().err
    shutil.rmtree(here / "cache")
    monkeypatch.setattr(origins.sys, "executable", shutil.which("false"))
    with pytest.raises(NotFoundError, match="could not be fetched from MLflow: the child that should ended with 1"):
        selfheal.follow(NAME)


@pytest.mark.prove
def test_a_base_that_this_host_lacks_is_fetched_by_a_process_of_its_own(ws, here: Path) -> None:
    shutil.rmtree(here / "cache")
    with selfheal.follow(NAME) as follower:
        assert follower.predict_proba(FRAME).shape == (20, 2)
