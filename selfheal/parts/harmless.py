"""What preprocessing may hold beside skops' own list of trusted types, and why each of it can run no code.

skops stores a name where pickle stores a call, and resolves it when the file is opened. Its own list has scikit-learn's
estimators, containers, numpy's scalars and ufuncs. What practitioners hold beside these is named here, together with
the kind of entry that may name it: ``numpy.dtype`` as a stored dtype is data, as an object to be made it would be a
constructor with arguments from the file. The list is closed: nothing is added to it by a file, an option or a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

_SHAPES = "reads numbers and returns numbers; opens, imports and evaluates nothing"
_SCORES = "a statistic of two arrays, asked in fit() alone; opens, imports and evaluates nothing"
_KIND = "a type that a selector compares columns with in fit(); calling it makes a value, no more"

# numpy's functions that are no ufuncs. What takes a file, a string to parse, a callable or a buffer is left out:
# load, loadtxt, fromfile, memmap, save, fromstring, frombuffer, frompyfunc, vectorize, apply_along_axis, piecewise.
_NUMPY = (
    "around atleast_2d clip digitize fix i0 interp isin max mean median min nan_to_num nanmax nanmean nanmedian nanmin "
    "real round sinc"
)

FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {f"numpy.{name}": _SHAPES for name in _NUMPY.split()}
    | {f"scipy.special.{name}": _SHAPES for name in ("log_softmax", "softmax")}
    | {
        f"sklearn.feature_selection._univariate_selection.{name}": _SCORES
        for name in ("chi2", "f_classif", "f_regression", "r_regression")
    }
    | {
        f"sklearn.feature_selection._mutual_info.{name}": _SCORES
        for name in ("mutual_info_classif", "mutual_info_regression")
    }
)
"""Functions by the name under which they are stored, beside every ufunc of numpy and ``scipy.special``."""

OBJECTS: Mapping[str, str] = MappingProxyType(
    {
        "sklearn.impute._iterative.IterativeImputer": "an estimator; skops' list lacks what scikit-learn calls "
        "experimental",
        "sklearn.compose._column_transformer.make_column_selector": "three attributes: the columns fit() took",
        "scipy.interpolate._bsplines.BSpline": "knots and coefficients; made anew by its own constructor, which "
        "checks that they fit, before it is used",
        "selfheal.parts.held.PandasObject": "four attributes, of which pandas' constructors make a "
        "series, frame or index",
    }
)
"""Types whose attributes are set from the file, without their ``__init__``."""

TUPLES: Mapping[str, str] = MappingProxyType(
    {"sklearn.impute._iterative._ImputerTriplet": "a named tuple: two arrays of column numbers and an estimator"}
)

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "builtins.object": _KIND,
        "numpy.number": _KIND,
        "numpy.integer": _KIND,
        "numpy.floating": _KIND,
        "pandas.core.dtypes.dtypes.CategoricalDtype": _KIND,
        "pandas.core.arrays.string_.StringDtype": _KIND,
    }
)
"""Classes themselves, not objects of them."""

DTYPES: Mapping[str, str] = MappingProxyType(
    {"numpy.dtype": "the dtype of an empty array, which numpy reads with allow_pickle=False"}
)

LISTED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"FunctionNode": FUNCTIONS, "ObjectNode": OBJECTS, "TupleNode": TUPLES, "TypeNode": TYPES, "DTypeNode": DTYPES}
)
"""Kind of entry in a skops file → name → why it can run no code."""


@cache
def ufuncs() -> Mapping[str, Any]:
    """Every ufunc of numpy and ``scipy.special``, by its public name.

    Array arithmetic compiled from C, without an argument that is called, parsed or opened. ``frompyfunc`` makes ufuncs
    out of anything, but those have no name in these two modules.
    """
    import numpy as np
    import scipy.special

    return MappingProxyType(
        {
            f"{module.__name__}.{name}": value
            for module in (np, scipy.special)
            for name in dir(module)
            if not name.startswith("_") and isinstance(value := getattr(module, name, None), np.ufunc)
        }
    )


def allowed(kind: str, name: str) -> bool:
    """Whether an entry of a skops file of this kind may have this name.

    >>> allowed("DTypeNode", "numpy.dtype"), allowed("ObjectNode", "numpy.dtype"), allowed("FunctionNode", "os.system")
    (True, False, False)
    """
    return name in LISTED.get(kind, {}) or (kind == "FunctionNode" and name in ufuncs())
