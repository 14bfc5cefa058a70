"""An adapter that another release stored in a format of its own: refused by whoever reads it, condemned by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from selfheal import adapter as adapters
from selfheal import adapter_file
from selfheal.errors import FormatError
from selfheal.loop import child
from selfheal.loop.forks import ChildFailedError
from selfheal.serving.config import ServingConfig
from selfheal.serving.source import Source
from selfheal.steering import promote, reconcile, rollback
from selfheal.steering.look import last_look
from selfheal.steering.models import base_place, serving_model, serving_pointer
from tests.steering.given import NAME, celsius, rows, stages, toy

REFUSED = "version 2 of its format"
ROWS = rows(50, 3)


@pytest.fixture
def newer(ws, monkeypatch) -> Iterator[int]:
    """A version that a newer release registered."""
    monkeypatch.setattr(adapters, "VERSION", 2)
    tags = {"diagnosis": "sensor", "verdict": "promote", "parent": 1}
    version = ws.registry.register(NAME, toy().with_adapter(celsius("wind")).adapter, tags=tags)
    yield version
    monkeypatch.undo()


@pytest.fixture
def data(newer, ws, monkeypatch) -> bytes:
    """Its file."""
    found = toy().with_adapter(celsius("wind")).adapter.belonging_to(toy().digest, 1).to_bytes()
    monkeypatch.undo()
    return found


def upgraded(monkeypatch) -> None:
    """The release that reads both."""
    monkeypatch.setattr(adapter_file, "_READ", (1, 2))


def test_the_registry_and_plain_mlflow_refuse_it(ws, newer, data, monkeypatch):
    import mlflow.pyfunc

    for read in (ws.registry.adapter, lambda name, v: ws.registry.load(name, version=v)):
        with pytest.raises(FormatError, match=REFUSED):
            read(NAME, newer)
    for name, value in ws.settings.environ().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FormatError, match=REFUSED):
        mlflow.pyfunc.load_model(f"models:/{NAME}/{newer}")


def test_a_service_serves_on_and_says_why(ws, newer, data):
    source = Source(ServingConfig(NAME, ws.settings.database_url, ws.settings.cache), ws.table)
    before, held = source.scorer, ws.table.pointer(NAME)
    digest = ws.registry.version(NAME, newer).tags["adapter_digest"]
    ws.table.set_pointer(NAME, replace(held, version=newer, adapter=data, adapter_digest=digest))
    source.look()
    assert source.scorer is before and REFUSED in source.error
    with pytest.raises(FormatError, match=REFUSED):
        serving_model(ws, NAME)


@pytest.mark.xdist_group("loop")  # the fork server is there
def test_a_heals_child_refuses_it(ws, data):
    pointer = serving_pointer(ws, NAME)
    model, _ = serving_model(ws, NAME)
    task = child.HealTask(
        base_place(ws, pointer), model.digest, model.manifest, data, model.policy.to_yaml(),
        ROWS.drop(columns="y"), (), None, (), 0,
    )  # fmt: skip
    with pytest.raises(ChildFailedError, match=f"FormatError.*{REFUSED}"):
        child.heal_in_child(task)


def test_the_loop_promotes_it_once_it_can_be_read(ws, newer, data, monkeypatch):
    reconcile(ws, NAME)
    with pytest.raises(FormatError, match=REFUSED):
        promote(ws, NAME, newer, "ann")
    ws.registry.transition(NAME, newer, "Production")
    settled = reconcile(ws, NAME)
    assert settled.version == 1 and settled.alarm and "is tried again" in settled.reason and REFUSED in settled.reason
    assert last_look(ws, NAME).quarantined == frozenset() and last_look(ws, NAME).awaited == newer
    upgraded(monkeypatch)
    assert reconcile(ws, NAME).version == newer
    assert stages(ws)[newer] == "Production" and serving_model(ws, NAME)[0].adapter.changed_part == "input map"


def test_a_step_back_goes_past_it(ws, newer, data, monkeypatch):
    upgraded(monkeypatch)
    for version in (newer, 3):
        promote(ws, NAME, version, "ann")
    ws.models.clear()
    monkeypatch.undo()
    assert rollback(ws, NAME, "ann").settled == 1
