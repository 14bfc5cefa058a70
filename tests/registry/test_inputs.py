"""Networks of several inputs: given what they were trained on, to the last code, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from torch import Tensor, nn

from selfheal import MonitoredModel, Settings
from selfheal.errors import InputError
from selfheal.registry import Registry
from selfheal.registry.adoption import adopt_model
from selfheal.table import InferenceTable
from tests.registry.models import counted
from tests.registry.networks import Apart, Tokens, TwoInputs
from tests.registry.tables import NUMBERS, TEXTS, customers, numbers

pytestmark = pytest.mark.xdist_group("models")  # torch.export is imported once

ROWS = customers()
X = ROWS.drop(columns="stayed")
CODES, SCALED = counted().fit(X[TEXTS]), StandardScaler().fit(X[NUMBERS])
ORDINAL = OrdinalEncoder().fit(X[TEXTS])  # codes as float64
UNKNOWN = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(X[TEXTS])


def seeded(kind: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*arguments).eval()


def floats(made: Any) -> Tensor:
    return torch.from_numpy(np.asarray(made, dtype=np.float32))


def whole(made: Any) -> Tensor:
    return torch.from_numpy(np.asarray(made, dtype=np.int64))


class Body(nn.Module):
    """A backbone of codes [n] and of numbers as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.codes, self.numbers = nn.Embedding(4, 4), nn.Linear(3, 8)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        return torch.cat([self.codes(codes), torch.tanh(self.numbers(numbers) / 50)], dim=1)


BY_NAME, TOKENS = seeded(Apart, 5), seeded(Tokens, 5)
BODY, HEAD = seeded(Body), seeded(nn.Linear, 12, 2)
CITY = counted().fit(X[["city"]])
Own = Callable[[pd.DataFrame], Tensor]
SCENES: dict[str, tuple[dict[str, Any], str, Own]] = {
    "embeddings and BatchNorm, by name in another order": (
        {"module": BY_NAME, "head": -1, "inputs": {"x_cont": SCALED, "x_cat": CODES}},
        "inputs x_cont float32 [n, 3], x_cat int64 [n, 2], cut before 'layers.4'",
        lambda x: BY_NAME(x_cat=whole(CODES.transform(x[TEXTS])), x_cont=floats(SCALED.transform(x[NUMBERS]))),
    ),
    "tokens, by name": (
        {"module": TOKENS, "head": "head", "inputs": {"x_num": SCALED, "x_cat": ORDINAL}},
        "inputs x_num float32 [n, 3], x_cat int64 [n, 2], cut before 'head'",
        lambda x: TOKENS(floats(SCALED.transform(x[NUMBERS])), whole(ORDINAL.transform(x[TEXTS]))),
    ),
    "backbone and head, in order, numbers as they are": (
        {"backbone": BODY, "head": HEAD, "inputs": [CITY, NUMBERS]},
        "inputs 0 int64 [n], 1 float32 [n, 3]",
        lambda x: HEAD(BODY(whole(CITY.transform(x[["city"]]))[:, 0], floats(x[NUMBERS]))),
    ),
}


@pytest.mark.parametrize("scene", SCENES)
def test_it_answers_as_the_network_does_to_raw_tensors_also_from_mlflow(
    scene: str, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.tracking_uri)
    parts, words, own = SCENES[scene]
    model = MonitoredModel(**parts, reference=ROWS, target="stayed")
    assert words in repr(model)
    unseen = customers(50, seed=3).drop(columns="stayed")
    if "tokens" not in scene:  # whose encoder refuses what it never met
        unseen = unseen.assign(city=unseen["city"].where(unseen.index > 3, "Olten"))
    with torch.no_grad():
        wanted = own(unseen).softmax(dim=1).numpy()
    assert np.ptp(wanted[:, 0]) > 0.01
    assert np.allclose(model.predict_proba(unseen), wanted, rtol=0, atol=1e-6)
    table = InferenceTable(database.database_url)
    adopt_model("apart", model, Registry(database), table)
    table.close()
    found = mlflow.pyfunc.load_model("models:/apart/1").predict(unseen)
    assert np.allclose(found.to_numpy(), wanted, rtol=0, atol=1e-6)


def taken(module: nn.Module, inputs: Any, rows: pd.DataFrame = ROWS, head: Any = -1, **more: Any) -> MonitoredModel:
    return MonitoredModel(
        module=module, head=head, reference=rows, target="stayed", inputs=inputs, **{"in_memory": True} | more
    )


class Branching(Apart):
    """Asks a value in Python."""

    def forward(self, x_cat: Tensor, x_cont: Tensor) -> Tensor:
        return super().forward(x_cat, x_cont if float(x_cont.sum()) != 0.125 else -x_cont)


class Counting(Apart):
    """Its rows are a number by the time they are used."""

    def forward(self, x_cat: Tensor, x_cont: Tensor) -> Tensor:
        return super().forward(x_cat, x_cont + torch.zeros(len(x_cont), 1))


BOTH = {"x_cat": CODES, "x_cont": SCALED}
NET = BY_NAME
REFUSED: dict[str, tuple[str, Callable[[], MonitoredModel]]] = {
    "both": (r"both given", lambda: taken(NET, BOTH, preprocess=SCALED)),
    "none": (r"inputs is empty; it maps", lambda: taken(NET, {})),
    "one transformer": (r"inputs is StandardScaler; it maps", lambda: taken(NET, SCALED)),
    "strange names": (r"has no argument 'x_num'.*list in its order", lambda: taken(NET, {"x_num": SCALED})),
    "a slip": (r"'x_cot'; did you mean 'x_cont'", lambda: taken(NET, {"x_cat": CODES, "x_cot": SCALED})),
    "one is missing": (
        r"'x_cat' of Apart.forward\(x_cat, x_cont\) has no input",
        lambda: taken(NET, {"x_cont": SCALED}),
    ),
    "too many": (r"holds 3, and .* takes 2", lambda: taken(NET, [CODES, SCALED, SCALED])),
    "in the wrong order": (
        r"Apart.forward\(x_cat, x_cont\) takes these inputs in no form. 0 float32 \[n, 3\], 1 int64 \[n, 2\]: Expected",
        lambda: taken(NET, [SCALED, CODES]),
    ),
    "too few columns": (
        r"x_cont float32 \[n, 1\]: running_mean should contain 1 elements not 3",
        lambda: taken(NET, {"x_cat": CODES, "x_cont": ["age"]}),
    ),
    "no columns": (r"inputs\['x_cont'\] has no columns", lambda: taken(NET, BOTH | {"x_cont": []})),
    "made none": (
        r"inputs\['x_cont'\] has no columns: its transformer makes \[240, 0\]",
        lambda: taken(NET, BOTH | {"x_cont": ColumnTransformer([("n", "drop", NUMBERS)]).fit(X)}),
    ),
    "text as it is": (r"'city' holds text; give a fitted encoder", lambda: taken(NET, BOTH | {"x_cat": TEXTS})),
    "no such column": (r"'aged' is no feature.*did you mean 'age'", lambda: taken(NET, BOTH | {"x_cont": ["aged"]})),
    "nothing": (r"inputs\['x_cont'\] is NoneType; give a fitted", lambda: taken(NET, BOTH | {"x_cont": None})),
    "not fitted": (r"inputs\['x_cont'\].*not fitted yet", lambda: taken(NET, BOTH | {"x_cont": StandardScaler()})),
    "fitted without names": (
        r"fitted to 3 columns without names, and the reference has 5",
        lambda: taken(NET, BOTH | {"x_cont": StandardScaler().fit(X[NUMBERS].to_numpy())}),
    ),
    "a code beyond the embedding": (
        r"code 2 is outside the embedding 'categories.1', which has rows 0 to 1: were there fewer.*np.digitize",
        lambda: taken(TOKENS, {"x_num": SCALED, "x_cat": CODES}, head="head"),
    ),
    "a rare code beyond it": (
        r"inputs\['x_cat'\]: code 4 is outside the embedding 'embeds.0'",
        lambda: taken(NET, BOTH | {"x_cat": counted().fit(LATE[TEXTS])}, LATE.assign(stayed=LATE.index % 2)),
    ),
    "what was never met": (
        r"'\(never met\)' in column 'city'.*code -1 is outside.*a value that it never met\?.*leaves 0 to it; or let",
        lambda: taken(TOKENS, {"x_num": SCALED, "x_cat": UNKNOWN}, head="head"),
    ),
    "gaps": (
        r"takes these inputs in no form.*inputs\['x_cat'\] has gaps.*encoded_missing_value=",
        lambda: taken(NET, BOTH | {"x_cat": OrdinalEncoder().fit(GAPPY[TEXTS])}, GAPPY.assign(stayed=ROWS["stayed"])),
    ),
    "numbers as codes": (
        r"-1.0 in column 'visits', which no row .* has but a later one may.*code -1 is outside.*rows 0 to 29",
        lambda: taken(seeded(Looked, 30), [["visits"], ["age"]], numbers()),
    ),
    "codes that 32-bit floats skip": (
        r"code 16777217 is beyond 2\*\*24.*OrdinalEncoder",
        lambda: taken(seeded(Looked, 7), [["visits"], ["age"]], numbers().assign(visits=2**24 + 1)),
    ),
    "a branch in Python": (
        r"inputs is stored as a program only, and torch.export cannot store Branching.*tensor operators only; or",
        lambda: taken(seeded(Branching, 5), BOTH, in_memory=False),
    ),
    "a number of rows in Python": (
        r"write x.shape\[0\] in place of len\(x\)",
        lambda: taken(seeded(Counting, 5), BOTH, in_memory=False),
    ),
}
GAPPY = X.assign(city=X["city"].mask(X.index % 9 == 0))
LATE = pd.concat([X] * 3, ignore_index=True)
LATE.loc[700, "city"] = "Visp"  # beyond the first rows, which alone are asked of other networks


class Looked(nn.Module):
    """Codes [n] looked up, or their remainder where there are few places, beside a number."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places, self.codes, self.out = places, nn.Embedding(places, 4), nn.Linear(5, 2)

    def forward(self, codes: Tensor, number: Tensor) -> Tensor:
        found: Tensor = self.out(torch.cat([self.codes(codes % 7 if self.places == 7 else codes), number / 50], dim=1))
        return found


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_value_cause_and_remedy(case: str) -> None:
    says, make = REFUSED[case]
    with pytest.raises(InputError, match=says):
        make()


def test_codes_are_told_by_what_the_network_takes() -> None:
    """Integers of one-hot are floats for a linear layer, and an encoder's floats are codes for an embedding."""
    hot = OneHotEncoder(sparse_output=False, dtype=np.int64).fit(X[["plan"]])
    made = taken(seeded(Mixed), {"hot": hot, "codes": OrdinalEncoder().fit(X[["city"]])})
    assert "inputs hot float32 [n, 2], codes int64 [n, 1]" in repr(made)
    wide = taken(seeded(Apart, 5).double(), BOTH)
    assert "x_cat int64" in repr(wide) and next(wide.backbone.parameters()).dtype == torch.float32


def test_a_column_of_codes_goes_in_without_its_dimension_where_that_would_stay() -> None:
    made = taken(seeded(Pair), {"plan": OrdinalEncoder().fit(X[["plan"]]), "city": OrdinalEncoder().fit(X[["city"]])})
    assert "inputs plan int64 [n], city int64 [n]" in repr(made)


class Pair(nn.Module):
    """Two codes a row, as recommenders have a user and an item."""

    def __init__(self) -> None:
        super().__init__()
        self.plans, self.cities, self.out = nn.Embedding(2, 4), nn.Embedding(3, 4), nn.Linear(8, 2)

    def forward(self, plan: Tensor, city: Tensor) -> Tensor:
        found: Tensor = self.out(torch.cat([self.plans(plan), self.cities(city)], dim=-1))
        return found


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codes, self.hot, self.out = nn.Embedding(3, 4), nn.Linear(2, 4), nn.Linear(8, 2)

    def forward(self, **inputs: Tensor) -> Tensor:
        found: Tensor = self.out(torch.cat([self.codes(inputs["codes"]).flatten(1), self.hot(inputs["hot"])], dim=1))
        return found


def test_every_code_up_to_the_largest_arrives_as_it_is() -> None:
    from selfheal.parts.several import EXACT, Form

    codes = np.array([0, 1, 4097, 2**23 + 1, EXACT - 1, EXACT, -EXACT], dtype=np.float64)
    rows = torch.from_numpy(np.stack([codes, codes], axis=1).astype(np.float32))
    assert Form("x", 1, 2, whole=True, flat=True).of(rows).tolist() == codes.astype(int).tolist()


def test_the_network_itself_is_left_as_it_was() -> None:
    net = seeded(TwoInputs, 4)
    before = dict(net.named_modules())
    made = taken(net, [CITY, NUMBERS], head="out")
    assert dict(net.named_modules()) == before
    assert made.with_adapter(made.adapter).digest == taken(net, [CITY, NUMBERS], head="out").digest
