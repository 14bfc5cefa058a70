"""Fenced blocks and headings of a Markdown file, with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@dataclass(frozen=True)
class Block:
    """One fenced block: where it starts, its language, its text without the fences."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path, *languages: str) -> Iterator[Block]:
    """Every fenced block of the file in order, of the given languages if any are given."""
    fence, language, began, held = "", "", 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        opening = re.match(r"^\s*(```+)\s*(\S*)", line)
        if fence and line.strip() == fence:
            if not languages or language in languages:
                yield Block(path, began, language, "\n".join(held) + "\n")
            fence = ""
        elif fence:
            held.append(line)
        elif opening:
            fence, language, began, held = opening[1], opening[2], number, []
    if fence:
        raise ValueError(f"{path}:{began}: the block is never closed")


def prose(path: Path) -> str:
    """The file without its fenced blocks."""
    kept, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def headings(path: Path) -> list[str]:
    """The texts of all headings."""
    return re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """What a link may point to within the file: headings as GitHub spells them."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings(path)}
