"""Rows have one way into the loop: the source that its policy names."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from selfheal.log import OwnTable, Source
from selfheal.table import InferenceTable

ASKED = {name for name, _ in inspect.getmembers(Source, inspect.isfunction) if not name.startswith("_")}


def asks_the_table(code: str) -> list[str]:
    """Questions about rows that are put to a ``table`` (or to what is one's attribute)."""
    calls = (n.func for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call))
    asked = (f for f in calls if isinstance(f, ast.Attribute) and f.attr in ASKED)
    return [ast.unparse(f) for f in asked if ast.unparse(f.value).split(".")[-1] == "table"]


def test_the_loop_asks_the_source_for_rows_and_the_table_for_state(root: Path) -> None:
    found = {p.name: asks_the_table(p.read_text()) for p in (root / "selfheal" / "loop").glob("*.py")}
    assert not {name: asked for name, asked in found.items() if asked}
    assert asks_the_table("ctx.ws.table.read(ref)\ntable.cycles(name)\nsource.read(ref)") == ["ctx.ws.table.read"]


@pytest.mark.parametrize("name", sorted(ASKED - {"tally", "counted", "says"}))
def test_the_own_table_answers_what_is_asked(name: str) -> None:
    assert callable(getattr(OwnTable(InferenceTable("sqlite:////nowhere/x.db"), "toy"), name))
    assert callable(getattr(InferenceTable, name))
