"""Fitted scikit-learn preprocessing as skops files: types by whitelist, no pickle."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import Any

from selfheal.errors import ArtifactError, InputError

_REMEDY = (
    "use scikit-learn's own transformers (Pipeline, ColumnTransformer, StandardScaler, OneHotEncoder, ...) "
    "and do the rest in a pipeline before selfheal"
)


def save_preprocessing(transformer: Any) -> bytes:
    """Write a fitted transformer.

    Raises
    ------
    InputError
        It holds a type outside scikit-learn, NumPy and SciPy, which could only be loaded by running its code.
    """
    import skops.io

    try:
        data = bytes(skops.io.dumps(transformer))
        strange = skops.io.get_untrusted_types(data=data)
    except Exception as error:
        raise InputError(f"preprocess {type(transformer).__name__} cannot be stored: {error}; {_REMEDY}") from error
    if strange:
        raise InputError(f"preprocess holds {strange[0]}, which is no type of scikit-learn; {_REMEDY}")
    return data


def open_preprocessing(data: bytes) -> Any:
    """The transformer of a file that `save_preprocessing` wrote.

    Raises
    ------
    ArtifactError
        It is no such file, or names a type or function that is not trusted. Nothing of it was run.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
        odd = [n for n in names if n != "schema.json" and not n.endswith((".npy", ".npz"))]
        strange = odd or skops.io.get_untrusted_types(data=data)
        if strange:
            raise ArtifactError(f"preprocess.skops holds {strange[0]}, which is not trusted; it was not opened")
        with warnings.catch_warnings():
            # Another version of scikit-learn is caught by the digest over the loaded content.
            warnings.simplefilter("ignore")
            return skops.io.loads(data)
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(
            f"preprocess.skops cannot be read ({type(error).__name__}: {error}); restore it, or adopt the model again"
        ) from error
