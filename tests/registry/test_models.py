"""Models as people write them: adopted and loaded back alike, or refused at once with a remedy that works."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import selfheal
from selfheal import MonitoredModel, Settings
from selfheal.errors import InputError
from selfheal.parts.harmless import FUNCTIONS
from selfheal.registry import Registry
from selfheal.registry.adoption import adopt_model
from selfheal.registry.archive import load_base, save_base
from selfheal.serving.base import Base
from selfheal.serving.scorer import Scorer
from selfheal.table import InferenceTable, Pointer
from tests.registry.models import CASES, STORED, Case

pytestmark = pytest.mark.xdist_group("models")  # one store, and torch.export is imported once
Home = tuple[Registry, InferenceTable]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Home]:
    """One store for all of them: making it takes longer than adopting one."""
    place = tmp_path_factory.mktemp("models")
    shutil.copyfile(empty_store, place / "mlflow.db")
    settings = Settings.from_env({"SELFHEAL_HOME": str(place)})
    table = InferenceTable(settings.database_url)
    yield Registry(settings), table
    table.close()


def said(case: Case) -> str:
    return f"{case.network}, {case.columns}".replace("`", "")


def marked(cases: Sequence[Case]) -> list[object]:
    """Those that stand for others, now; all of them in `make prove`."""
    return [pytest.param(c, id=said(c), marks=[pytest.mark.prove] if c.slow else []) for c in cases]


@pytest.mark.filterwarnings("ignore:preprocess. stored as what:UserWarning")
@pytest.mark.parametrize("case", marked(CASES))
def test_a_model_is_adopted_or_refused_with_a_remedy_that_works(case: Case, home: Home, tmp_path: Path) -> None:
    if case in STORED:
        registry, table = home
        model, name = MonitoredModel(**case.make()), f"m{CASES.index(case)}"
        adopt_model(name, model, registry, table)
        pointer = table.pointer(name)
        assert pointer is not None
        return _served_alike(model, registry.load(name), pointer)
    make = case.make
    if case.says:
        with warnings.catch_warnings(), pytest.raises(InputError, match=case.says):
            warnings.simplefilter("ignore")
            MonitoredModel(**case.make())
        assert case.instead is not None
        make = case.instead
    model = MonitoredModel(**make())
    save_base(model, tmp_path / "base")  # what adoption may refuse; the rest of it is asked above
    loaded = load_base(tmp_path / "base", model.digest)
    return _served_alike(
        model,
        loaded,
        Pointer("m", 1, 1, model.digest, model.adapter.to_bytes(), "", dt.datetime.now(dt.UTC), False, ""),
    )


def trained(parts: dict[str, Any]) -> None:
    """Fit a network to its reference: a hundred steps on all of it."""
    asked = MonitoredModel(**parts, in_memory=True)
    apart = "module" not in parts or "inputs" in parts  # a network of several inputs is trained as it is served
    net = nn.Sequential(asked.backbone, asked.head) if apart else parts["module"]
    kind = next(net.parameters()).dtype
    entered = torch.from_numpy(asked.network_input(asked.check_rows(asked.reference))).to(kind)
    y = torch.from_numpy(np.searchsorted(asked.classes_, asked.reference_labels.to_numpy()))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    last = list(net.modules())[-1]
    net.train()
    for _ in range(100):
        optimizer.zero_grad()
        _loss(last, net(entered), y).backward()
        optimizer.step()


def _loss(last: nn.Module, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if isinstance(last, nn.Sigmoid):
        return nn.functional.binary_cross_entropy(out[:, 0], y.to(out.dtype))
    if out.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(out[:, 0], y.to(out.dtype))
    logs = out.log() if isinstance(last, nn.Softmax) else out.log_softmax(1)
    return nn.functional.nll_loss(logs, y)


ADOPTED = [case for case in CASES if not case.says]
SAMPLE = 2, 13, 34
"""Of those, what is healed in every run: the usual preprocessing, every kind of column, and several inputs."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=said(c), marks=[] if k in SAMPLE else [pytest.mark.prove]) for k, c in enumerate(ADOPTED)],
)
def test_a_model_is_healed_and_serves_the_heal(case: Case) -> None:
    """Visits are sent in another unit: the heal gives back what was lost, and the service answers by it."""
    assert case.rows is not None
    parts = case.make(n=2000)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        trained(parts)
    model = MonitoredModel(**parts, policy={"declare": {"measurement": ["visits"]}, "heal": {"max_changed": 1.0}})

    def drawn(seed: int, *, moved: bool = False) -> pd.DataFrame:
        frame = case.rows(600, seed)
        return frame.assign(visits=frame["visits"] / 10) if moved else frame

    def right(asked: MonitoredModel, frame: pd.DataFrame) -> float:
        return float((asked.predict(frame) == frame["stayed"].to_numpy()).mean())

    window = drawn(9, moved=True)
    outcome = selfheal.heal(model, window.drop(columns="stayed"), recent=[drawn(k) for k in (5, 6, 7)])
    assert (outcome.decision, outcome.diagnosis) == ("promote", "sensor"), outcome.reasons
    healed, unseen = model.with_adapter(outcome.adapter), drawn(8, moved=True)
    whole, lost, back = right(model, drawn(8)), right(model, unseen), right(healed, unseen)
    assert whole > lost + 0.1 and back > whole - 0.02, (whole, lost, back)
    _served_alike(
        healed,
        healed,
        Pointer("m", 2, 1, model.digest, healed.adapter.to_bytes(), "", dt.datetime.now(dt.UTC), False, ""),
    )


def _served_alike(model: MonitoredModel, loaded: MonitoredModel, pointer: Pointer) -> None:
    """The loaded model gives equal probabilities, to frames and to rows as they arrive at the service."""
    rows, expected = model.reference, model.predict_proba(model.reference)
    assert np.allclose(loaded.predict_proba(rows), expected, atol=1e-6)
    assert len(np.unique(expected)) > 3  # it says something
    scorer = Scorer.on(Base.of(loaded), pointer)
    assert scorer.path is not None, "scored as data frames, which costs milliseconds a request"
    rng = np.random.default_rng(0)
    mixed = rows.apply(lambda column: rng.permutation(column.to_numpy()))  # rows that are not in the reference
    for asked in (rows, mixed, mixed.iloc[:1]):
        arrived = asked[list(scorer.numeric)].to_numpy(dtype=np.float64)
        words = [[None if v is None or v != v else v for v in asked[c]] for c in scorer.texts]
        assert np.allclose(scorer.proba(arrived, words), model.predict_proba(asked), atol=1e-6)


def test_the_page_has_a_row_for_each(root: Path) -> None:
    page = (root / "docs" / "models.md").read_text()
    assert len(CASES) >= 30
    missing = [case.row for case in CASES if case.row not in page]
    assert not missing, "docs/models.md lacks these rows:\n" + "\n".join(missing)
    table = page.split("| the network | before it | what happens |", 1)[1].split("\n\n")[0]
    assert len(re.findall(r"^\| ", table, re.MULTILINE)) == len(CASES)


def test_the_page_names_every_function_that_is_trusted(root: Path) -> None:
    page = (root / "docs" / "models.md").read_text()
    assert not [name for name in FUNCTIONS if f"`{name.rpartition('.')[2]}`" not in page and f"`{name}`" not in page]
