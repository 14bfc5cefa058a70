"""What a version comes from: five tags that tell its story, and all else in a file beside its adapter.

MLflow's pages list every tag on a line of its own, so there are few: ``parent``, ``window``, ``diagnosis`` and
``verdict``, and in ``base`` what programs need to open the version and to decide about it, as one line of JSON. What
only its history needs is in ``lineage.json``, whose digest ``base`` holds. Tags that say how a version stands
(``waits``, ``quarantine``) come later, and go.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

TOLD = ("diagnosis", "verdict", "window", "parent")
BASE = "base"
BEFORE = "files"
"""What ``base`` was called by releases that wrote every fact as a tag of its own."""

# MLflow refuses longer ones with an error that names a database column.
LONGEST_TAG = 5000
_LONGEST_FACT = 400
"""Characters of a fact within ``base``: a longer one gets a tag of its own, so that the line is never cut."""


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from.

    Attributes
    ----------
    parent
        The version that it was healed from; None for one that was adopted or registered by hand.
    window
        Index of the window that it was made for; None as above.
    diagnosis, verdict
        What had happened, and what the gate said of the heal.
    base
        The version of ``<name>-base`` that it belongs to; None if it is not one of ours.
    """

    parent: int | None
    window: int | None
    diagnosis: str
    verdict: str
    base: int | None

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Lineage:
        """From unpacked tags, of this release or an older one.

        >>> Lineage.of({"parent": "1", "window": "7", "diagnosis": "sensor", "base_version": "1"})
        Lineage(parent=1, window=7, diagnosis='sensor', verdict='', base=1)
        """
        parent, window, base = (_number(tags.get(key, "")) for key in ("parent", "window", "base_version"))
        return cls(parent, window, tags.get("diagnosis", ""), tags.get("verdict", ""), base)


def packed(tags: Mapping[str, Any], refs: Mapping[str, Any]) -> dict[str, str]:
    """Tags as a version carries them: the told ones, and ``base``.

    Parameters
    ----------
    tags
        Of any names; those that are not told go into ``base``, or are tags of their own where they are long.
    refs
        What names the version's files: digests, the base's name and version.

    >>> packed({"window": 3, "parent": 1, "asks": "fact"}, {"base_version": 1})
    {'window': '3', 'parent': '1', 'base': '{"base_version": 1, "asks": "fact"}'}
    """
    texts = {str(key): tag_text(value) for key, value in tags.items()}
    plain = {key: texts.pop(key) for key in TOLD if key in texts}
    short = {key: text for key, text in texts.items() if len(text) <= _LONGEST_FACT}
    long = {key: text for key, text in texts.items() if key not in short}
    return {**plain, BASE: json.dumps({**refs, **short}, ensure_ascii=False), **long}


def unpacked(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version with what ``base`` holds; a tag of the same name was written later, and counts.

    >>> unpacked({"parent": "1", "asks": "", "base": '{"base_version": 1, "asks": "fact"}'})
    {'base_version': '1', 'asks': '', 'parent': '1'}
    """
    refs: dict[str, str] = {}
    for key in (BEFORE, BASE):
        with suppress(ValueError, AttributeError):
            refs |= {str(k): str(v) for k, v in json.loads(tags.get(key, "{}")).items()}
    return refs | {str(k): str(v) for k, v in tags.items() if k not in (BEFORE, BASE)}


def as_json(story: Mapping[str, Any]) -> bytes:
    """All that is known of a version, as ``lineage.json``; numbers that are none become null.

    >>> json.loads(as_json({"window": 3, "gain": float("nan")}))
    {'window': 3, 'gain': None}
    """
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in story.items()}
    return json.dumps(plain, indent=1, ensure_ascii=False, default=str).encode()


def tag_text(value: object) -> str:
    """A tag's value as text that MLflow takes.

    >>> tag_text(0.123456789), tag_text(None), tag_text(True)
    ('0.123457', '', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return (f"{value:.6g}" if isinstance(value, float) else str(value))[:LONGEST_TAG]


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them."""
    return {str(key): tag_text(value) for key, value in tags.items()}


def _number(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdigit() else None
