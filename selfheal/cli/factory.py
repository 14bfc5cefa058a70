"""``module_or_file.py:factory``: find the function that builds a model, and call it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import selfheal
from selfheal.cli.output import progress
from selfheal.errors import InputError, NotFoundError, SelfhealError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.model import MonitoredModel

_OTHERS: tuple[str, ...] = (
    *(sysconfig.get_paths()[of] for of in ("stdlib", "purelib", "platlib")), "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>", str(Path(selfheal.__file__).parent),
)  # fmt: skip
"""Where code lies that is not the user's."""


def factory_of(name: str) -> str:
    """The factory that ``init`` writes for a model."""
    return f"{name.replace('-', '_')}_model.py:build"


def built(name: str, factory: str | None) -> MonitoredModel:
    """The model of a factory, by default the one that ``init`` wrote, under the file of rules where there is one.

    Raises
    ------
    NotFoundError
        None is named, and there is no such file.
    InputError
        As :func:`build` says, or the policy does not fit.
    """
    from selfheal.settings import Settings

    spec = factory or factory_of(name)
    if factory is None and not Path(spec.partition(":")[0]).exists():
        raise NotFoundError(
            f"no factory {spec!r} in {Path.cwd()}; name yours as MODULE_OR_FILE:FACTORY, or begin: selfheal init {name}"
        )
    with progress(f"building {name} with {spec}"):
        model = build(spec)
    policy = Settings.from_env().rules / f"{name}.yaml"
    return model.with_policy(policy) if policy.exists() else model


def build(spec: str) -> MonitoredModel:
    """The model that the factory named by ``spec`` returns.

    Parameters
    ----------
    spec
        ``package.module:factory`` or ``path/to/file.py:factory``; the working directory and the file's own directory
        can be imported from.

    Raises
    ------
    InputError
        Naming what is missing: the file, the module, the function, or the type of what it returned; or where the file
        raised what.
    """
    from selfheal.model import MonitoredModel

    where, separator, name = spec.rpartition(":")
    if not separator or not where or not name:
        raise InputError(f"{spec!r} names no factory; write module:factory or file.py:factory, e.g. my_models.py:fraud")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_path(where)
    factory = getattr(module, name, None)
    if factory is None:
        raise InputError(f"{where!r} has no {name!r}{nearest(name, vars(module))}")
    with _theirs(spec):
        model = factory() if callable(factory) and not isinstance(factory, MonitoredModel) else factory
    if not isinstance(model, MonitoredModel):
        raise InputError(f"{spec!r} gives a {type(model).__name__}; it must return a selfheal.MonitoredModel")
    return model


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of a Parquet, CSV or JSON lines file.

    Raises
    ------
    InputError
        Its name ends in none of these, or it cannot be read.
    """
    import pandas as pd

    lines: Callable[[Path], Any] = partial(pd.read_json, lines=True)
    readers: dict[str, Callable[[Path], Any]] = {".parquet": pd.read_parquet, ".pq": pd.read_parquet}
    readers |= {".csv": pd.read_csv, ".jsonl": lines, ".ndjson": lines}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} is of no format that is read; its name must end in one of {', '.join(readers)}")
    try:
        rows: pd.DataFrame = readers[path.suffix.lower()](path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return rows


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"no file {str(path)!r} below {Path.cwd()}; check the path")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    with _theirs(str(path)):
        spec.loader.exec_module(module)
    return module


def _from_path(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        with _theirs(name):
            return importlib.import_module(name)
    except InputError as error:
        lacking = getattr(error.__cause__, "name", None)
        if not isinstance(error.__cause__, ModuleNotFoundError) or not f"{name}.".startswith(f"{lacking}."):
            raise
        raise InputError(f"no module {name!r}; install it, or name its file: path/to/{name}.py:factory") from error


@contextmanager
def _theirs(spec: str) -> Iterator[None]:
    """What the user's own code raises, as where it did and why; selfheal's own errors say that themselves."""
    try:
        yield
    except SelfhealError:
        raise
    except SyntaxError as error:
        raise InputError(f"{spec}: {error.filename}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        # The deepest line that is no library's: there it can be mended.
        mine = [f for f in frames if not any(Path(f.filename).is_relative_to(other) for other in _OTHERS)]
        where = "".join(f"{at.filename}, line {at.lineno}, in {at.name}: {at.line}: " for at in (mine or frames)[-1:])
        raise InputError(f"{spec}: {where}{type(error).__name__}: {error}") from error
