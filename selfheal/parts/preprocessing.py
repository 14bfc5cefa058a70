"""Fitted scikit-learn preprocessing as skops files: types by a closed list, and transformers of somebody's own by the
import paths that a base's manifest names; no pickle.

When skops is imported it asks all modules, in the order of their import, for each of SciPy's functions. After torch and
MLflow that takes 3 s of CPU and has them load what they had put off, so whoever imports these imports
``scipy.special`` first.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from selfheal.errors import ArtifactError, InputError
from selfheal.parts import IN_MEMORY
from selfheal.parts.content import feed
from selfheal.parts.harmless import OBJECTS, allowed, ufuncs
from selfheal.parts.held import HELD, packed, unpacked, within

_SCHEMA = "schema.json"
_REMEDY = (
    "use scikit-learn's own transformers, FunctionTransformer with a ufunc of numpy or scipy.special or a function of "
    "docs/models.md, or a transformer's class of your own in a module, and do the rest before selfheal: what it makes "
    "is then a column of the reference"
)
_SPLINE = "scipy.interpolate._bsplines.BSpline"
_SPLINE_HOLDS = {"_t", "_c", "t", "c", "k", "extrapolate", "axis"}  # with an underscore from scipy 1.16 on
_TEXT = "sklearn.feature_extraction.text."
# What is known to be asked for in vain, and what does the same.
_INSTEAD = (
    ("<lambda>", "write FunctionTransformer(np.log1p) in place of a lambda, with kw_args for further arguments"),
    ("__main__.", "put the class into a module of its own, which every process that scores can import"),
    ("functools.partial", "write FunctionTransformer(np.clip, kw_args={...}) in place of a partial"),
    (
        "sklearn.tree._tree.Tree",
        "a crafted tree reads beyond its memory: let IterativeImputer have its own estimator, or use KNNImputer, and "
        "select columns by a linear model or a test",
    ),
    (
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "a crafted tree reads beyond its memory: let IterativeImputer have its own estimator, or use KNNImputer",
    ),
)


def save_preprocessing(transformer: Any) -> bytes:
    """Write a fitted transformer, and read it back.

    Raises
    ------
    InputError
        It holds a type or function that is not on the list (:mod:`selfheal.parts.harmless`), by name with the remedy,
        or does not come back as it was.
    """
    import skops.io

    try:
        data = _canonical(bytes(skops.io.dumps(packed(transformer))))
        own = own_transformers(data)
        strange = _strange(data, own)
    except Exception as error:
        raise InputError(f"preprocess {type(transformer).__name__} cannot be stored: {error}; {_REMEDY}") from error
    if strange:
        raise InputError(f"preprocess holds {strange}, which is not on the list of what can be stored; {_way(strange)}")
    back = open_preprocessing(data, own)
    if content_digest(back) != content_digest(transformer):
        raise InputError(
            f"preprocess {type(transformer).__name__} comes back from its file as something else: it holds an object "
            f"that does not say what it is made of; {_REMEDY}"
        )
    return data


def check_preprocessing(transformer: Any) -> None:
    """Refuse what `save_preprocessing` refuses, before anybody adopts it.

    Raises
    ------
    InputError
    """
    try:
        save_preprocessing(transformer)
    except InputError as error:
        raise InputError(f"{error}; {IN_MEMORY}") from error


def own_transformers(data: bytes) -> tuple[str, ...]:
    """Import paths of the classes in a stored transformer that are somebody's own, sorted: a manifest names them.

    One is a subclass of scikit-learn's BaseEstimator that transforms, in a module that can be imported again. It stands
    in the file as an object alone, whose attributes are set without a call.
    """
    import skops.io

    kinds = _kinds(data)
    untrusted = map(str, skops.io.get_untrusted_types(data=data))
    mine = (n for n in untrusted if kinds.get(n) == {"ObjectNode"} and not allowed("ObjectNode", n) and _is_own(n))
    return tuple(sorted(mine))


def open_preprocessing(data: bytes, own: Sequence[str] = ()) -> Any:
    """The transformer of a file that `save_preprocessing` wrote.

    Parameters
    ----------
    own
        Import paths of classes that it may be made of beside the list. They are imported, so they must come from a
        file whose digest was checked.

    Raises
    ------
    ArtifactError
        It is no such file, or names a type or function that is not trusted. Nothing of it was run.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
        odd = next((n for n in names if n != _SCHEMA and not n.endswith((".npy", ".npz"))), "")
        if lost := [name for name in own if not _is_own(name)]:
            raise ArtifactError(
                f"preprocess.skops is made of {lost[0]}, which is no transformer that can be imported here; install "
                "it as where the model was adopted, or name the folder of its module in PYTHONPATH"
            )
        strange = odd or _strange(data, own)
        if strange:
            raise ArtifactError(f"preprocess.skops holds {strange}, which is not trusted; it was not opened")
        with warnings.catch_warnings():
            # Another version of scikit-learn is caught by the digest over the loaded content.
            warnings.simplefilter("ignore")
            made = _sound(skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data)))
            return unpacked(made) if HELD in _kinds(data) else made
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(
            f"preprocess.skops cannot be read ({type(error).__name__}: {error}); restore it, or adopt the model again"
        ) from error


def content_digest(transformer: Any) -> str:
    """SHA-256 of what a fitted transformer holds."""
    digest = hashlib.sha256()
    feed(digest, transformer)
    return digest.hexdigest()


def function_names(data: bytes) -> list[str]:
    """The functions that a stored transformer calls, sorted; the digest of its content calls each of scipy's ufunc."""
    return sorted(str(node["__class__"]) for node in _nodes(_schema(data)) if node["__loader__"] == "FunctionNode")


def _is_own(path: str) -> bool:
    """Whether an import path names a transformer's class of neither scikit-learn, Python nor the script that runs."""
    module, _, name = path.rpartition(".")
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root in ("", "__main__", "sklearn"):
        return False
    from sklearn.base import BaseEstimator

    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return isinstance(kind, type) and issubclass(kind, BaseEstimator) and callable(getattr(kind, "transform", None))


def _kinds(data: bytes) -> dict[str, set[str]]:
    """Name → the kinds of entry that a file uses it in."""
    kinds: dict[str, set[str]] = {}
    for node in _nodes(_schema(data)):
        kinds.setdefault(f"{node['__module__']}.{node['__class__']}", set()).add(str(node["__loader__"]))
    return kinds


def _strange(data: bytes, own: Sequence[str] = ()) -> str:
    """The first name that skops does not trust and our list does not have; empty where there is none.

    skops trusts a name wherever it stands, as a function, a type or an object to make. Here it must be listed for each
    kind of entry that the file uses it in.
    """
    import skops.io

    kinds = _kinds(data)
    for node in _nodes(_schema(data)):
        name = f"{node['__module__']}.{node['__class__']}"
        if name.startswith(_TEXT) and _attribute(node, "input") not in (None, '"content"'):
            return f"{name} with input={_attribute(node, 'input')}, which reads the files that its rows name"
    for name in skops.io.get_untrusted_types(data=data):
        if name in own and kinds.get(name) == {"ObjectNode"}:
            continue
        if not kinds.get(name) or not all(allowed(kind, name) for kind in kinds[name]):
            return str(name)
    return ""


def _attribute(node: dict[str, Any], name: str) -> Any:
    """A stored object's attribute as JSON text; None where it has none, or another kind of value."""
    try:
        return node["content"]["content"][name]["content"]
    except (KeyError, TypeError):
        return None


def _schema(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read(_SCHEMA))


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every entry of a skops schema: what has a module, a class and a loader."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if {"__module__", "__class__", "__loader__"} <= one.keys():
                yield one
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)


def _canonical(data: bytes) -> bytes:
    """The file with ufuncs under their public names, and splines without what their constructor makes.

    skops names a ufunc of scipy after the module in which it is found first, which is another one in another process.
    """
    public = {id(function): name for name, function in ufuncs().items()}
    schema = _schema(data)
    for node in _nodes(schema):
        if node["__loader__"] == "FunctionNode":
            value = getattr(sys.modules.get(node["__module__"]), node["__class__"], None)
            if id(value) in public:
                node["__module__"], _, node["__class__"] = public[id(value)].rpartition(".")
        elif f"{node['__module__']}.{node['__class__']}" == _SPLINE:
            _trim(node["content"])
    fresh = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(fresh, "w") as new:
        for name in old.namelist():
            new.writestr(name, json.dumps(schema, indent=2) if name == _SCHEMA else old.read(name))
    return fresh.getvalue()


def _trim(attributes: dict[str, Any]) -> None:
    """Leave a stored spline's knots and coefficients, and not the function with which it made them arrays."""
    content, kinds = attributes["content"], attributes["key_types"]["content"]
    kept = [name in _SPLINE_HOLDS for name in content]
    attributes["key_types"]["content"] = [kind for kind, keep in zip(kinds, kept, strict=True) if keep]
    attributes["content"] = {name: value for (name, value), keep in zip(content.items(), kept, strict=True) if keep}


def _sound(loaded: Any) -> Any:
    """The loaded transformer, its splines made anew: compiled code reads their arrays without looking at their ends."""
    for one in within(loaded):
        if hasattr(one, "__dict__") and not callable(one) and isinstance(vars(one).get("bsplines_"), list):
            one.bsplines_ = [_spline(each) for each in one.bsplines_]
    return loaded


def _spline(spline: Any) -> Any:
    kind = getattr(importlib.import_module("scipy.interpolate"), "BSpline")  # noqa: B009 - untyped
    if type(spline) is not kind:
        raise ArtifactError(f"preprocess.skops: a spline is {type(spline).__name__}, not {_SPLINE}; it is not used")
    parts = {name.lstrip("_"): value for name, value in vars(spline).items()}
    return kind(parts["t"], parts["c"], parts["k"], parts["extrapolate"], parts["axis"])


def _way(strange: str) -> str:
    """What to do in place of what was refused."""
    return next((words for name, words in _INSTEAD if name in strange), _REMEDY)


assert {_SPLINE, HELD} <= OBJECTS.keys()  # noqa: S101 - the two lists name the same
