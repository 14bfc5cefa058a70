"""The page of decisions: its bounds are the code's, its commands exist, and sources that code names are there."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import import_module
from itertools import pairwise

import pytest

from selfheal.board.course import SHIPPED, TRIGGERS
from selfheal.board.ledger import built_in, chosen
from selfheal.board.streams import SETS, scenarios
from selfheal.healing import check, checks
from tests.docs.markdown import ROOT
from tests.docs.test_blocks import check_make, check_selfheal

PAGE = (ROOT / "docs/decisions.md").read_text()
BOUNDS = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| [^|]+ \| `([^`]+)` \|$", PAGE, re.MULTILINE)
COMMANDS = sorted(set(re.findall(r"`((?:selfheal|make|python) [^`]+)`", PAGE)))


@pytest.mark.parametrize(("name", "value", "command"), BOUNDS, ids=[name for name, *_ in BOUNDS])
def test_a_bound_is_the_codes(name: str, value: str, command: str) -> None:
    module, _, constant = name.rpartition(".")
    assert getattr(import_module(f"selfheal.healing.{module}"), constant) == ast.literal_eval(value)
    assert command in COMMANDS


def test_every_bound_of_the_gate_is_on_the_page() -> None:
    modules = [check, *(import_module(each.ask.__module__) for each in checks.every())]
    bounds = {
        f"{module.__name__.removeprefix('selfheal.healing.')}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float | tuple)
    }
    assert bounds and not bounds - {name for name, *_ in BOUNDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_exist(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "selfheal":
        check_selfheal(arguments)
        words = [word for option, word in pairwise(arguments) if option == "--scenario"]
        elsewhere = {TRIGGERS, *(of.name for of in SETS)}  # sets that are found in a folder of the reader's
        chosen([*built_in(), *scenarios((SHIPPED,))[0]], [word for word in words if word not in elsewhere])
    elif program == "make":
        check_make(arguments)
        part = next(word.removeprefix("ARGS=") for word in arguments if word.startswith("ARGS="))
        assert (ROOT / f"tests/bench/bench_{part}.py").is_file()
    else:
        assert arguments[:3] == ["-m", "pytest", "-m"] and "@pytest.mark.prove" in (ROOT / arguments[-1]).read_text()


def test_a_decision_says_what_else_there_was_and_what_was_measured() -> None:
    told = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:-1]
    parts = ["Decided", "Instead of", "Measured", "What would change it"]
    assert len(told) >= 7
    assert [re.findall(r"^- \*\*(.+?)\*\*:", part, re.MULTILINE) for part in told] == [parts] * len(told)


def test_what_a_source_refers_to_is_there() -> None:
    """Documents are named by their path; those that a reader does not have are not."""
    absent = re.compile(r"\b(?:" + "|".join(("HEALING", "FACTS", "DESIGN")) + r")\b")
    for path in sorted(p for folder in ("selfheal", "flows") for p in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not absent.search(text), path
        assert not [name for name in re.findall(r"\bdocs/[\w-]+\.md", text) if not (ROOT / name).is_file()], path
