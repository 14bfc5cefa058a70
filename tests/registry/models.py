"""Models as people write them: what each is made of, and what to write in place of what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.special
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes IterativeImputer importable
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from torch import nn

from tests.registry.networks import (
    Apart,
    Attention,
    BySign,
    ByWhere,
    Classifier,
    Committee,
    Convolution,
    Drawing,
    Embedded,
    Filling,
    Joined,
    OneHead,
    Parts,
    Recurrent,
    Residual,
    Skip,
    SoftmaxInside,
    Squeezed,
    Tabular,
    Tokens,
    TwoInputs,
    batch_statistics,
    in_64_bits,
    linear,
    one_output,
    scripted,
    sequential,
    two,
    weight_norm,
    whole,
)
from tests.registry.tables import (
    FEW,
    NUMBERS,
    TEXTS,
    Rows,
    apart,
    customers,
    dated,
    embedded,
    gappy,
    gappy_numbers,
    in_days,
    named,
    nullable,
    numbers,
    one_kind,
    ragged,
    two_kinds,
    with_city,
)

# ---------------------------------------------------------------------- preprocessing


def mixed(number: Any, text: Any) -> ColumnTransformer:
    return ColumnTransformer([("n", number, NUMBERS), ("t", text, TEXTS)], sparse_threshold=0)


def usual() -> ColumnTransformer:
    """What half of all tutorials end with."""
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    return mixed(make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), filled)


def by_selector() -> Any:
    """In pandas' own frames throughout."""
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=40, sparse_output=False)
    made = ColumnTransformer(
        [
            ("n", StandardScaler(), make_column_selector(dtype_include=np.number)),
            ("t", encoder, make_column_selector(dtype_exclude=np.number)),
        ]
    )
    return made.set_output(transform="pandas")


def codes() -> ColumnTransformer:
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("t", ordinal, TEXTS), ("n", StandardScaler(), NUMBERS)])


def one_code() -> ColumnTransformer:
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("t", ordinal, ["city"]), ("n", StandardScaler(), NUMBERS)])


def counted() -> Any:
    """Codes from 1 on; 0 is what was never met."""
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(ordinal, FunctionTransformer(np.digitize, kw_args={"bins": list(range(100))}))


def scaled() -> Any:
    """Fitted to the whole frame, of which it takes the numbers."""
    return make_pipeline(ColumnTransformer([("n", SimpleImputer(), NUMBERS)]), StandardScaler())


def logs(function: Any) -> ColumnTransformer:
    return ColumnTransformer(
        [("log", FunctionTransformer(function), ["income"]), ("rest", StandardScaler(), ["age", "visits"])]
    )


def imputed(estimator: Any = None) -> Any:
    return make_pipeline(IterativeImputer(estimator, max_iter=2, random_state=0), StandardScaler())


def ratio(x: Any) -> Any:
    """A function of one's own."""
    return np.log(x / 2 + 1)


def squashed() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("logit", make_pipeline(MinMaxScaler((0.1, 0.9)), FunctionTransformer(scipy.special.logit)), ["age"]),
            ("clip", FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 50}), ["income", "visits"]),
        ]
    )


def of_nullable() -> ColumnTransformer:
    unknown = SimpleImputer(missing_values=np.nan, strategy="constant", fill_value="?")
    plan = SimpleImputer(missing_values=None, strategy="constant", fill_value="?")
    return ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
            ("b", OneHotEncoder(drop="if_binary"), ["member"]),
            ("c", make_pipeline(unknown, OneHotEncoder()), ["city"]),
            ("p", make_pipeline(plan, OneHotEncoder()), ["plan"]),
        ],
        sparse_threshold=0,
    )


def nested() -> Any:
    """Sparse all the way."""
    numbers_ = make_pipeline(SimpleImputer(add_indicator=True), PowerTransformer())
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    made = ColumnTransformer([("n", numbers_, NUMBERS), ("t", words, TEXTS)], sparse_threshold=1)
    return make_pipeline(made, VarianceThreshold(), StandardScaler(with_mean=False))


def in_polars() -> Any:
    encoder = OneHotEncoder(sparse_output=False)
    made = ColumnTransformer([("n", StandardScaler(), NUMBERS), ("t", encoder, TEXTS)], verbose_feature_names_out=False)
    return made.set_output(transform="polars")


class Halved(TransformerMixin, BaseEstimator):
    """A class of one's own."""

    def fit(self, x: Any, y: Any = None) -> Halved:
        return self

    def transform(self, x: Any) -> Any:
        return np.asarray(x) / 2


def built(network: Callable[[int], Parts], preprocess: Any, rows: Rows, n: int = FEW, **more: Any) -> Parts:
    """The arguments of MonitoredModel: preprocessing fitted, and the network as wide as what it makes."""
    frame = rows() if n == FEW else rows(n)
    x, y = apart(frame.drop(columns="stayed")), pd.factorize(frame["stayed"])[0]
    width = x.shape[1]
    if isinstance(preprocess, dict | list):
        more, preprocess = more | {"inputs": fitted(preprocess, x)}, None
    elif preprocess is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that two rounds of imputing do not converge
            preprocess = preprocess.fit(x, y)
            width = preprocess.transform(x.iloc[:3]).shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = network(width)
    return parts | {"reference": frame, "target": "stayed", "preprocess": preprocess} | more


def fitted(inputs: Any, x: pd.DataFrame) -> Any:
    """Inputs, each fitted to its own columns where it names them."""
    if isinstance(inputs, dict):
        return dict(zip(inputs, fitted(list(inputs.values()), x), strict=True))
    return [
        one[0].fit(x[one[1]]) if isinstance(one, tuple) else one.fit(x) if hasattr(one, "fit") else one
        for one in inputs
    ]


@dataclass(frozen=True)
class Case:
    """A row of docs/models.md.

    Attributes
    ----------
    network, columns
        In words: the network, and what comes before it.
    make
        The arguments of MonitoredModel; of a reference of ``n`` rows where it is adopted.
    rows
        What makes its table, where it is adopted.
    says
        What a refusal says; empty where the model is adopted.
    instead, words
        The arguments that do the same and are taken, and the words for them.
    slow
        Left to `make prove`: of the kind that another is of.
    """

    network: str
    columns: str
    make: Callable[..., Parts]
    rows: Rows | None = None
    says: str = ""
    instead: Callable[[], Parts] | None = None
    words: str = ""
    slow: bool = False

    @property
    def row(self) -> str:
        """As the page has it."""
        return f"| {self.network} | {self.columns} | {f'refused: {self.words}' if self.says else 'adopted'} |"


def taken(network: str, columns: str, make: Any, preprocess: Any, rows: Any, **more: Any) -> Case:
    return Case(network, columns, lambda n=FEW: built(make, preprocess, rows, n, **more), rows)


def later(network: str, columns: str, make: Any, preprocess: Any, rows: Any) -> Case:
    return replace(taken(network, columns, make, preprocess, rows), slow=True)


def refused(network: str, columns: str, says: str, words: str, bad: tuple[Any, ...], good: tuple[Any, ...]) -> Case:
    return Case(network, columns, lambda: built(*bad), None, says, lambda: built(*good), words)


TWO, MODULE = "backbone and head", "a module with a part `classifier`"
CASES = [
    taken(TWO, "`StandardScaler`", two, StandardScaler(), numbers),
    taken("one output for two classes", "`RobustScaler`", one_output, RobustScaler(), numbers),
    taken(TWO, "imputers with indicators, one-hot, in a `ColumnTransformer`", two, usual(), gappy),
    taken(TWO, "`make_column_selector`, rare categories, frames of pandas", two, by_selector(), customers),
    taken(TWO, "`KNNImputer`", two, make_pipeline(KNNImputer(), StandardScaler()), gappy_numbers),
    later(TWO, "`IterativeImputer`", two, imputed(), gappy_numbers),
    taken(TWO, "`TargetEncoder` in a `ColumnTransformer`, scaled", two,
          make_pipeline(mixed(PowerTransformer(), TargetEncoder(random_state=0)), StandardScaler()), customers),
    taken(TWO, "`KBinsDiscretizer`", two, KBinsDiscretizer(n_bins=4, strategy="uniform"), numbers),
    taken(TWO, "`QuantileTransformer`, `PolynomialFeatures`", two,
          make_pipeline(QuantileTransformer(n_quantiles=50), PolynomialFeatures(degree=2)), numbers),
    taken(TWO, "`SplineTransformer`", two, SplineTransformer(n_knots=4), numbers),
    taken(TWO, "`FeatureUnion` of `PCA` and the best by a test", two,
          FeatureUnion([("p", PCA(2)), ("k", SelectKBest(k=2))]), numbers),
    taken(TWO, "`FunctionTransformer(np.log1p)`", two, logs(np.log1p), numbers),
    taken(TWO, "`scipy.special.logit`, `np.clip` with `kw_args`", two, squashed(), numbers),
    taken(TWO, "`Int64`, `Float64`, `boolean`, categories, None and NaN in text", two, of_nullable(), nullable),
    taken("logistic regression", "one-hot", linear, mixed("passthrough", OneHotEncoder()), customers),
    taken(f"{MODULE}, BatchNorm, Dropout", "`StandardScaler`", whole(Classifier), StandardScaler(), numbers),
    taken("`nn.Sequential` that ends in `Softmax`, `head=-1`", "`StandardScaler`",
          sequential(nn.Softmax(dim=1)), StandardScaler(), numbers),
    taken("`nn.Sequential` that ends in `LogSoftmax`, `head=-1`", "`StandardScaler`",
          sequential(nn.LogSoftmax(dim=1)), StandardScaler(), numbers),
    taken("`nn.Sequential` that ends in `Sigmoid`, `head=-1`", "`StandardScaler`",
          sequential(nn.Sigmoid(), outputs=1), StandardScaler(), numbers),
    taken("64-bit floats", "`StandardScaler`", in_64_bits, StandardScaler(), numbers),
    later("residual blocks", "`MinMaxScaler`", whole(Residual), MinMaxScaler(), numbers),
    later("embeddings of codes", "`OrdinalEncoder`", whole(Embedded, "out"), codes(), customers),
    later("attention over columns", "`StandardScaler`", whole(Attention, "head"), StandardScaler(), numbers),
    taken("convolution over columns", "`StandardScaler`", whole(Convolution, "fc"), StandardScaler(), numbers),
    taken("fills gaps by itself", "none", whole(Filling), None, gappy_numbers),
    taken("three classes, of which the reference has two: `classes=`", "labels are text", sequential(outputs=3),
          StandardScaler(), named("left", "stayed"), classes=["left", "moved", "stayed"]),
    taken(TWO, "labels are booleans", two, StandardScaler(), named(False, True)),
    later("LSTM over the columns", "`StandardScaler`", whole(Recurrent, "fc"), StandardScaler(), numbers),
    taken("embeddings, Dropout and BatchNorm as fastai has them", "`OrdinalEncoder`", whole(Tabular, -1), codes(),
          customers),
    later("weight norm", "`StandardScaler`", weight_norm, StandardScaler(), numbers),
    later(TWO, "pipelines in a `ColumnTransformer` in a `Pipeline`, sparse, `VarianceThreshold`", two, nested(), gappy),
    later(TWO, "frames of polars", two, in_polars(), customers),
    later(TWO, "`FeatureUnion` with a `MissingIndicator`", two,
          make_union(make_pipeline(SimpleImputer(), StandardScaler()), MissingIndicator()), gappy_numbers),
    later(TWO, "`LinearDiscriminantAnalysis`", two,
          make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), numbers),
    taken("two inputs, embeddings and BatchNorm, as fastai has them", "`inputs=` by name", whole(Apart, -1),
          {"x_cat": (counted(), TEXTS), "x_cont": (StandardScaler(), NUMBERS)}, customers),
    later("two inputs, a token a column, as FT-Transformer has them", "`inputs=` by name", whole(Tokens, "head"),
          {"x_num": scaled(), "x_cat": (OrdinalEncoder(dtype=np.int64), TEXTS)}, customers),
    later("two inputs, one of them a code a row", "`inputs=` in order", whole(TwoInputs, "out"),
          [(counted(), ["city"]), (StandardScaler(), NUMBERS)], with_city),
    taken(TWO, "a class of one's own, by its import path", two, make_pipeline(Halved(), StandardScaler()), numbers),
    taken(TWO, "a column of lists of numbers, an embedding", two, StandardScaler(), embedded),
    refused(TWO, "a lambda", r"<lambda>.*in place of a lambda", "name a function: `FunctionTransformer(np.log1p)`",
            (two, logs(lambda x: np.log1p(x)), numbers), (two, logs(np.log1p), numbers)),
    refused(TWO, "a function of one's own", r"ratio.*before selfheal",
            "chain listed ones, or compute the column before",
            (two, logs(ratio), numbers),
            (two, logs(np.log1p), lambda: numbers().assign(income=lambda f: f["income"] / 2))),
    refused(TWO, "a class of the script that runs", r"__main__\.Halved, which is not on the list.*a module of its own",
            "put it in a module",
            (two, type("Halved", (Halved,), {"__module__": "__main__"})(), numbers),
            (two, make_pipeline(Halved(), StandardScaler()), numbers)),
    refused(TWO, "`IterativeImputer` with trees", r"Tree.*KNNImputer", "its own estimator, or `KNNImputer`",
            (two, imputed(ExtraTreesRegressor(2)), gappy_numbers),
            (two, make_pipeline(KNNImputer(), StandardScaler()), gappy_numbers)),
    refused(TWO, "gaps that nothing fills", r"missing after preprocessing.*SimpleImputer", "add a `SimpleImputer`",
            (two, StandardScaler(), gappy_numbers),
            (two, make_pipeline(SimpleImputer(), StandardScaler()), gappy_numbers)),
    refused(TWO, "a column of dates", r"'since' holds dates", "the days since a fixed date, `.dt.hour` and the like",
            (two, None, dated), (two, StandardScaler(), in_days)),
    refused(TWO, "a column of lists of several lengths", r"'at', row 1: a list of 2, and a list of 1 numbers is wanted",
            "pad or cut them to one", (two, None, ragged), (two, StandardScaler(), embedded)),
    refused(TWO, "text and numbers in one column", r"'plan' mixes.*astype\(str\)", "`.astype(str)` before fitting",
            (two, None, two_kinds),
            (two, ColumnTransformer([("p", OneHotEncoder(sparse_output=False), ["plan"])], remainder="passthrough"),
             one_kind)),
    refused("`torch.softmax` in `forward()`", "`StandardScaler`", r"applies a softmax", "return the logits",
            (whole(SoftmaxInside), StandardScaler(), numbers), (whole(Classifier), StandardScaler(), numbers)),
    refused("a residual around the head", "`StandardScaler`", r"a residual around it", "make it part of the head",
            (whole(Skip), StandardScaler(), numbers), (whole(Joined, "head"), StandardScaler(), numbers)),
    refused("BatchNorm without running statistics", "none", r"rows beside it", "`track_running_stats=True`",
            (batch_statistics(kept=False), None, numbers), (batch_statistics(kept=True), None, numbers)),
    refused("two inputs", "`OrdinalEncoder`", r"is given inputs= in place of", "`inputs=`, one for each",
            (whole(TwoInputs, "out"), one_code(), with_city),
            (whole(TwoInputs, "out"), [(counted(), ["city"]), (StandardScaler(), NUMBERS)], with_city)),
    refused("`.squeeze()` at the end", "`StandardScaler`", r"\[\] for one row and \[2\] for two.*squeeze\(1\)",
            "`.squeeze(1)`",
            (whole(Squeezed, -1), StandardScaler(), numbers),
            (whole(lambda w: Squeezed(w, 1), -1), StandardScaler(), numbers)),
    refused("dropout that stays on", "`StandardScaler`", r"draws at random in evaluation mode",
            "`training=self.training`", (whole(Drawing), StandardScaler(), numbers),
            (whole(Classifier), StandardScaler(), numbers)),
    refused("the mean of several networks", "`StandardScaler`", r"Make all of it one part",
            "one head that takes the mean", (whole(Committee, -1), StandardScaler(), numbers),
            (whole(OneHead, "head"), StandardScaler(), numbers)),
    refused("TorchScript", "`StandardScaler`", r"give the module that it was made of", "the module that was scripted",
            (scripted, StandardScaler(), numbers), (whole(Classifier), StandardScaler(), numbers)),
    refused("a Python branch on a value", "`StandardScaler`", r"tensor operators", "`torch.where`",
            (lambda w: {"backbone": BySign(w, 12), "head": nn.Linear(12, 2)}, StandardScaler(), numbers),
            (lambda w: {"backbone": ByWhere(w, 12), "head": nn.Linear(12, 2)}, StandardScaler(), numbers)),
]  # fmt: skip
STORED = list({case.rows: case for case in CASES[::-1] if case.rows}.values())
"""One of each table: what the store makes of a model hangs on its columns and classes, the rest is in its folder."""
