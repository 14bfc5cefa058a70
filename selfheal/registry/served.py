"""Opens what MLflow fetched for ``pyfunc``: called by the file that is stored with each version."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfheal.model import MonitoredModel
from selfheal.registry.adapters import checked_adapter
from selfheal.registry.archive import load_base
from selfheal.settings import Settings


def open_served(artifacts: Mapping[str, str], config: Mapping[str, Any]) -> MonitoredModel:
    """The model of one version.

    Parameters
    ----------
    artifacts
        ``adapter`` (a safetensors file) or ``base`` (a folder), as MLflow fetched them.
    config
        ``base_name, base_version, base_digest, manifest`` and, with an adapter, ``adapter_digest``.

    Raises
    ------
    ArtifactError
        A file differs from the digest under which it was registered; nothing was opened.
    UnavailableError
        The base cannot be fetched from the registry.
    """
    if "base" in artifacts:
        return load_base(Path(artifacts["base"]), config["base_digest"], config["manifest"])
    data = Path(artifacts["adapter"]).read_bytes()
    adapter = checked_adapter(data, str(config["adapter_digest"]), "the adapter of this version")
    return _base(config).with_adapter(adapter)


def _base(config: Mapping[str, Any]) -> MonitoredModel:
    import mlflow

    from selfheal.registry.store import Registry

    settings = Settings.from_env()
    # Whoever loads a model need not have a home: without one the base is fetched to a place of this process.
    with tempfile.TemporaryDirectory() as scratch:
        home = settings.home if os.environ.get("SELFHEAL_HOME") else Path(scratch)
        here = dataclasses.replace(settings, home=home, tracking_uri=mlflow.get_registry_uri())
        path = Registry(here).fetch_base(
            str(config["base_name"]), int(config["base_version"]), str(config["base_digest"]), str(config["manifest"])
        )
        return load_base(path, str(config["base_digest"]), str(config["manifest"]))
