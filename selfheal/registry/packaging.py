"""Writes a version the cheap way: models from code, explicit requirements, a signature (0.5 s against 8-20 s)."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import InputError
from selfheal.parts.lists import raw_names
from selfheal.registry.folder import lists_of
from selfheal.registry.versions import ROLE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

_CODE = Path(__file__).with_name("pyfunc.py")
_TYPES = {"float": "double", "bool": "boolean", "str": "string"}
# What a process needs to load a version, with the versions that wrote it.
_REQUIRED = ("selfheal", "mlflow", "torch", "scikit-learn", "skops", "safetensors", "pandas", "numpy")
_MODEL_VERSIONS_TAG = "mlflow.modelVersions"


def package(
    client: MlflowClient,
    experiment: str,
    name: str,
    *,
    run_id: str | None,
    artifacts: Mapping[str, Path],
    config: Mapping[str, Any],
    signature: ModelSignature,
    tags: Mapping[str, str],
) -> LoggedModel:
    """Store files as a logged model of `experiment`; linked to `run_id` where there is one."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    logged = client.create_logged_model(experiment, name, run_id, dict(tags), model_type="selfheal")
    try:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), _without_word_of_pip():
            # MLflow's own advice about classes that it ships.
            warnings.simplefilter("ignore", UserWarning)
            folder = Path(scratch) / "model"
            save_model(
                path=str(folder),
                python_model=str(_CODE),
                artifacts={key: str(path) for key, path in artifacts.items()},
                model_config=dict(config),
                signature=signature,
                pip_requirements=requirements(),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    run_id=run_id,
                    model_id=logged.model_id,
                ),
            )
            client.log_model_artifacts(logged.model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    if run_id is not None:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged


@contextmanager
def _without_word_of_pip() -> Iterator[None]:
    """MLflow warns where an environment has no pip, as uv makes them; what is stored names its packages anyway."""

    def other(record: logging.LogRecord) -> bool:
        return "installed pip version" not in record.getMessage()

    logger = logging.getLogger("mlflow.utils.environment")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def ensure_model(client: MlflowClient, name: str, role: str, about: str) -> None:
    """Make a registered model of ours where there is none; refuse one that is somebody else's."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, tags={ROLE: role}, description=about)
        return
    if model.tags.get(ROLE) != role:
        raise InputError(
            f"MLflow already has a registered model {name!r} that is not selfheal's {role}; adopt under another name"
        )


def link_version(client: MlflowClient, model_id: str, name: str, number: int) -> None:
    """Show the registered version on the logged model's own page, as MLflow's fluent API does."""
    client.set_logged_model_tags(model_id, {_MODEL_VERSIONS_TAG: json.dumps([{"name": name, "version": number}])})


def signature_of(manifest: Mapping[str, Any]) -> ModelSignature:
    """Feature columns in, a probability per class out; from the manifest of a base."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    # MLflow converts neither whole numbers to fractions nor back, and a change of unit turns one into the other:
    # a column of whole numbers is declared open, and refused by selfheal's own check where it holds no number.
    # So is a column of lists, which stands in place of its numbers: of whole ones alone it would be refused.
    kinds = manifest["dtypes"]
    names = raw_names(manifest["features"], lists_of(manifest))
    inputs: list[Any] = [ColSpec(_TYPES.get(kinds.get(name, ""), AnyType()), name) for name in names]
    return ModelSignature(Schema(inputs), Schema([ColSpec("double", str(c)) for c in manifest["classes"]]))


def requirements() -> list[str]:
    """Pinned requirements of a stored version; inferring them would take MLflow 8-20 s."""
    return list(_pins())


@cache
def _pins() -> tuple[str, ...]:
    # Each is read from a file of some thousand lines, and a process keeps what it has loaded.
    pins = []
    for package_name in _REQUIRED:
        try:
            pins.append(f"{package_name}=={version(package_name).partition('+')[0]}")
        except PackageNotFoundError:  # an uninstalled checkout
            pins.append(package_name)
    return tuple(pins)
