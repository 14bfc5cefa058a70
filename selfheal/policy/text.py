"""The text of a policy, as YAML."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import yaml

_QUICK: Any = getattr(yaml, "CSafeLoader", None)


def parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """The document's node, whose parts know their lines, and what it says.

    By libyaml where PyYAML has it, in a tenth of the time; what that cannot read, the slower one has better words for.

    Raises
    ------
    yaml.YAMLError
    """
    if _QUICK is not None:
        with suppress(yaml.YAMLError):
            return _read(text, _QUICK)
    return _read(text, yaml.SafeLoader)


def _read(text: str, kind: Any) -> tuple[yaml.Node | None, Any]:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
