"""Several models in one service: each by its name, none in the other's log, counted side by side."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from selfheal.cli import main
from selfheal.serving.keys import Keys
from selfheal.serving.models import create_models


@pytest.fixture
def two(adopt_in, tmp_path):
    return [adopt_in(name, tmp_path) for name in ("weather", "payments")]


def test_each_model_is_scored_logged_and_counted_by_its_name(two, serve_app, forms):
    with serve_app(create_models([place.config() for place in two]), "on") as service:
        for place in two:
            rows = place.model.reference.iloc[:3]
            params = {"params": {"prediction_ids": ["a", "b", "c"], "durable": True}}
            for body in (forms.split(rows), forms.split(rows) | params):
                status, answer = service.post(f"/models/{place.name}/invocations", body)
                assert status == 200, answer
                expected = place.model.predict_proba(rows)
                np.testing.assert_allclose(answer["predictions"], expected, rtol=0, atol=1e-6)
            labels = {"prediction_ids": ["a"], "labels": [place.model.classes_.tolist()[0]]}
            assert service.post(f"/models/{place.name}/feedback", labels)[1]["stored"] == 1
            assert service.get(f"/v2/models/{place.name}")["name"] == place.name
            assert service.get(f"/models/{place.name}/health")["model"] == place.name
            assert service.get(f"/models/{place.name}/openapi.json")["servers"] == [{"url": f"/models/{place.name}"}]
        status, told = service.post("/invocations", forms.split(rows))
        assert (status, told["error_code"]) == (404, "NOT_FOUND")
        assert "2 models are served (weather, payments), as in /models/weather/invocations" in told["message"]
        status, told = service.post("/models/wether/invocations", {})
        assert status == 404 and "did you mean 'weather'" in told["message"]
        assert service.post("/health", {})[0] == 405
        assert [service.get(page) for page in ("/ping", "/ready")] == ["\n", {"ready": True}]
        assert service.get("/models") == {"models": ["weather", "payments"]}
        assert list(service.get("/version")["models"]) == ["weather", "payments"]
        health, text = service.get("/health"), service.get("/metrics")
    assert health["status"] == "ok" and list(health["models"]) == ["weather", "payments"]
    assert text.count("# TYPE selfheal_rows_total ") == 1
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    counts = {sample.labels["model"]: sample.value for sample in families["selfheal_rows"]}
    assert counts == {"weather": 6, "payments": 6}
    assert [len(place.logged()) for place in two] == [6, 6]


def test_one_model_keeps_the_routes_without_its_name(place, serve_app, forms):
    body = forms.split(place.model.reference.iloc[:2])
    with serve_app(create_models([place.config()]), "on") as service:
        first, second = (service.post(f"{below}/invocations", body)[1] for below in ("", "/models/weather"))
        assert first["predictions"] == second["predictions"]
        assert service.get("/health")["model"] == "weather"
        assert service.get("/models") == {"models": ["weather"]}
        assert 'path="/invocations",status="200"} 2' in service.get("/metrics")
    assert len(place.logged()) == 4


def test_keys_and_a_port_for_counters_hold_for_all(two, serve_app, forms):
    keys = Keys("score=may-score-1 read=may-read-22")
    app = create_models([place.config(keys=keys, metrics_apart=True) for place in two])
    body = forms.split(two[0].model.reference.iloc[:1])
    with serve_app(app, "on") as service, serve_app(app.counters()) as counters:
        assert service.post("/models/weather/invocations", body)[0] == 401
        assert service.post("/models/weather/invocations", body, X_API_Key="may-read-22")[0] == 403
        assert service.post("/models/weather/invocations", body, X_API_Key="may-score-1")[0] == 200
        read = {"X_API_Key": "may-read-22"}
        assert [service.ask(page, None)[0] for page in ("/health", "/models", "/ready")] == [401, 401, 200]
        assert service.ask("/health", None, X_API_Key="may-score-1")[0] == 403
        assert [service.ask(page, None, **read)[0] for page in ("/health", "/metrics")] == [200, 404]
        assert 'selfheal_rows_total{model="weather"} 1' in counters.ask("/metrics", None, **read)[1]
        assert [counters.ask(page, None, **read)[0] for page in ("/ready", "/health")] == [200, 404]


def test_what_to_serve_is_named_or_all(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFHEAL_HOME", str(tmp_path / "home"))
    for given, words in (((), "or say --all"), (("a", "--all"), "or say --all"), (("--all",), "no model is adopted")):
        done = CliRunner().invoke(main, ["serve", *given])
        assert done.exit_code != 0 and words in done.output
