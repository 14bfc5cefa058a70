"""What is committed speaks of the project alone, and of no machine."""

from __future__ import annotations

import re
import subprocess
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
