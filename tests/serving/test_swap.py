"""One immutable reference: every response is computed wholly by the version it names."""

from __future__ import annotations

import http.client
import json
import threading
import time

import numpy as np

from selfheal.adapter import Adapter


def until(true, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


def ask_on(address, body: bytes, stop: threading.Event, answers: list, failures: list) -> None:
    connection = http.client.HTTPConnection(*address, timeout=20)
    while not stop.is_set():
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            raw = response.read()
            if response.status != 200:
                failures.append((response.status, raw))
                continue
            answers.append(json.loads(raw))
        except OSError as error:
            failures.append(error)
    connection.close()


def test_swaps_under_load_fail_no_request_and_mix_no_version(place, serve_in_process, forms):
    rows = place.model.reference.iloc[:20]
    body = json.dumps(forms.split(rows)).encode()
    answers: list = []
    failures: list = []
    stop = threading.Event()
    with serve_in_process(place) as service:
        threads = [
            threading.Thread(target=ask_on, args=(service.address, body, stop, answers, failures)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for version in range(2, 8):
            settled = time.monotonic()
            place.settle(version, Adapter(logit_offset=np.array([0.0, 0.3 * version])))
            assert until(lambda v=version: any(a["model_version"] == v for a in answers[-50:]))
            assert time.monotonic() - settled < 5  # the promise is 2 s; a loaded test machine gets some air
        stop.set()
        for thread in threads:
            thread.join(20)
        health = service.get("/health")
        version = service.get("/version")
    assert service.process.returncode == 0  # told to stop, it commits what waits
    assert len(place.logged()) == 20 * len(answers)
    assert failures == []
    assert version["heavy_modules"] == version["loaded"] == []  # numpy alone scores it
    assert health["model_version"] == 7 and health["adapter"] == "logit offset"
    assert {answer["model_version"] for answer in answers} == set(range(1, 8))
    expected = {version: model.predict_proba(rows) for version, model in place.versions.items()}
    for answer in answers:
        np.testing.assert_allclose(answer["predictions"], expected[answer["model_version"]], rtol=0, atol=1e-6)


def test_what_cannot_be_followed_leaves_the_version_and_is_told(place, serve_in_thread, forms):
    body = forms.split(place.model.reference.iloc[:2])
    with serve_in_thread(place.config(poll_s=0.05)) as service:
        for changes, words in (
            ({"adapter_digest": "0" * 64}, "version 2 in the pointer has SHA-256"),
            ({"base_digest": "f" * 64}, "base ffffffffffff of 'weather' is not in"),
        ):
            place.settle(2, Adapter(logit_offset=np.array([0.0, 1.0])), **changes)
            assert until(lambda words=words: words in str(service.get("/health")["reasons"]))
            status, answer = service.post("/invocations", body)
            assert (status, answer["model_version"]) == (200, 1)
            assert service.get("/health")["status"] == "degraded"
        place.settle(3, Adapter(logit_offset=np.array([0.0, 1.0])))
        assert until(lambda: service.get("/version")["model_version"] == 3)
        assert until(lambda: service.get("/health")["reasons"] == [])  # a look clears them at its end, after the swap


def test_a_hostile_adapter_is_not_opened(place, serve_in_thread):
    import hashlib
    import pickle

    with serve_in_thread(place.config(poll_s=0.05)) as service:
        evil = pickle.dumps({"not": "safetensors"})
        place.settle(2, Adapter(), adapter=evil, adapter_digest=hashlib.sha256(evil).hexdigest())
        assert until(lambda: "not an adapter file" in str(service.get("/health")["reasons"]))
        assert service.get("/version")["model_version"] == 1
