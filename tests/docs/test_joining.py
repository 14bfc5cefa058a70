"""What the house's page shows joins by existing: its files are put where they say, and nothing else is changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import selfheal
from selfheal.errors import UnavailableError
from selfheal.healing import checks, mechanisms
from selfheal.healing.gate import candidate_of, gate
from selfheal.log import kinds
from selfheal.policy import WindowSpec
from tests.docs.markdown import ROOT, blocks
from tests.healing import check_laws
from tests.healing.candidates import RIGHT, STOPPED, case_of, finding, proba, shift
from tests.healing.laws import LAWS
from tests.healing.scenes import changed, clean
from tests.log.conftest import model, source, table
from tests.log.given import END, MINE, closed, frame, parquet

__all__ = ["model", "source", "table"]

FILES = {
    block.text.split("\n", 1)[0].removeprefix("# "): block.text for block in blocks(ROOT / "docs/house.md", "python")
}
"""Path → the text of a file that the page shows."""


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's files beside the modules of their packages, for the length of a test."""
    names = []
    for path, text in FILES.items():
        assert not (ROOT / path).exists() and (ROOT / path).parent.is_dir(), path
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        package = import_module(".".join(Path(path).parent.parts))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place.parent)])
        names.append(f"{package.__name__}.{place.stem}")
    for joining in (mechanisms, checks, kinds):
        joining.every.cache_clear()
    yield
    for joining in (mechanisms, checks, kinds):
        joining.every.cache_clear()
    for name in names:
        sys.modules.pop(name, None)


def test_a_mechanism_joins_and_keeps_the_laws(joined: None) -> None:
    toy = next(m for m in mechanisms.every() if m.name == "lost signs")
    assert [m.name for m in mechanisms.every()].index(toy.name) == 7
    lost = changed(lambda rows: rows.assign(x2=rows["x2"].abs()))
    for law in LAWS:
        for of in (clean(), lost):
            law(toy, of)
    outcome = selfheal.heal(lost.model, lost.rows)
    assert (outcome.decision, outcome.diagnosis) == ("refuse", "data_fault")
    assert outcome.reasons[0] == "lost signs: no value of x2 lies below zero, where more than 20% did"


ODDS = np.r_[np.full(50, -0.5), np.full(950, 1.0)]
GIVEN_UP = finding(shift(1.0), proba(ODDS + 1.0))
"""A heal that all checks of the house let pass, and after which nothing is called by the first class."""


def test_a_check_joins_and_keeps_the_laws(joined: None) -> None:
    toy = next(check for check in checks.every() if check.name == "classes")
    assert [check.name for check in checks.every()].index(toy.name) == 2
    for law in check_laws.LAWS:
        for made in (*STOPPED.values(), *RIGHT.values(), lambda: candidate_of(case_of(ODDS), GIVEN_UP)):
            law(toy, made)
    verdict = gate(case_of(ODDS), GIVEN_UP)
    assert verdict.decision == "refuse"
    assert verdict.reasons[0] == "it gives up class 0: 0 rows (bound 5% of today's 50)"


def test_without_it_the_same_heal_goes_out() -> None:
    assert gate(case_of(ODDS), GIVEN_UP).decision == "promote"


def test_a_kind_of_log_joins_and_gives_the_windows_of_the_others(joined: None, source, tmp_path: Path) -> None:
    assert [kind.name for kind in kinds.every()] == ["object store", "database", "feather", "folder"]
    rows = frame(60, 0)
    parquet(rows, tmp_path / "log", "part")
    rows.to_feather(tmp_path / "scored.feather")
    usual, toy = source(columns=MINE), source(columns=MINE, **{"from": str(tmp_path / "scored.feather")})
    spec = WindowSpec(duration=timedelta(seconds=10))
    windows = closed(toy, END, spec)
    assert windows == closed(usual, END, spec) and len(windows) > 2
    for ref in windows:
        assert toy.read(ref).frame.equals(usual.read(ref).frame)
    toy.rows.path.write_bytes(b"half of a file")
    with pytest.raises(UnavailableError, match=r"scored\.feather cannot be read"):
        toy.read(windows[0])
