"""The house keeps its shape: imports point down, every module has a room, one door per library."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

# Words that say nothing about what a module is for.
EMPTY_WORDS = {"helper", "helpers", "util", "utils", "manager", "processor", "common", "misc", "v2"}
MAX_LINES = 400


def layers(root: Path) -> list[str]:
    """Every name in the layers contract, brackets taken off, from top to bottom."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(c for c in contracts if c["id"] == "layers")
    return [name.strip(" ()") for layer in contract["layers"] for name in layer.replace("|", ":").split(":")]


def sources(root: Path) -> list[Path]:
    return sorted(p for folder in ("selfheal", "flows", "tests") for p in (root / folder).rglob("*.py"))


def test_import_contracts_hold(root: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-logo",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_circle_among_modules() -> None:
    """Within a room too, and for types alone too: what knows each other is one module, or stands on a third."""
    graph = grimp.build_graph("selfheal", "flows", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 300
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_every_module_is_placed_in_a_layer(root: Path) -> None:
    placed = set(layers(root))
    rooms = [p for p in (root / "selfheal").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    stray = {f"selfheal.{p.stem}" for p in rooms} - placed - {"selfheal.__init__"}
    assert not stray, f"no layer in pyproject.toml's import contract names {sorted(stray)}; say where they belong"


def test_a_package_is_a_package(root: Path) -> None:
    """A folder with modules but without __init__.py is invisible to the import contracts."""
    folders = {p.parent for folder in ("selfheal", "flows") for p in (root / folder).rglob("*.py")}
    assert not [str(f.relative_to(root)) for f in folders if not (f / "__init__.py").exists()]


def test_files_stay_short(root: Path) -> None:
    long = {str(p.relative_to(root)): n for p in sources(root) if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not long, f"over {MAX_LINES} lines: {long}; split by what changes together"


def test_names_say_what_a_module_is_for(root: Path) -> None:
    vague = [p for p in sources(root) if EMPTY_WORDS & set(p.stem.split("_"))]
    assert not [str(p.relative_to(root)) for p in vague]


HEAVY = ("torch", "mlflow", "prefect", "evidently", "sklearn", "pandas", "numpy")
WHOLE = ("mlflow", "prefect", "torch", "sklearn", "pandas")
HELP = "from selfheal.cli import main\ntry: main(['--help'])\nexcept SystemExit as end: assert not end.code"
# What a process must never load, by what it does, one after the other: what an earlier step may not load, neither may a
# later one, but for the rooms of its own.
NEVER = {
    "what a person starts": {
        "import selfheal": HEAVY,
        "import selfheal.cli": HEAVY,
        # the command itself: everything heavy is imported inside the command that needs it
        HELP: HEAVY,
        "import selfheal.registry.archive": ("mlflow", "prefect", "evidently", "fastapi"),
        "import selfheal.healing.heal": ("mlflow", "prefect", "evidently", "sqlalchemy"),
    },
    "what serves": {
        # what the helper process beside a scoring service is made of
        "import selfheal.steering": (*WHOLE, "evidently", "alembic", "selfheal.loop", "selfheal.healing"),
        "import selfheal.serving.app": (*WHOLE, "evidently", "fastapi", "alembic"),
        # what a service of one's own loads to follow
        "import selfheal.following.follower": (*WHOLE[:-1], "evidently", "uvicorn", "alembic", "polars"),
        "import selfheal.serving.process": (*WHOLE[:-1], "evidently", "fastapi", "alembic"),
    },
}


@pytest.mark.parametrize("steps", NEVER.values(), ids=NEVER)
def test_import_budget(steps: dict[str, tuple[str, ...]], root: Path) -> None:
    told = "print(repr({step!r}), 'loads', *sorted({never!r} & set(sys.modules)))"
    probe = ["import sys", *(f"{step}\n{told.format(step=step, never={*never})}" for step, never in steps.items())]
    # else skops takes seconds, see selfheal.parts.preprocessing
    probe.append(
        "found = [*sys.modules]; print('SciPy first:', found.index('scipy.special') < "
        "found.index('torch') if 'torch' in found else True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(probe)], cwd=root, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if " loads" in line] == [f"{step!r} loads" for step in steps]
    assert (HELP in steps) == ("Usage" in done.stdout)
    assert "SciPy first: True" in done.stdout
