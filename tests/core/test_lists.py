"""A column of lists is the columns of its numbers: in a reference, in rows, in a stored base; or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import nn

import selfheal
from selfheal.drill.recognised import recognise
from selfheal.errors import InputError
from selfheal.registry.archive import identity, load_base, save_base
from tests.core.lists import NAMES, WIDTH, apart, model, parts, put, rows

FEW = rows(40, 2)


@pytest.fixture(scope="module")
def held():
    return model()


def kinds_of(frame: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """The same rows as other libraries and files give them."""
    pl.from_pandas(frame).with_columns(pl.col("embedding").list.to_array(WIDTH)).write_parquet(folder / "fixed.parquet")
    frame.to_parquet(folder / "lists.parquet")
    read = pd.read_parquet(folder / "lists.parquet", dtype_backend="pyarrow")
    return {
        "arrays": frame,
        "lists": frame.assign(embedding=frame["embedding"].map(np.ndarray.tolist)),
        "tuples": frame.assign(embedding=frame["embedding"].map(tuple)),
        "tensors": frame.assign(embedding=frame["embedding"].map(torch.from_numpy)),
        "a file of lists": pd.read_parquet(folder / "lists.parquet"),
        "arrow's lists": read.assign(age=read["age"].astype(float), code=read["code"].astype(int)),
        "a file of lists of fixed size": pd.read_parquet(folder / "fixed.parquet"),
        "polars": pl.from_pandas(frame).to_pandas(),
        "one column a number": apart(frame),
        "in another order, with more": apart(frame)[[*NAMES[::-1], "code", "age"]].assign(more="x"),
    }


def test_lists_are_the_columns_of_their_numbers(held, tmp_path) -> None:
    plain = model(apart(rows(1500, 1)))
    assert held.features == plain.features == ("age", *NAMES, "code") and held.digest == plain.digest
    assert held.signature.lists == {"embedding": tuple(NAMES)} and held.signature.raw == ("age", "embedding", "code")
    pd.testing.assert_frame_equal(held.reference, plain.reference)
    expected = plain.predict_proba(apart(FEW))
    for what, frame in kinds_of(FEW, tmp_path).items():
        assert np.array_equal(held.predict_proba(frame), expected), what
        pd.testing.assert_frame_equal(held.model_units(frame), held.check_rows(apart(FEW)), obj=what)
        if what not in ("tensors", "one column a number", "in another order, with more"):
            assert model(frame.assign(y=FEW["y"].to_numpy()), in_memory=True).features == held.features, what
    with pytest.raises(InputError, match="column 'embedding_0' is missing"):
        plain.predict_proba(FEW)


def test_a_stored_base_knows_its_lists_and_one_without_says_nothing(held, tmp_path) -> None:
    plain = model(apart(rows(1500, 1)))
    for name, each in (("lists", held), ("plain", plain)):
        save_base(each, tmp_path / name)
    said, before = (json.loads((tmp_path / name / "base.json").read_text()) for name in ("lists", "plain"))
    assert said.pop("lists") == {"embedding": NAMES} and said.keys() == before.keys()
    assert said["digest"] == before["digest"] and identity(tmp_path / "lists") != identity(tmp_path / "plain")
    loaded = load_base(tmp_path / "lists")
    assert loaded.with_policy({}).signature.lists == held.signature.lists
    np.testing.assert_allclose(loaded.predict_proba(FEW), held.predict_proba(FEW), atol=1e-6)
    assert not load_base(tmp_path / "plain").signature.lists


WRONG: dict[str, tuple[Any, str, str]] = {
    "too short": ([0.5] * 15, "wrong length", r"row 3: a list of 15, and a list of 16 numbers.*embedding_0 to embedd"),
    "too long": (np.ones(17), "wrong length", r"row 3: a list of 17, and .*cut short, or made by another encoder"),
    "none": (None, "null", r"row 3: null, and a list of 16 numbers is wanted.*Leave the row out"),
    "NaN": (float("nan"), "null", r"row 3: null"),
    "words": (["a"] * 16, "not a number", r"row 3: 'a' in place 0 of the list is not a number"),
    "numbers as words": ([*[0.5] * 15, "1"], "not a number", r"row 3: '1' in place 15 of the list"),
    "an array of words": (np.array(["1"] * 16), "not a number", r"row 3: '1' in place 0 of the list"),
    "lists of lists": ([[1.0]] * 16, "not a number", r"row 3: \[1.0\] in place 0 of the list"),
    "a text": ("[0.1, 0.2]", "not a list", r"row 3: '\[0.1, 0.2\]' is no list.*where a format has no lists"),
    "a number": (0.5, "not a list", r"row 3: 0.5 is no list"),
    "beyond any number": ([*[1] * 15, 10**400], "not finite", r"row 3: a whole number in the list is beyond"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_list_of_so_many_numbers_is_refused_by_name(what, held) -> None:
    value, reason, words = WRONG[what]
    with pytest.raises(InputError, match=f"^column 'embedding', {words}") as refused:
        held.predict_proba(put(FEW, 3, value))
    assert (refused.value.reason, refused.value.column) == (reason, "embedding")
    if what not in ("none", "NaN"):  # which are gaps, in a reference
        with pytest.raises(InputError, match=f"^reference: column 'embedding', {words}"):
            model(put(FEW, 3, value), in_memory=True)


def test_a_number_in_a_list_is_judged_as_in_a_column(held) -> None:
    for value, reason in ((float("inf"), "not finite"), (float("nan"), "null"), (None, "null")):
        with pytest.raises(InputError, match="column 'embedding_15', row 3: ") as refused:
            held.predict_proba(put(FEW, 3, [*[0.5] * 15, value]))
        assert refused.value.reason == reason
    assert held.predict_proba(put(FEW, 3, [True, 2, *[0.5] * 14])).shape == (40, 2)


def test_columns_that_do_not_go_together_are_refused(held) -> None:
    with pytest.raises(InputError, match="'embedding' is given as lists and, by 'embedding_4', number by number"):
        held.predict_proba(FEW.assign(embedding_4=1.0))
    with pytest.raises(InputError, match=r"column 'embedding' is missing \(needed: age, embedding, code\)"):
        held.predict_proba(FEW.drop(columns="embedding"))
    with pytest.raises(InputError, match="column 'embedding_4' is missing"):
        held.predict_proba(apart(FEW).drop(columns="embedding_4"))
    for frame, words in (
        (FEW.assign(embedding_4=1.0), "embedding_0 to embedding_15, and 'embedding_4' is there already; rename"),
        (put(FEW, 0, []), "'embedding', row 0: an empty list"),
        (put(FEW, 0, ["a", "b"]), "row 0: 'a' in place 0 of the list is not a number"),
        (FEW.rename(columns={"y": "z", "embedding": "y"}), "'y' holds a ndarray, neither numbers"),
    ):
        with pytest.raises(InputError, match=words):
            model(frame, in_memory=True)
    with pytest.raises(InputError, match="SimpleImputer"):
        model(put(FEW, 3, None), in_memory=True)
    with pytest.raises(InputError, match="and 'embedding_3' is there already"):
        selfheal.MonitoredModel(**parts(), reference=FEW.rename(columns={"y": "embedding_3"}), target="embedding_3")


def test_a_list_may_be_missing_where_the_reference_misses_some() -> None:
    from sklearn.impute import SimpleImputer

    gaps = put(rows(300, 1), 3, None)
    plain = gaps.drop(columns=["y", "embedding"]).assign(**dict.fromkeys(NAMES, 3.0))[["age", *NAMES, "code"]]
    filled = model(gaps, preprocess=SimpleImputer(strategy="constant", fill_value=3.0).fit(plain))
    assert filled.nullable == {*NAMES}
    assert np.array_equal(filled.predict_proba(put(FEW, 3, None))[3], filled.predict_proba(put(FEW, 3, [3.0] * 16))[3])
    with pytest.raises(InputError, match="a list of 2, and"):
        filled.predict_proba(put(FEW, 3, [None, None]))


class Apart(nn.Module):
    """A network that takes the embedding by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(WIDTH, 4), nn.Linear(4 + 2, 2)

    def forward(self, rest: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.body(embedding).relu(), rest], dim=1))


def test_a_network_may_have_the_lists_as_an_input_of_their_own() -> None:
    network, named = Apart(), {"rest": ["age", "code"], "embedding": ["embedding"]}
    for inputs in (named, [*named.values()], named | {"embedding": NAMES}):
        given = {"module": network, "head": "out", "target": "y", "inputs": inputs, "in_memory": True}
        made = selfheal.MonitoredModel(reference=rows(300, 1), **given)
        with torch.no_grad():
            rest, held = FEW[["age", "code"]].to_numpy(np.float32), np.stack(FEW["embedding"])
            logits = network(torch.from_numpy(rest), torch.from_numpy(held))
        np.testing.assert_allclose(made.predict_proba(FEW), logits.softmax(1).numpy(), atol=1e-6)


def test_rows_with_lists_are_recognised_as_a_block() -> None:
    seen = recognise(rows(300, 1).assign(tags=[["a"], ["b", "c"], None] * 100), "y")
    assert seen.blocks == (tuple(NAMES),) and seen.features == ("age", *NAMES, "code")
    (unfit,) = (column for column in seen.columns if column.unfit)
    assert unfit.name == "tags" and "row 0: 'a' in place 0 of the list is not a number" in unfit.unfit


def test_a_list_is_declared_as_measurement_by_its_name() -> None:
    made = model(policy={"declare": {"measurement": ["embedding"]}})
    assert made.measured == set(NAMES)
    assert made.with_policy({"declare": {"measurement": ["age", NAMES[3]]}}).measured == {"age", NAMES[3]}
