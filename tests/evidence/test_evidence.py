"""Evidence of a real heal: any flipped byte is found, a rewritten journal too, and the heal is repeated."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from contextlib import closing
from datetime import timedelta

import numpy as np
import pytest

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.errors import InputError, NotFoundError
from selfheal.evidence import pack, verify
from selfheal.evidence.chain import read
from selfheal.evidence.seal import LENGTH, MANIFEST, opened, sealed
from selfheal.loop import monitor
from selfheal.loop.sealed import HEAD, seal
from selfheal.loop.tasks import FILE, packed, unpacked
from selfheal.steering import approve, reconcile
from selfheal.table.database import Database
from selfheal.table.schema import JOURNAL
from tests.cli.test_commands import invoke
from tests.loop.conftest import home, template, ws
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send

__all__ = ["home", "template", "ws"]

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

N = 200
FAR = START + timedelta(days=30)


@pytest.fixture
def healed(ws) -> int:
    """A version that a drift was healed to; 5, for 2 to 4 wait in Staging."""
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    for version in (2, 3, 4):
        ws.registry.transition(NAME, version, "Archived")
    for k in range(2):
        frame = in_celsius(rows(N, 200 + k), "temperature", "dew")
        ids = send(ws, frame, k * N)
        ws.table.add_labels(NAME, ids[:5], frame["y"].tolist()[:5], ws.clock())
    cycle = monitor(ws, NAME, FAR)[-1]
    assert cycle.heal is not None and cycle.heal.promoted, cycle.record["reasons"]
    return cycle.heal.version


def rebuilt(data: bytes, **changed: bytes) -> bytes:
    """The same archive with other members, sealed again as a forger would, digests and all."""
    members = opened(data)
    about = json.loads(members.pop(MANIFEST))
    return sealed({**members, **{name.replace("__", "."): held for name, held in changed.items()}}, about)


def test_a_real_heal_is_packed_verified_and_replayed(ws, healed, home, tmp_path, monkeypatch):
    file = tmp_path / "evidence.zip"
    done = invoke(home.parent, "evidence", NAME, str(healed), "--out", str(file), "--json", str(tmp_path / "e.json"))
    assert done.exit_code == 0 and "without" not in done.output, done.output
    data = file.read_bytes()
    members = opened(data)
    gate = json.loads(members["gate.json"])
    assert gate["decision"] == "promote" and {c["name"] for c in gate["candidates"]} >= {"stable", "measurement"}
    assert members["policy.yaml"].decode().count("warm") == 1 and json.loads(members["window.json"])["confirmed"]
    assert "promoted" in [e["what"] for e in json.loads(members["history.json"])]
    head = ws.table.chain.head(NAME)
    assert ws.registry.version(NAME, healed).tags[HEAD] == str(head), "MLflow was told"
    about = json.loads(members[MANIFEST])
    assert about["mlflow"][str(healed)] == about["head"] == {"link": head.link, "hash": head.hash}
    monkeypatch.chdir(tmp_path)
    found = invoke(home.parent, "verify", str(file), "--json", str(tmp_path / "v.json"))
    assert found.exit_code == 0, found.output
    assert "heal      same: healing again gives the same adapter" in found.output
    assert json.loads((tmp_path / "v.json").read_text())["good"] is True

    # what the heal was given comes back as it was
    task = unpacked(members[FILE], home)
    assert packed(task) == members[FILE] and task.labels.notna().sum() == 5
    assert len(task.window) == N and np.isfinite(task.window["dew"]).all()
    assert len(task.memory) >= 1 and str(task.times.dtype).endswith("UTC]")
    with pytest.raises(NotFoundError, match="has no artifact"):
        ws.registry.runs.artifact(json.loads(members["version.json"])["lineage"]["heal_run"], "evidence/nothing.zip")

    # an adapter that was put in its place is another one, however well it is sealed
    held = Adapter.from_bytes(members["adapter.safetensors"])
    near = Adapter(InputMap({"temperature": ColumnMap(1.8, 33.0, "x")}))
    other = near.belonging_to(held.base_digest, held.base_version).to_bytes()
    forged = rebuilt(data, adapter__safetensors=other)
    assert verify(ws, forged).faults[0].startswith("the adapter has the digest")
    about["digests"]["adapter_digest"] = hashlib.sha256(other).hexdigest()
    members.pop(MANIFEST)
    told = verify(ws, sealed({**members, "adapter.safetensors": other}, about))
    assert told.replay is not None and told.replay.verdict == "differs" and not told.good
    assert "moves a probability" in told.replay.words

    # ... and a mile elsewhere the same file says that its base is not there
    (home / "cache").rename(home / "away")
    (home / "mlflow.db").rename(home / "mlflow.away")
    told = verify(ws, data)
    assert told.good and told.replay is not None and told.replay.verdict == "not replayed"
    assert "is not to be had here" in told.replay.words


def test_every_flipped_byte_is_found(ws):
    reconcile(ws, NAME)
    data = pack(ws, NAME, 2).data
    assert verify(ws, data).good
    dice = random.Random(0)
    ends = [*range(60), *range(len(data) - LENGTH - 40, len(data))]
    for place in [*ends, *dice.sample(range(len(data)), 300)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << dice.randrange(8)
        assert not trusted(ws, bytes(flipped)), place
    for other in (data[:-1], data + b" ", data[: len(data) // 2], b"PK", b""):
        assert not trusted(ws, other)


def trusted(ws, data: bytes) -> bool:
    """Whether nothing is found wrong; what can't be read at all is refused."""
    try:
        return not verify(ws, data).faults
    except InputError:
        return False


def test_what_was_changed_is_named(ws):
    reconcile(ws, NAME)
    data = pack(ws, NAME, 2).data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members[MANIFEST])
    for change, words in (
        ({"policy.yaml": b"model: toy"}, "policy.yaml was changed"),
        ({"extra.txt": b""}, "extra.txt was added"),
    ):
        plain = io.BytesIO()
        with zipfile.ZipFile(plain, "w") as archive:
            for name, held in {**members, **change}.items():
                archive.writestr(name, held)
        faults = verify(ws, plain.getvalue()).faults
        assert any(text.startswith(words) for text in faults) and "seal" in faults[0], faults
    lines = members["journal.jsonl"].splitlines(keepends=True)
    whole = read(members["journal.jsonl"], rows=True)
    shorter = verify(ws, rebuilt(data, journal__jsonl=b"".join(lines[:-1])))
    assert "MLflow was told" in shorter.faults[0], "a tail that was cut off"
    other = lines[0].replace(b"reconciler", b"nobody")
    assert "entry 1 of the journal is not what was journaled" in str(
        verify(ws, rebuilt(data, journal__jsonl=b"".join([other, *lines[1:]]))).faults
    )
    first = json.loads(other)
    for line in ({**first, "digest": whole[0][1]}, {key: first[key] for key in ("link", "hash")}):
        forged = json.dumps({**line, "digest": whole[0][1]}).encode() + b"\n"
        told = verify(ws, rebuilt(data, journal__jsonl=b"".join([forged, *lines[1:]])))
        assert told.faults, "a digest is not believed where the content is to be there"
    held = {name: data for name, data in members.items() if name != MANIFEST}
    for wrong in ({"head": 3}, {"digests": {}}, {"digests": {"manifest": "../x"}}, {"mlflow": []}, {"format": "x"}):
        with pytest.raises(InputError, match="manifest"):
            verify(ws, sealed(held, {**about, **wrong}))
    newer = {**about, "format": 9}
    with pytest.raises(InputError, match="a newer selfheal wrote it"):
        verify(ws, sealed({}, newer))


def test_whoever_rewrites_the_journal_fools_nobody(ws, caplog):
    """All of it, hashes and all: MLflow was told another head, and goes on saying so."""
    approve(ws, NAME, 2, "ada")
    seal(ws, NAME)
    entries = ws.table.chain.links(NAME)
    with closing(Database(ws.settings.database_url)) as database, database.write() as connection:
        connection.execute(JOURNAL.delete().where(JOURNAL.c.id >= entries[-2].id))
    ws.table.journal_note(NAME, "approval", {"version": 2, "actor": "bob"}, "approved", ws.clock())
    ws.table.journal_note(NAME, "clear", {"actor": "bob"}, "cleared", ws.clock())
    packed_ = pack(ws, NAME, 1)
    assert "the journal was rewritten" in caplog.text
    assert "MLflow was told" in packed_.faults[0] and "MLflow was told" in verify(ws, packed_.data).faults[0]


def test_rows_of_people_stay_where_they_are(ws):
    intent = {"step": "answered", "version": 2, "answers": {"r17": 1}, "actor": "audit", "reasons": ["x\u2028\x85y"]}
    ws.table.journal_note(NAME, "audit", intent, "answered", ws.clock())
    bare = pack(ws, NAME, 2, rows=False)
    members = opened(bare.data)
    assert not {"sample.parquet", FILE} & members.keys() and b"r17" not in b"".join(members.values())
    assert b"r17" in opened(pack(ws, NAME, 2).data)["journal.jsonl"]
    told = verify(ws, bare.data)
    entries = read(members["journal.jsonl"], rows=False)
    assert told.good and told.entries == len(entries) == ws.table.chain.head(NAME).link
    assert told.replay is not None and "--no-rows" in told.replay.words
    with pytest.raises(NotFoundError, match="has no version 9"):
        pack(ws, NAME, 9)
