"""The locks: hashed, without addresses, and in step with pyproject.toml and with each other."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("requirements.lock", "infra/scoring.lock", "infra/worker.lock")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")


def pins(lock: Path) -> dict[str, str]:
    """Package to version, as the lock has them."""
    found = (PIN.match(line) for line in lock.read_text().splitlines())
    return {canonicalize_name(m[1]): m[2] for m in found if m}


def torch_version(root: Path) -> str:
    """The one package outside the lock: its build is chosen when it is installed."""
    found = re.search(r"^TORCH_VERSION := (\S+)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_is_hashed_and_no_line_holds_an_address(name: str, root: Path) -> None:
    text = (root / name).read_text()
    assert not re.search(r"https?:|file:|--index-url|--find-links|@ ", text)
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)
    bare = [e.splitlines()[0] for e in entries if PIN.match(e) and "--hash=sha256:" not in e]
    assert not bare
    assert len(pins(root / name)) > 50


def test_the_lock_satisfies_the_project(root: Path) -> None:
    data = project(root)
    wanted = [
        *data["project"]["dependencies"],
        *(r for extra in data["project"]["optional-dependencies"].values() for r in extra),
        *data["dependency-groups"]["dev"],
    ]
    locked = pins(root / "requirements.lock") | {"torch": torch_version(root)}
    for requirement in map(Requirement, wanted):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not in requirements.lock; run `make lock`"
        assert requirement.specifier.contains(version), f"the lock has {version}, not {requirement}; run `make lock`"


def test_an_image_gets_the_versions_that_the_tests_ran_with(root: Path) -> None:
    every, scoring, worker = (pins(root / name) for name in LOCKS)
    assert scoring.items() <= worker.items() <= every.items(), "the locks disagree; run `make lock`"
    assert not {"pytest", "mypy", "ruff"} & set(worker)
    assert not {"evidently", "prefect"} & set(scoring)
    assert {"evidently", "prefect", "psycopg"} <= set(worker)


def test_torch_is_declared_to_the_resolver_as_it_is_installed(root: Path) -> None:
    declared = project(root)["tool"]["uv"]["dependency-metadata"]
    assert [d["version"] for d in declared if d["name"] == "torch"] == [torch_version(root)]


def test_what_is_imported_is_declared(root: Path) -> None:
    """A package that only comes along with another could leave with it."""
    provides = importlib.metadata.packages_distributions()
    data = project(root)["project"]
    declared = {
        canonicalize_name(Requirement(r).name)
        for r in [*data["dependencies"], *(r for e in data["optional-dependencies"].values() for r in e)]
    }
    for path in [p for folder in ("selfheal", "flows") for p in (root / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {n.split(".")[0] for n in names} - sys.stdlib_module_names - {"selfheal", "flows"}:
                from_ = {canonicalize_name(d) for d in provides.get(name, [])}
                assert from_ & declared, f"{path.relative_to(root)} imports {name}; declare it in pyproject.toml"
