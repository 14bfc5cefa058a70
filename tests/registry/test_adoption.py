"""Adoption: version 1 in Production, a new base in Staging, and nothing half done."""

from __future__ import annotations

import pytest

import selfheal
from selfheal import MonitoredModel, Settings
from selfheal.errors import InputError, NotFoundError, PolicyError
from selfheal.registry import Registry
from selfheal.registry.adoption import adopt_model
from selfheal.table import InferenceTable
from tests.registry.given import FEATURES, healed, monitored, rows


@pytest.fixture
def settings(database: Settings) -> Settings:
    return database


def test_adopting_puts_an_identity_adapter_into_production(
    settings: Settings, table: InferenceTable, model: MonitoredModel
) -> None:
    done = selfheal.adopt("rain", model, settings)
    assert (done.version, done.stage, done.base_version, done.new) == (1, "Production", 1, True)
    registry = Registry(settings)
    assert registry.models() == ["rain"]
    assert registry.production("rain") == [1]
    assert registry.aliases("rain") == {"champion": 1}
    info = registry.version("rain", 1)
    assert info.description.startswith("Identity adapter")
    assert registry.lineage("rain", 1)["policy_digest"] == model.policy.digest
    pointer = table.pointer("rain")
    assert pointer is not None
    assert (pointer.version, pointer.base_version, pointer.base_digest) == (1, 1, model.digest)
    assert selfheal.Adapter.from_bytes(pointer.adapter).is_identity
    assert pointer.adapter_digest == info.tags["adapter_digest"]
    loaded = selfheal.load("rain", settings)
    assert loaded.digest == model.digest
    assert (loaded.predict(rows(40, 5)[FEATURES]) == model.predict(rows(40, 5)[FEATURES])).all()
    assert (settings.home / "mlartifacts").is_dir()


def test_the_same_base_again_changes_nothing_and_says_so(settings: Settings, model: MonitoredModel) -> None:
    selfheal.adopt("rain", model, settings)
    again = selfheal.adopt("rain", model, settings)
    assert not again.new
    assert "already adopted" in str(again)
    assert [i.version for i in Registry(settings).versions("rain")] == [1]
    assert [i.version for i in Registry(settings).versions("rain-base")] == [1]


def test_a_new_base_waits_in_staging(settings: Settings, table: InferenceTable, model: MonitoredModel) -> None:
    selfheal.adopt("rain", model, settings)
    done = selfheal.adopt("rain", monitored(seed=5), settings)
    assert (done.version, done.stage, done.base_version) == (2, "Staging", 2)
    registry = Registry(settings)
    assert registry.production("rain") == [1]
    assert registry.aliases("rain") == {"champion": 1}, "the challenger is named at the next look at the stages"
    pointer = table.pointer("rain")
    assert pointer is not None and pointer.version == 1
    assert selfheal.load("rain", settings).digest == model.digest


def test_an_adoption_that_was_cut_short_is_finished_by_the_next(
    settings: Settings, table: InferenceTable, model: MonitoredModel
) -> None:
    registry = Registry(settings)
    registry.register_base("rain", model)
    assert registry.models() == []
    registry.register("rain", model.adapter, tags={})
    assert registry.production("rain") == []
    done = adopt_model("rain", model, registry, table)
    assert (done.version, done.stage) == (1, "Production")
    assert table.pointer("rain") is not None


def test_a_new_base_whose_adoption_was_cut_short_waits_in_staging(
    settings: Settings, model: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    selfheal.adopt("rain", model, settings)
    new = monitored(seed=5)

    class KilledError(Exception): ...

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Registry, "transition", killed)
        selfheal.adopt("rain", new, settings)
    registry = Registry(settings)
    assert registry.version("rain", 2).stage == "None"
    assert selfheal.adopt("rain", new, settings).stage == "Staging"
    registry.transition("rain", 2, "None")
    assert selfheal.adopt("rain", new, settings).stage == "None", "where a person put it"


@pytest.mark.parametrize("bad", ["", "a b", "../x", "rain/1", "ä", "x" * 61, "rain-base"])
def test_a_bad_name_is_refused_before_anything_is_stored(bad: str, settings: Settings, model: MonitoredModel) -> None:
    with pytest.raises(InputError):
        selfheal.adopt(bad, model, settings)
    assert Registry(settings).models() == []


def test_what_does_not_fit_is_refused_before_anything_is_stored(settings: Settings, model: MonitoredModel) -> None:
    with pytest.raises(InputError, match="the policy is for model 'snow'"):
        selfheal.adopt("rain", model.with_policy({"model": "snow"}), settings)
    with pytest.raises(InputError, match="carries an adapter"):
        selfheal.adopt("rain", model.with_adapter(healed(model)), settings)
    with pytest.raises(PolicyError, match="'tempp'"):
        model.with_policy({"rules": [{"name": "x", "when": "tempp > 1", "vote": "no"}]})
    assert Registry(settings).models() == []


def test_changed_columns_are_refused_and_nothing_is_stored(settings: Settings, model: MonitoredModel) -> None:
    selfheal.adopt("rain", model, settings)
    other = monitored(reference=rows().astype({"count": float}))
    with pytest.raises(InputError, match="count"):
        selfheal.adopt("rain", other, settings)
    assert [i.version for i in Registry(settings).versions("rain-base")] == [1]


def test_loading_an_unknown_model_names_the_known_ones(settings: Settings, model: MonitoredModel) -> None:
    selfheal.adopt("rain", model, settings)
    with pytest.raises(NotFoundError, match=r"did you mean 'rain'\?.*known: rain"):
        selfheal.load("rian", settings)


def test_a_name_that_mlflow_uses_for_something_else_is_refused(settings: Settings, model: MonitoredModel) -> None:
    registry = Registry(settings)
    with registry._door.asked("prepare the test") as client:
        client.create_registered_model("rain")
    with pytest.raises(InputError, match="not selfheal's adapters"):
        selfheal.adopt("rain", model, settings)
