"""Put together what speaks about one version, and seal it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from selfheal import __version__
from selfheal.errors import NotFoundError
from selfheal.evidence import chain
from selfheal.evidence.replay import TOLERANCE
from selfheal.evidence.seal import sealed
from selfheal.loop.events import history
from selfheal.loop.sealed import heads, seal
from selfheal.loop.tasks import FILE, PLACE
from selfheal.registry.versions import VersionInfo
from selfheal.steering.approvals import APPROVAL
from selfheal.steering.look import last_look
from selfheal.steering.policies import POLICY, policy_of_record
from selfheal.steering.workspace import Workspace
from selfheal.table.values import to_json

FORMAT = 1

PARTS = ("torch", "numpy", "scikit-learn", "pandas", "polars", "scipy")
"""What a heal's numbers depend on."""

NO_ROWS = "rows: left out by --no-rows, so the heal can't be replayed"


@dataclass(frozen=True)
class Packed:
    """An archive of evidence.

    Attributes
    ----------
    data
        The file.
    members
        Names of what is in it.
    missing
        What is not, and why.
    faults
        What is wrong with the journal's chain: empty, or somebody rewrote it.
    """

    data: bytes
    members: tuple[str, ...]
    missing: tuple[str, ...]
    faults: tuple[str, ...]


def pack(ws: Workspace, name: str, number: int, *, rows: bool = True) -> Packed:
    """The evidence about a version: what it is, on what it was made, who released it, and the journal of it all.

    Parameters
    ----------
    rows
        Whether rows of the log go along: without them the heal can't be replayed.

    Raises
    ------
    NotFoundError
        No such model or version.
    ArtifactError
        A stored file is not what was registered.
    UnavailableError
        The database or MLflow is away.
    """
    ws.table.schema(name)
    info = ws.registry.version(name, number)
    seal(ws, name)
    links = ws.table.chain.links(name)
    known = heads(ws.registry.versions(name))
    faults = chain.faults([(each.link, each.digest, each.hash) for each in links], list(known.values()))
    members, missing = _of_version(ws, name, info)
    more, lacks = _rows(ws, name, info) if rows else ({}, [NO_ROWS])
    members |= more
    missing += lacks
    events = [event.record() for event in history(ws, name, mlflow=True)]
    members["history.json"] = _json(events)
    members["journal.jsonl"] = chain.written(links, rows=rows)
    head = links[-1] if links else None
    about = {
        "format": FORMAT, "model": name, "version": number, "made": ws.clock().isoformat(), "rows": rows,
        "digests": {key: info.tags.get(key, "") for key in ("adapter_digest", "base_digest", "manifest")},
        "base_version": info.base_version, "tolerance": TOLERANCE, "missing": missing,
        "head": None if head is None else {"link": head.link, "hash": head.hash},
        "mlflow": {str(v): asdict(each) for v, each in known.items()},
        "environment": environment(),
    }  # fmt: skip
    return Packed(sealed(members, about), tuple(sorted(members)), tuple(missing), tuple(faults))


def environment() -> dict[str, str]:
    """What the numbers of a heal depend on beside what it was given."""
    versions = {"selfheal": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for part in PARTS:
        with suppress(PackageNotFoundError):
            versions[part] = version(part)
    return versions


def _of_version(ws: Workspace, name: str, info: VersionInfo) -> tuple[dict[str, bytes], list[str]]:
    """What it is: the adapter, the policy, the gate, the window, approvals."""
    window, story = info.tags.get("window", ""), _story(ws, name, info)
    missing: list[str] = []
    members = {
        "version.json": _json({**asdict(info), "created": info.created, "updated": info.updated, "lineage": story}),
        "adapter.safetensors": ws.registry.adapter(name, info).to_bytes(),
        "policy.yaml": _policy(ws, name, story.get("policy_digest", ""), missing).encode(),
        "approvals.json": _json(_about(ws, name, info.version)),
    }
    cycle: Mapping[str, Any] = {}
    if window.lstrip("-").isdigit():
        with suppress(NotFoundError):
            cycle = ws.table.cycle(name, int(window))
    if not cycle:
        missing.append("gate.json, window.json: no window of the loop's made this version")
        return members, missing
    members["gate.json"] = _json(cycle.get("heal"))
    members["window.json"] = _json({key: value for key, value in cycle.items() if key != "heal"})
    return members, missing


def _story(ws: Workspace, name: str, info: VersionInfo) -> dict[str, Any]:
    """Where it comes from: its lineage, of older releases its tags."""
    return {**info.tags, **ws.registry.lineage(name, info)}


def _policy(ws: Workspace, name: str, wanted: str, missing: list[str]) -> str:
    """The policy that it was made under; the one in force where that was never journaled."""
    kept = [e.intent for e in ws.table.journal(name, kind=POLICY) if e.intent["digest"] == wanted]
    if kept:
        return str(kept[-1]["yaml"])
    policy = policy_of_record(ws, name).policy
    if policy.digest != wanted:
        missing.append(f"policy.yaml: the policy {wanted[:12]} was not journaled; this is the one in force now")
    return policy.to_yaml()


def _about(ws: Workspace, name: str, number: int) -> list[Mapping[str, Any]]:
    """Approvals of a version, and whether it is barred."""
    look = last_look(ws, name)
    barred = look is not None and number in look.vetoed | look.quarantined
    said = [{"at": e.at, **e.intent} for e in ws.table.journal(name, kind=APPROVAL) if e.intent["version"] == number]
    return [*said, {"withdrawn or in quarantine": barred}]


def _rows(ws: Workspace, name: str, info: VersionInfo) -> tuple[dict[str, bytes], list[str]]:
    """The rows that it was made of: the window's sample, and all that its heal was given."""
    members: dict[str, bytes] = {}
    missing = []
    sample = ws.registry.sample(name, info)
    if sample is None:
        missing.append("sample.parquet: it was registered without rows")
    else:
        members["sample.parquet"] = sample.to_parquet()
    run = _story(ws, name, info).get("heal_run", "")
    try:
        if not run:
            raise NotFoundError("no heal made it")
        members[FILE] = ws.registry.runs.artifact(run, f"{PLACE}/{FILE}")
    except NotFoundError as error:
        missing.append(f"{FILE}: {error}; the heal can't be replayed")
    return members, missing


def _json(value: Any) -> bytes:
    return json.dumps(json.loads(to_json({"_": value}))["_"], indent=2, ensure_ascii=False).encode()
