"""Whether an archive of evidence is as it was sealed, its journal whole, and its heal repeatable."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfheal.errors import InputError
from selfheal.evidence import chain
from selfheal.evidence.packing import FORMAT
from selfheal.evidence.replay import Replay, replay
from selfheal.evidence.seal import MANIFEST, broken, opened
from selfheal.steering.workspace import Workspace
from selfheal.table import Head

HEX = re.compile("(?:[0-9a-f]{64})?")
"""A digest; empty where an older release wrote none."""


@dataclass(frozen=True)
class Verdict:
    """What is to be said of an archive.

    Attributes
    ----------
    model, version, made
        What it is about, and when it was put together.
    entries, head
        Length of the journal's chain, and its head, to be compared with the tag ``selfheal.journal`` in MLflow.
    faults
        What is wrong; empty when nothing is.
    replay
        What came of healing again; None where something is wrong before.
    """

    model: str
    version: int
    made: str
    entries: int
    head: str
    faults: tuple[str, ...]
    replay: Replay | None

    @property
    def good(self) -> bool:
        """Whether it can be relied upon, as far as it could be asked."""
        return not self.faults and (self.replay is None or self.replay.verdict != "differs")


def verify(ws: Workspace, data: bytes) -> Verdict:
    """Look for any changed byte, then for a break of the chain, then heal again.

    Raises
    ------
    InputError
        It is no archive of evidence, or one of a newer release.
    """
    members = opened(data)
    about = _manifest(members)
    try:
        faults, links = _faults(data, members, about)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"its manifest can't be read: {type(error).__name__} {error}") from error
    again = None if faults else replay(ws, members, about)
    head = f"{links[-1][0]} {links[-1][2]}" if links else ""
    return Verdict(
        about["model"], int(about["version"]), about["made"], len(links), head, tuple(dict.fromkeys(faults)), again
    )  # fmt: skip


def _faults(
    data: bytes, members: Mapping[str, bytes], about: Mapping[str, Any]
) -> tuple[list[str], list[tuple[int, str, str]]]:
    """All that is wrong, and the chain as far as it can be read."""
    faults = [text for text in (broken(data), *_changed(members, about)) if text]
    links: list[tuple[int, str, str]] = []
    sealed = [Head(int(each["link"]), str(each["hash"])) for each in (about["head"], *about["mlflow"].values()) if each]
    try:
        links = chain.read(members.get("journal.jsonl", b""), rows=bool(about["rows"]))
        faults += chain.faults(links, sealed)
    except InputError as error:
        faults.append(str(error))
    digests = about["digests"]
    strange = [key for key in ("base_digest", "manifest") if not HEX.fullmatch(digests[key])]
    if strange:
        raise ValueError(f"{strange[0]} is no digest")
    if (adapter := members.get("adapter.safetensors")) is not None:
        digest = hashlib.sha256(adapter).hexdigest()
        if digest != digests["adapter_digest"]:
            faults.append(f"the adapter has the digest {digest[:12]}, and another was registered")
    return faults, links


def _manifest(members: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(members[MANIFEST])
        form = int(about["format"])
        known = {"rows", "model", "version", "made", "digests", "base_version", "missing", "head", "mlflow", "members"}
        lacks = sorted(known - about.keys())
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"it has no manifest that can be read ({type(error).__name__}): was it cut off?") from error
    if form > FORMAT:
        raise InputError(f"it has format {form}, and this release reads {FORMAT}: a newer selfheal wrote it")
    if lacks:
        raise InputError(f"its manifest says nothing of {', '.join(lacks)}: it was changed, or is none of ours")
    return about


def _changed(members: Mapping[str, bytes], about: Mapping[str, Any]) -> list[str]:
    """Members that are not what the manifest says."""
    faults = []
    for name, digest in about["members"].items():
        stored = members.get(name)
        if stored is None:
            faults.append(f"{name} is missing, or damaged")
        elif hashlib.sha256(stored).hexdigest() != digest:
            faults.append(f"{name} was changed: it has not the digest in the manifest")
    extra = sorted(members.keys() - about["members"].keys() - {MANIFEST})
    return [*faults, *(f"{name} was added" for name in extra)]
