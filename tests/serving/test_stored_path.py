"""A stored path: numpy alone scores a base and its adapters as the model does, and says so where it cannot."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    TargetEncoder,
)

from selfheal.adapter import Adapter
from selfheal.errors import ArtifactError, InputError, UnavailableError
from selfheal.model import MonitoredModel
from selfheal.parts.path import from_bytes
from selfheal.registry.archive import save_base
from selfheal.registry.folder import MANIFEST, SCORING
from selfheal.serving.base import Base
from selfheal.serving.scorer import NotHereError, Scorer
from selfheal.table import Pointer
from tests.serving.conftest import adapters, network, payments


def settled(model: MonitoredModel, adapter: Adapter) -> Pointer:
    data = adapter.belonging_to(model.digest).to_bytes()
    return Pointer("m", 1, 1, model.digest, data, "", datetime(2026, 1, 1, tzinfo=UTC), False)


def asked(scorer: Scorer, rows: pd.DataFrame) -> tuple[np.ndarray, list[list[str | None]]]:
    words = [[None if pd.isna(v) else v for v in rows[name]] for name in scorer.texts]
    return rows[list(scorer.numeric)].to_numpy(dtype=np.float64), words


def stored(model: MonitoredModel, folder) -> Base:
    save_base(model, folder)
    return Base(folder, model.digest, "")


@pytest.mark.parametrize("kind", ["identity", "map", "reflexive", "offset", "all"])
@pytest.mark.parametrize("name", ["weather", "plain", "payments"])
def test_it_agrees_with_the_model_under_every_adapter_and_opens_nothing(bases, adapters_of, name, kind):
    model, cache = bases(name)
    base = Base(cache / model.digest, model.digest, "")
    adapter = adapters_of(model)[kind]
    scorer = Scorer.on(base, settled(model, adapter))
    served = model.with_adapter(adapter)
    for rows in (model.reference, model.reference.iloc[:1]):
        np.testing.assert_allclose(scorer.proba(*asked(scorer, rows)), served.predict_proba(rows), rtol=0, atol=1e-6)
    assert not base.whole
    assert (scorer.changed_part, scorer.input_map) == (served.adapter.changed_part, served.adapter.input_map)
    assert dataclasses.asdict(base.signature) == dataclasses.asdict(model.signature)
    assert base.policy == model.policy


def shop() -> pd.DataFrame:
    """Numbers, codes and text, gaps among all."""
    rows, rng = payments(), np.random.default_rng(5)
    rows["depot"] = rng.choice([3.0, 7.0, 11.0, np.nan], len(rows))
    rows["grade"] = rng.choice(["low", "mid", "high"], len(rows))
    rows.loc[::17, "v1"] = np.nan
    rows.loc[::23, "kind"] = None
    return rows


def shop_model(steps: list[tuple]) -> MonitoredModel:
    rows = shop()
    made = ColumnTransformer(steps, sparse_threshold=0).fit(rows.drop(columns="fraud"), rows["fraud"].eq("yes"))
    width = made.transform(rows.iloc[:1].drop(columns="fraud")).shape[1]
    return MonitoredModel(*network(width, 3, 1), reference=rows, target="fraud", preprocess=made)


PLAIN = [
    ("logs", make_pipeline(FunctionTransformer(np.log1p), RobustScaler()), ["amount"]),
    ("filled", make_pipeline(SimpleImputer(add_indicator=True), MinMaxScaler()), ["v1"]),
    ("depots", OneHotEncoder(handle_unknown="ignore"), ["depot"]),
    ("kinds", make_pipeline(SimpleImputer(strategy="constant", fill_value="none", missing_values=None),
                            OneHotEncoder(handle_unknown="ignore")), ["kind"]),
    ("grades", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["grade"]),
]  # fmt: skip


def test_numbers_codes_text_and_values_that_nobody_fitted_are_scored_as_by_the_model(tmp_path):
    model = shop_model(PLAIN)
    base = stored(model, tmp_path / "base")
    rng = np.random.default_rng(1)
    odd = model.reference.apply(lambda column: rng.permutation(column.to_numpy()))
    odd.loc[:20, "depot"], odd.loc[10:30, "kind"], odd.loc[15:40, "grade"] = 99.0, "never seen", "Mid"
    odd.loc[35:50, "depot"] = -4.0
    for adapter in adapters(model).values():
        scorer = Scorer.on(base, settled(model, adapter))
        expected = model.with_adapter(adapter).predict_proba(odd)
        np.testing.assert_allclose(scorer.proba(*asked(scorer, odd), waits=False), expected, rtol=0, atol=1e-6)
    assert not base.whole


def test_what_only_the_encoder_knows_is_asked_of_the_model_by_who_can_wait(tmp_path):
    """An encoder that refuses what it never met: the model is opened once, and its words are the answer's."""
    model = shop_model([("kinds", OneHotEncoder(handle_unknown="error"), ["kind", "grade"])])
    base = stored(model, tmp_path / "base")
    scorer = Scorer.on(base, settled(model, Adapter()))
    rows = model.reference.iloc[:3].assign(grade=["low", "top", "mid"])
    with pytest.raises(NotHereError):
        scorer.proba(*asked(scorer, rows), waits=False)
    with pytest.raises(InputError, match="column 'grade', row 1: 'top' is a word that the model's encoder does not"):
        scorer.proba(*asked(scorer, rows))
    assert base.whole
    np.testing.assert_allclose(
        scorer.proba(*asked(scorer, model.reference)), model.predict_proba(model.reference), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "step",
    [
        KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf"),
        FunctionTransformer(np.arctan),
    ],
    ids=["bins", "a function that is not listed"],
)
def test_what_is_no_plain_step_is_stored_without_and_scored_by_the_whole(tmp_path, step):
    model = shop_model([("odd", step, ["amount"])])
    base = stored(model, tmp_path / "base")
    assert base.path is None and base.whole
    scorer = Scorer.on(base, settled(model, Adapter()))
    rows = model.reference.iloc[:9]
    np.testing.assert_allclose(scorer.proba(*asked(scorer, rows)), model.predict_proba(rows), rtol=0, atol=1e-6)


def test_a_network_with_a_forward_of_its_own_is_read_from_its_program(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = torch.nn.Linear(2, 8), torch.nn.Linear(8, 4), torch.nn.LayerNorm(4)
            self.drop, self.batch = torch.nn.Dropout(), torch.nn.BatchNorm1d(8)
            self.batch(torch.randn(50, 8) * 2 + 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = torch.nn.functional.leaky_relu(self.batch(torch.tanh(self.one(x))), 0.2)
            return torch.nn.functional.elu(self.norm(self.two(self.drop(wide))))

    rows = payments().drop(columns="kind")
    whole = torch.nn.Sequential(Own(), torch.nn.Linear(4, 3))
    for number, parts in enumerate(({"backbone": whole[0], "head": whole[1]}, {"module": whole, "head": "1"})):
        model = MonitoredModel(**parts, reference=rows, target="fraud")
        base = stored(model, tmp_path / str(number))
        scorer = Scorer.on(base, settled(model, adapters(model)["all"]))
        expected = model.with_adapter(adapters(model)["all"]).predict_proba(model.reference)
        np.testing.assert_allclose(scorer.proba(*asked(scorer, model.reference)), expected, rtol=0, atol=2e-6)
        assert not base.whole


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_the_layers_that_practitioners_put_between_linear_ones_are_in_it(tmp_path, part):
    """And a batch norm that has learnt something; also as the first layer of all, and as the last of a backbone."""
    torch.manual_seed(4)
    norm = torch.nn.BatchNorm1d(2)
    norm(torch.randn(64, 2) * 3 + 1)
    body = torch.nn.Sequential(
        norm, torch.nn.Linear(2, 9), torch.nn.GELU(), torch.nn.LayerNorm(9), torch.nn.Linear(9, 8), torch.nn.SiLU(),
        torch.nn.Dropout(), torch.nn.Linear(8, 8), torch.nn.LeakyReLU(0.1), torch.nn.BatchNorm1d(8), torch.nn.ELU(),
    )  # fmt: skip
    head = torch.nn.Sequential(torch.nn.Sigmoid(), torch.nn.Linear(8, 3))
    if part == "head":
        body, head = torch.nn.Sequential(*body[:2]), torch.nn.Sequential(*body[2:], *head)
    rows = payments().drop(columns="kind")
    model = MonitoredModel(body, head, reference=rows, target="fraud")
    base = stored(model, tmp_path / "base")
    adapter = adapters(model)["all"]
    scorer = Scorer.on(base, settled(model, adapter))
    expected = model.with_adapter(adapter).predict_proba(model.reference)
    np.testing.assert_allclose(scorer.proba(*asked(scorer, model.reference)), expected, rtol=0, atol=2e-6)
    assert not base.whole


def test_a_path_that_was_changed_is_not_opened_and_one_of_a_later_release_is_left_alone(bases, tmp_path):
    model, _ = bases("weather")
    save_base(model, tmp_path / "base")
    path = tmp_path / "base" / SCORING
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=f"{SCORING} was changed"):
        Base(tmp_path / "base", model.digest, "")
    assert from_bytes(data.replace(b'\\"version\\": 1', b'\\"version\\": 2')) is None
    for broken in (data[:40], data.replace(b"Scaled", b"Shaled"), data.replace(b'\\"head\\"', b'\\"tail\\"')):
        with pytest.raises(ArtifactError, match="not a stored scoring path"):
            from_bytes(broken)
    assert SCORING in (tmp_path / "base" / MANIFEST).read_text()


def test_numbers_beyond_32_bits_are_no_answer_that_looks_like_one(tmp_path):
    """A norm divides by what it overflows to: the row is scored as the largest quantity there is, as by the model."""
    rows = payments().drop(columns="kind")
    torch.manual_seed(2)
    body = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.LayerNorm(6), torch.nn.ReLU())
    model = MonitoredModel(body, torch.nn.Linear(6, 3), reference=rows, target="fraud")
    scorer = Scorer.on(stored(model, tmp_path / "base"), settled(model, Adapter()))
    odd = model.reference.iloc[:4].assign(amount=[1e12, 1e25, 9.97e36, -3.4e38])
    largest = odd.assign(amount=odd["amount"].clip(-1e12, 1e12))
    np.testing.assert_allclose(scorer.proba(*asked(scorer, odd)), model.predict_proba(largest), rtol=0, atol=1e-6)


def test_a_cache_that_was_changed_meanwhile_is_told_the_log_and_no_client(tmp_path, caplog):
    model = shop_model([("kinds", OneHotEncoder(handle_unknown="error"), ["kind", "grade"])])
    base = stored(model, tmp_path / "base")
    scorer = Scorer.on(base, settled(model, Adapter()))
    (tmp_path / "base" / "head.pt2").write_bytes(b"no more")
    with pytest.raises(UnavailableError, match="only the whole model knows") as said:
        scorer.proba(*asked(scorer, model.reference.iloc[:2].assign(grade="top")))
    assert str(tmp_path) not in str(said.value) and str(tmp_path) in caplog.text
    scorer.proba(*asked(scorer, model.reference.iloc[:2]))  # what the path knows is answered all the same


def test_outside_of_a_logarithm_nothing_is_called_missing(tmp_path):
    base = stored(shop_model([PLAIN[0]]), tmp_path / "base")
    scorer = Scorer.on(base, settled(base.model, Adapter()))
    with pytest.raises(InputError, match=r"row 0: .* outside of what its preprocessing is defined for"):
        scorer.proba(*asked(scorer, base.model.reference.dropna().iloc[:1].assign(amount=-3.0)))


def test_an_adapter_that_does_not_fit_is_refused_in_the_model_s_words(bases):
    model, cache = bases("weather")
    base = Base(cache / model.digest, model.digest, "")
    for adapter in (Adapter(logit_offset=np.zeros(3)), adapters(bases("payments")[0])["map"]):
        with pytest.raises(ArtifactError) as said:
            Scorer.on(base, settled(model, adapter))
        with pytest.raises(ArtifactError) as expected:
            model.with_adapter(adapter)
        assert str(said.value) == str(expected.value)


def test_a_target_encoder_s_text_that_was_in_no_reference_keeps_what_it_was_fitted_to(tmp_path):
    """Fitted to more than the reference shows: such a text is known, and no other."""
    rows = shop()
    some = rows[rows["grade"] != "high"].drop(columns=["depot", "kind", "v1"])
    steps = [("grade", TargetEncoder(), ["grade"]), ("v", SimpleImputer(), ["amount"])]
    fitted = ColumnTransformer(steps).fit(rows[["grade", "amount"]], rows["fraud"].eq("yes"))
    model = MonitoredModel(*network(2, 3, 1), reference=some, target="fraud", preprocess=fitted)
    base = stored(model, tmp_path / "base")
    scorer = Scorer.on(base, settled(model, Adapter()))
    odd = model.reference.iloc[:4].assign(grade=["high", "low", "nobody", "mid"])
    np.testing.assert_allclose(scorer.proba(*asked(scorer, odd)), model.predict_proba(odd), rtol=0, atol=1e-6)
    assert not base.whole
