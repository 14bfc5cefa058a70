"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import re

import pytest

from tests.docs.markdown import ROOT


def modules_with_examples() -> list[str]:
    """Modules with a ``>>>`` in them, found without importing any."""
    found = []
    for folder in ("selfheal", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if re.search(r"^\s*>>> ", path.read_text(), re.MULTILINE):
                found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
