"""What a long proof has already shown: one JSON file each in build/prove, so that a proof resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def source_digest() -> str:
    """Hex SHA-256 over the library's source: results for other source do not count."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "selfheal").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Ledger:
    """Results by case, written after each; ``Ledger("name", folder)`` for another place than build/prove."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.path = (folder or ROOT / "build" / "prove") / f"{name}.json"
        self.source = source_digest()
        self.cases: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            held = json.loads(self.path.read_text())
            if held["source"] == self.source:
                self.cases = held["cases"]

    def run(self, case: str, show: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of the case: remembered, or run now and remembered."""
        if case not in self.cases:
            self.cases[case] = show()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self.path.with_suffix(".part")
            whole.write_text(json.dumps({"source": self.source, "cases": self.cases}, indent=1) + "\n")
            whole.replace(self.path)
        return self.cases[case]
