"""Preprocessing as practitioners write it is stored and comes back; what could run code is refused unopened."""

from __future__ import annotations

import functools
import io
import json
import operator
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.special
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes IterativeImputer importable
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
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

from selfheal.errors import ArtifactError, InputError
from selfheal.parts import harmless
from selfheal.parts.preprocessing import content_digest, open_preprocessing, own_transformers, save_preprocessing

N = 120
NUMBERS = ["a", "b", "c"]


def frame() -> pd.DataFrame:
    """Numbers with gaps, positive for logarithms, and text."""
    rng = np.random.default_rng(0)
    made = pd.DataFrame(rng.gamma(2.0, 1.0, (N, 3)), columns=NUMBERS)
    made["kind"] = rng.choice(["x", "y", "z"], N, p=[0.6, 0.3, 0.1])
    return made


def gaps() -> pd.DataFrame:
    made = frame()
    made.loc[::5, "b"] = np.nan
    made.loc[::7, "kind"] = np.nan
    return made


TARGET = (frame()["a"] > 2).astype(int)
_SELECTED = ColumnTransformer(
    [
        (
            "n",
            make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
            make_column_selector(dtype_include=np.number),
        ),
        ("o", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object)),
    ]
)  # fmt: skip

KEPT: dict[str, tuple[Any, Callable[[], pd.DataFrame], list[str]]] = {
    "median": (SimpleImputer(strategy="median"), gaps, NUMBERS),
    "constant": (SimpleImputer(strategy="constant", fill_value="?"), gaps, ["kind"]),
    "most frequent": (SimpleImputer(strategy="most_frequent"), gaps, ["kind"]),
    "callable": (SimpleImputer(strategy=np.nanmedian), gaps, NUMBERS),
    "neighbours": (KNNImputer(add_indicator=True), gaps, NUMBERS),
    "iterative": (IterativeImputer(random_state=0), gaps, NUMBERS),
    "iterative, a state": (IterativeImputer(random_state=np.random.RandomState(1)), gaps, NUMBERS),
    "ordinal": (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), gaps, ["kind"]),
    "one hot": (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), frame, ["kind"]),
    "target": (TargetEncoder(random_state=0), frame, ["kind"]),
    "bins": (KBinsDiscretizer(n_bins=4, encode="onehot-dense", strategy="uniform"), frame, NUMBERS),
    "power": (PowerTransformer(), frame, NUMBERS),
    "quantiles": (QuantileTransformer(n_quantiles=30), frame, NUMBERS),
    "splines": (SplineTransformer(), frame, NUMBERS),
    "polynomial": (PolynomialFeatures(degree=2), frame, NUMBERS),
    "robust": (RobustScaler(), frame, NUMBERS),
    "log1p": (FunctionTransformer(np.log1p, inverse_func=np.expm1), frame, NUMBERS),
    "expit": (FunctionTransformer(scipy.special.expit), frame, NUMBERS),
    "round": (FunctionTransformer(np.round, kw_args={"decimals": 1}), frame, NUMBERS),
    "clip": (FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 2}), frame, NUMBERS),
    "nan to num": (FunctionTransformer(np.nan_to_num), gaps, NUMBERS),
    "selector": (_SELECTED, gaps, [*NUMBERS, "kind"]),
    "pandas out": (make_pipeline(SimpleImputer(), StandardScaler()).set_output(transform="pandas"), gaps, NUMBERS),
    "union": (FeatureUnion([("p", PCA(2)), ("s", SplineTransformer(degree=2))]), frame, NUMBERS),
    "best": (SelectKBest(k=2), frame, NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize("what", KEPT)
def test_it_comes_back_as_it_was(what: str) -> None:
    made, rows, columns = KEPT[what]
    x = rows()[columns]
    fitted = made.fit(x, TARGET)
    back = open_preprocessing(save_preprocessing(fitted))
    assert content_digest(back) == content_digest(fitted)
    np.testing.assert_array_equal(_dense(back.transform(x)), _dense(fitted.transform(x)))


def _dense(made: Any) -> Any:
    made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
    return made if made.dtype == object else made.astype(np.float64)


def _double(x: Any) -> Any:
    return x * 2


class Own(StandardScaler):
    """A transformer of one's own, whose code would have to be imported."""


class Medians(TransformerMixin, BaseEstimator):
    """As people write one: what it learnt lies in pandas' objects, however deep."""

    def fit(self, x: pd.DataFrame, y: Any = None) -> Medians:
        self.medians_, self.table_ = x.median(), x.describe()
        self.words_ = [{"m": pd.Series(["x", None, 2], index=pd.Index([3, 1, 2], name="k"), name="w")}]
        self.columns_ = (x.columns, "kept")
        return self

    def transform(self, x: pd.DataFrame) -> pd.DataFrame:
        return x[self.columns_[0]].fillna(self.medians_) - self.table_.loc["mean"]


REFUSED = {
    "a lambda": (FunctionTransformer(lambda x: x), r"<lambda>.*in place of a lambda"),
    "one's own function": (FunctionTransformer(_double), r"_double.*before selfheal"),
    "a class of the script that runs": (
        type("Own", (Own,), {"__module__": "__main__"})(),
        r"__main__\.Own.*a module of",
    ),
    "trees of scikit-learn's": (RandomTreesEmbedding(2).fit(np.eye(3)), r"Tree.*crafted tree"),
    "a partial": (FunctionTransformer(functools.partial(np.clip, a_min=0)), r"functools\.partial.*kw_args"),
    "a shell": (FunctionTransformer(os.system), r"system"),
    "eval": (FunctionTransformer(eval), r"builtins\.eval"),
    "a file reader": (FunctionTransformer(np.load), r"numpy\.load"),
    "a method caller": (FunctionTransformer(operator.methodcaller("to_pickle", "x")), r"methodcaller"),
    "a bound method": (FunctionTransformer(StandardScaler().fit_transform), r"StandardScaler"),
    "a ufunc of Python": (FunctionTransformer(np.frompyfunc(_double, 1, 1)), r"_double"),
    "files by name": (CountVectorizer(input="filename"), r"reads the files"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_on_the_list_is_refused_by_name_with_the_remedy(what: str) -> None:
    made, said = REFUSED[what]
    with pytest.raises(InputError, match=said):
        save_preprocessing(made)


def test_a_transformer_of_ones_own_is_made_again_by_its_import_path_alone() -> None:
    """It is what a base's manifest names, and nothing but an object of a transformer's class."""
    x = frame()[NUMBERS]
    fitted = Own().fit(x)
    data, mine = save_preprocessing(fitted), f"{__name__}.Own"
    assert own_transformers(data) == (mine,) and own_transformers(save_preprocessing(StandardScaler())) == ()
    back = open_preprocessing(data, [mine])
    assert type(back) is Own
    np.testing.assert_array_equal(back.transform(x), fitted.transform(x))
    with pytest.raises(ArtifactError, match=r"Own, which is not trusted"):
        open_preprocessing(data)
    for name in ("os.system", "builtins.eval", "numpy.memmap", f"{__name__}.frame", "__main__.Own", "no_such.Own",
                 "sklearn.ensemble._forest.RandomTreesEmbedding"):  # fmt: skip
        with pytest.raises(ArtifactError, match=rf"{name}, which is no transformer that can be imported here"):
            open_preprocessing(data, [mine, name])
    for kind in ("FunctionNode", "ConstructorFromReduceNode", "TypeNode"):
        with pytest.raises(ArtifactError, match=r"Own.*not opened"):
            open_preprocessing(crafted(node(__name__, "Own", kind, content=several())), [mine])


def test_what_pandas_holds_comes_back() -> None:
    x = frame()[NUMBERS]
    fitted = make_pipeline(Medians(), StandardScaler()).fit(x)
    data, mine = save_preprocessing(fitted), [f"{__name__}.Medians"]
    back = open_preprocessing(data, mine)
    assert content_digest(back) == content_digest(fitted)
    np.testing.assert_array_equal(back.transform(x), fitted.transform(x))
    kept, was = back.steps[0][1], fitted.steps[0][1]
    pd.testing.assert_series_equal(kept.words_[0]["m"], was.words_[0]["m"])
    pd.testing.assert_frame_equal(kept.table_, was.table_)
    assert kept.columns_[0].equals(x.columns) and isinstance(was.medians_, pd.Series), "the fitted one is as it was"
    other = make_pipeline(Medians(), StandardScaler()).fit(x)
    other.steps[0][1].table_.iloc[-1, -1] += 1
    assert content_digest(other) != content_digest(fitted)

    def spoil(kind: str) -> Callable[[Any], None]:
        def put(schema: Any) -> None:
            for one in _held(schema):
                one["content"]["content"]["kind"] = text(kind)

        return put

    for kind, said in (("os.system", "pandas has no 'os.system'"), ("frame", "what pandas held is damaged")):
        with pytest.raises(ArtifactError, match=said):
            open_preprocessing(edited(data, spoil(kind)), mine)


def _held(value: Any) -> Iterator[dict[str, Any]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and value.get("__class__") == "PandasObject":
        yield value
    for one in inner:
        yield from _held(one)


# ---------------------------------------------------------------------- crafted archives


def node(module: str, name: str, loader: str, **more: Any) -> dict[str, Any]:
    return {"__module__": module, "__class__": name, "__loader__": loader, **more}


def text(value: Any) -> dict[str, Any]:
    return node("builtins", "str", "JsonNode", content=json.dumps(value), is_json=True)


def several(*values: dict[str, Any], loader: str = "TupleNode") -> dict[str, Any]:
    return node("builtins", loader.removesuffix("Node").lower(), loader, content=list(values))


def mapping(**values: dict[str, Any]) -> dict[str, Any]:
    keys = [node("builtins", "str", "TypeNode") for _ in values]
    kinds = several(*keys, loader="ListNode")
    return node("builtins", "dict", "DictNode", content=values, key_types=kinds)


def crafted(func: dict[str, Any], **top: Any) -> bytes:
    """A stored FunctionTransformer with another entry in place of its function."""

    def put(schema: Any) -> None:
        schema["content"]["content"]["func"] = func
        schema.update(top)

    return edited(save_preprocessing(FunctionTransformer(np.log1p)), put)


def edited(data: bytes, edit: Callable[[Any], None]) -> bytes:
    """The archive with a changed schema."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                edit(schema)
                content = json.dumps(schema).encode()
            new.writestr(name, content)
    return made.getvalue()


def evil(proof: str) -> dict[str, dict[str, Any]]:
    """Entries that name what runs code, or a listed name where it is none."""
    shell, clip, path = (
        node("os", "system", "FunctionNode"),
        node("numpy", "clip", "FunctionNode"),
        several(text(proof)),
    )
    kw, none = mapping(), text(None)
    return {
        "os.system": shell,
        "os.mkdir": node("os", "mkdir", "ConstructorFromReduceNode", content=path),
        "posix.mkdir": node("posix", "mkdir", "TypeNode"),
        "builtins.eval": node("builtins", "eval", "TypeNode"),
        "builtins.exec": node("builtins", "exec", "FunctionNode"),
        "numpy.load": node("numpy", "load", "FunctionNode"),
        "numpy.fromfile": node("numpy", "fromfile", "TypeNode"),
        "numpy.memmap": node("numpy", "memmap", "TypeNode"),
        "numpy.frompyfunc": node("numpy", "frompyfunc", "FunctionNode"),
        "numpy.vectorize": node("numpy", "vectorize", "TypeNode"),
        "numpy.apply_along_axis": node("numpy", "apply_along_axis", "FunctionNode"),
        "pickle.loads": node("pickle", "loads", "FunctionNode"),
        "joblib.load": node("joblib", "load", "FunctionNode"),
        "pandas.read_pickle": node("pandas", "read_pickle", "FunctionNode"),
        "importlib.import_module": node("importlib", "import_module", "FunctionNode"),
        "operator.methodcaller": node("operator", "methodcaller", "OperatorFuncNode", attrs=several(text("system"))),
        "operator.attrgetter": node("operator", "attrgetter", "OperatorFuncNode", attrs=several(text("__class__"))),
        "os.system|functools.partial": node(
            "functools", "partial", "PartialNode", content={"func": shell, "args": path, "kwds": kw, "namespace": none}
        ),
        "functools.partial": node(
            "functools", "partial", "PartialNode", content={"func": clip, "args": path, "kwds": kw, "namespace": none}
        ),
        "sklearn.*StandardScaler": node(
            "sklearn.preprocessing._data", "StandardScaler", "MethodNode",
            content={"func": "transform", "obj": node("sklearn.preprocessing._data", "StandardScaler", "ObjectNode")},
        ),
        # listed names where they are not listed
        "numpy.dtype": node("numpy", "dtype", "ObjectNode"),
        r"numpy\.dtype": node("numpy", "dtype", "ConstructorFromReduceNode", content=several(text("O"))),
        "numpy.clip": node("numpy", "clip", "ConstructorFromReduceNode", content=path),
        r"numpy\.clip": node("numpy", "clip", "DictNode", content={}, key_types=several(loader="ListNode")),
        "scipy.interpolate._bsplines.BSpline": node("scipy.interpolate._bsplines", "BSpline", "TypeNode"),
    }  # fmt: skip


@pytest.mark.parametrize("named", evil(""))
def test_a_crafted_archive_is_refused_unopened(named: str, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    with pytest.raises(ArtifactError, match=rf"holds .*({named}).*not opened"):
        open_preprocessing(crafted(evil(str(proof))[named]))
    assert not proof.exists()


def test_a_listed_name_does_not_excuse_its_other_uses(tmp_path: Path) -> None:
    """skops trusts a name wherever it stands; here the second use of numpy.clip is an order to call it."""
    both = several(node("numpy", "clip", "FunctionNode"), evil(str(tmp_path))["numpy.clip"])
    with pytest.raises(ArtifactError, match=r"numpy\.clip.*not opened"):
        open_preprocessing(crafted(both))


def test_an_older_protocol_opens_no_other_door() -> None:
    old = node("numpy", "clip", "FunctionNode", content={"module_path": "os", "function": "system"})
    with pytest.raises(ArtifactError, match=r"os\.system.*not opened"):
        open_preprocessing(crafted(old, protocol=0))


def test_the_crafted_archives_would_run(tmp_path: Path) -> None:
    """Without the list they do what they say: what the tests above see refused is no dud."""
    proof = tmp_path / "ran"
    skops.io.loads(crafted(evil(str(proof))["os.mkdir"]), trusted=["os.mkdir"])
    assert proof.exists()
    opened = skops.io.loads(crafted(evil("")["os.system"]), trusted=[f"{os.system.__module__}.system", "os.system"])
    assert opened.func is os.system


def test_a_spline_that_reads_beyond_its_arrays_is_refused() -> None:
    def put(schema: Any) -> None:
        for spline in schema["content"]["content"]["bsplines_"]["content"]:
            spline["content"]["content"]["k"] = text(60)

    data = save_preprocessing(SplineTransformer().fit(frame()[NUMBERS]))
    with pytest.raises(ArtifactError, match=r"cannot be read.*knots"):
        open_preprocessing(edited(data, put))


def test_every_listed_name_is_there_and_is_no_opener() -> None:
    """A function that takes a path, a callable or a string to run does not slip onto the list."""
    import importlib

    for names in harmless.LISTED.values():
        for name, why in names.items():
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name
            assert why
            assert not set(attribute.lower().split("_")) & {
                "load",
                "open",
                "eval",
                "exec",
                "file",
                "pickle",
                "py",
                "call",
            }
    for name, function in harmless.ufuncs().items():
        assert isinstance(function, np.ufunc), name
