"""A heal's preprocessing takes arrays only where they say what data frames say, to the last bit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

from selfheal.model import MonitoredModel
from selfheal.parts.columns import dense
from selfheal.parts.within import Within

ROWS = pd.DataFrame(
    {
        "amount": np.random.default_rng(0).gamma(2.0, 30.0, 500),
        "count": np.random.default_rng(1).integers(0, 9, 500),
        "shop": np.random.default_rng(2).choice(["north", "south", None], 500),
    }
)


def named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(amount=frame["amount"] + 0 * frame["count"])


def by_name(frame: pd.DataFrame) -> pd.DataFrame:
    """As people write one: of an array it makes a frame whose columns have no names, and raises a KeyError."""
    frame = pd.DataFrame(frame)
    return frame.assign(amount=frame["amount"] + 1)


STEPS = {
    "scaled": (
        ColumnTransformer([("n", StandardScaler(), ["count", "amount"]), ("s", OneHotEncoder(), ["shop"])]),
        True,
    ),
    "logarithm": (make_pipeline(FunctionTransformer(np.log1p), SimpleImputer(), StandardScaler()), True),
    "names": (make_pipeline(FunctionTransformer(named), StandardScaler()), False),
    "names of a frame": (make_pipeline(FunctionTransformer(by_name), StandardScaler()), False),
}


@pytest.mark.parametrize("step", STEPS)
def test_arrays_say_what_frames_say(step: str) -> None:
    made, in_arrays = STEPS[step]
    columns = list(ROWS.columns) if step == "scaled" else ["amount", "count"]
    known = ROWS[columns]
    within = Within(fitted(made.fit(known), known))
    assert (within._blocks is not None) == in_arrays
    rows = known.sample(90, random_state=3)
    np.testing.assert_array_equal(within.transform(rows), dense(made.transform(rows)))
    far = rows.assign(amount=-rows["amount"])
    assert np.isfinite(within.transform(far)).all(), "what a logarithm refuses is read within the reference's range"
    if step == "scaled":
        np.testing.assert_array_equal(within.transform(far), dense(made.transform(far)))
        with pytest.raises(ValueError, match="unknown categories"):
            within.transform(rows.assign(shop="west"))


def fitted(made: Any, known: pd.DataFrame) -> Any:
    return SimpleNamespace(
        preprocess=made,
        features=tuple(known.columns),
        dtypes={c: "str" if c == "shop" else "float" for c in known.columns},
        reference=known,
        nulls={"shop": None} if "shop" in known else {},
    )


@pytest.mark.parametrize("step", [StandardScaler(), make_pipeline(StandardScaler(), PCA(2))], ids=["one", "two"])
def test_what_was_fitted_to_an_array_is_given_one(step: Any) -> None:
    """Else scikit-learn warns of names at every call, here an error."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
    step.fit(rows.to_numpy())
    width = step.transform(rows.to_numpy()[:1]).shape[1]
    model = MonitoredModel(
        nn.Linear(width, 4), nn.Linear(4, 2), rows.assign(y=np.arange(60) % 2), target="y", preprocess=step
    )
    assert np.array_equal(model.network_input(rows), step.transform(rows.to_numpy()).astype(np.float32))
