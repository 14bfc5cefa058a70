"""What is committed speaks of the project alone, and of no machine."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

# Spelled in pieces, so that this file passes its own test.
MACHINE_PATHS = re.compile(r"(?<![\w.$}-])/(?:work|root|opt|Users|home)" + r"/[\w.]")
INDEXES = re.compile("(?:" + "|".join(("pypi", "pythonhosted", r"download\.pytorch", "npmjs")) + r")\.(?:org|com)\b")
BINARY = {".parquet", ".png", ".gz"}


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: " + done.stderr.strip())
    return [p for name in done.stdout.split("\0") if name and (p := root / name).is_file()]


def test_no_machine_paths_and_no_package_indexes(tracked: list[Path], root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:120]}"
        for path in tracked
        if path.suffix not in BINARY and path.name != "LICENSE"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATHS.search(line) or INDEXES.search(line)
    ]
    assert not found, "\n".join(found)


def test_nothing_built_and_nothing_big_is_committed(tracked: list[Path], root: Path) -> None:
    big = {str(p.relative_to(root)): p.stat().st_size for p in tracked if p.stat().st_size > 1_000_000}
    assert not big
    assert not [p for p in tracked if p.suffix in {".pyc", ".db", ".pt2", ".pkl", ".pickle", ".whl"}]


def test_only_expected_rooms_at_the_top(tracked: list[Path], root: Path) -> None:
    tops = {p.relative_to(root).parts[0] for p in tracked}
    expected = {
        "selfheal", "flows", "rules", "tests", "infra", "docs",
        "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "prefect.yaml", "requirements.lock",
    }  # fmt: skip
    assert not {t for t in tops - expected if not t.startswith(".")}


def bound(statements: Sequence[ast.AST]) -> Iterator[tuple[str, str]]:
    """Names that a package's own file binds, or lends when asked for: the name, and the module that it comes from."""
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ""  # and not what is bound within
            continue
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, node.module or "") for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, ""
        yield from bound(list(ast.iter_child_nodes(node)))


def shadowed(package: Path, root: Path) -> set[str]:
    """Modules of a package (its folder) of whose name the package makes something else."""
    name = ".".join(package.relative_to(root).parts)
    modules = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/__init__.py")}
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    return {given for given, home in bound(tree.body) if given in modules and home != name}


def test_no_module_is_shadowed_by_its_package(root: Path) -> None:
    """Else ``from package import name`` gives the one or the other, by who was imported first."""
    packages = [p.parent for folder in ("selfheal", "flows") for p in (root / folder).rglob("__init__.py")]
    found = {str(p.relative_to(root)): names for p in packages if (names := shadowed(p, root))}
    assert not found, "call the module or what it holds by another word"


@pytest.mark.parametrize(
    "text",
    [
        "from room.door import door",
        "def door(): ...",
        "class door: ...",
        "door = 1",
        "if 1:\n    from x import y as door",
    ],
)
def test_whatever_shadows_a_module_is_seen(text: str, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "door.py").touch()
    (room / "__init__.py").write_text(text)
    assert shadowed(room, tmp_path) == {"door"}
    (room / "__init__.py").write_text("from room import door")
    assert not shadowed(room, tmp_path)


VERBS = {"told", "found", "held"}
"""Past participles that say of a thing only that it was told, found or held: not what it is."""


def test_what_is_defined_bears_a_noun(root: Path) -> None:
    named = [
        f"{path.relative_to(root)}:{node.lineno}: {node.name}"
        for folder in ("selfheal", "flows")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name.strip("_").lower() in VERBS
    ]
    assert not named, "\n".join(named)


def verbal(text: str) -> list[str]:
    """Parameters and local names that are such a verb."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function)]
    names = [(n.lineno, n.id) for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names += [(n.lineno, n.arg) for n in nodes if isinstance(n, ast.arg)]
    return [f"{line}: {name}" for line, name in sorted({*names}) if name in VERBS]


def test_what_a_function_names_bears_a_noun(root: Path) -> None:
    modules = (root / "selfheal").rglob("*.py")
    named = [f"{path.relative_to(root)}:{each}" for path in modules for each in verbal(path.read_text("utf-8"))]
    assert not named, "\n".join(named)


def test_a_verbal_name_is_seen() -> None:
    assert verbal("def f(told):\n    found, other = told\n    return found") == ["1: told", "2: found"]
