"""A base model as a folder of plain files: what MLflow stores as ``<name>-base`` and the scoring service opens.

======================  ============================================================================
``base.json``           features, classes, the frozen digest, and the SHA-256 of every other file
``backbone.*, head.*``  ``.pt2``, or ``.safetensors`` with a builder's import path in ``base.json``
``preprocess.skops``    where there is preprocessing; import paths of one's own transformers in ``base.json``
``reference.parquet``   features and target
``policy.yaml``         the policy at adoption, the fall-back of the one in ``SELFHEAL_RULES``
``scoring.safetensors`` where numpy alone can score it: what a service needs, without torch
======================  ============================================================================

A base is named by the SHA-256 of its manifest, for that covers all of it: the same weights under other columns, or with
another reference, are another base.

Nothing here imports mlflow, and no file is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.special  # noqa: F401  before torch, see selfheal.parts.preprocessing
import torch
from torch import nn

from selfheal.adapter import Adapter
from selfheal.errors import ArtifactError, InputError, PolicyError
from selfheal.model import MonitoredModel
from selfheal.parts import weights
from selfheal.parts.columns import null_kind, with_nulls
from selfheal.parts.compiled import stored_path
from selfheal.parts.preprocessing import function_names, open_preprocessing, own_transformers, save_preprocessing
from selfheal.parts.program import export_program, open_program
from selfheal.policy import Policy
from selfheal.registry.folder import FORMAT, MANIFEST, POLICY, RESTORE, SCORING, lists_of, manifest_of, place, read_base

# Rows on which the stored network is compared with the one in memory: enough to meet every branch of a small
# network, cheap for a large one.
_CHECK_ROWS = 512


def save_base(model: MonitoredModel, directory: Path) -> str:
    """Write the frozen parts of `model` (not its adapter) into a folder and open them again.

    Parameters
    ----------
    model
        Its backbone and head must agree with their stored form to 1e-5 on reference rows.
    directory
        New or empty. It appears complete or not at all.

    Returns
    -------
    str
        The frozen digest, which an adapter of this base carries.

    Raises
    ------
    InputError
        A part cannot be stored; the message says which and the remedy.
    """
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty; a base model is written once")
    model.check_unchanged()
    files, parts = _network(model)
    own = _preprocessing(model, files)
    files["reference.parquet"] = _parquet(model.reference.assign(**{model.target: model.reference_labels}))
    files[POLICY] = model.policy.to_yaml().encode()
    if (path := _scoring(model, parts, files)) is not None:
        files[SCORING] = path
    manifest = {
        "format": FORMAT,
        "name": model.name,
        "digest": model.digest,
        "features": list(model.features),
        "dtypes": model.dtypes,
        "nulls": {name: null_kind(null) for name, null in model.nulls.items()},
        "nullable": sorted(model.nullable),
        "target": model.target,
        "classes": np.asarray(model.classes_).tolist(),
        "parts": parts,
        **({"transformers": own} if own else {}),
        **({"lists": dict(model.signature.lists)} if model.signature.lists else {}),
        "torch": torch.__version__,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    place(files, directory)
    try:
        load_base(directory, expect_digest=model.digest)
    except ArtifactError as error:
        shutil.rmtree(directory)
        raise InputError(f"the model does not survive being stored: {error}") from error
    return model.digest


def load_base(directory: Path, expect_digest: str | None = None, expect_manifest: str | None = None) -> MonitoredModel:
    """The model stored by `save_base`, with the identity adapter and the policy of its adoption.

    Parameters as in `read_base`, which runs first: digests before contents.

    Raises
    ------
    ArtifactError
        A file is changed or could run code, or the loaded model has another digest. Nothing was run.
    UnavailableError
        One cannot be read, or is not there.
    """
    return opened(read_base(directory, expect_digest, expect_manifest), directory)


def opened(files: dict[str, bytes], directory: Path) -> MonitoredModel:
    """The model of files that `read_base` has checked; ``directory`` is where they lie, for what is said of them.

    Raises
    ------
    ArtifactError
        As `load_base` says.
    """
    manifest = manifest_of(files[MANIFEST], directory)
    try:
        reference = pd.read_parquet(io.BytesIO(files["reference.parquet"]))
        model = MonitoredModel(
            backbone=_open_part("backbone", manifest, files),
            head=_open_part("head", manifest, files),
            # an older release did not say which kind of null its missing texts were
            reference=with_nulls(reference, manifest.get("nulls", {})),
            target=manifest["target"],
            preprocess=_open_preprocessing(manifest, files),
            policy=Policy.loads(files[POLICY].decode()),
            name=manifest["name"],
            classes=manifest["classes"],
            as_stored=True,
        )
    except (InputError, PolicyError, KeyError, TypeError, OSError, ValueError) as error:
        raise ArtifactError(f"{directory}: the parts do not make a model ({error}); {RESTORE}") from error
    model.manifest = hashlib.sha256(files[MANIFEST]).hexdigest()
    model.signature = replace(model.signature, lists=lists_of(manifest))
    if model.digest != manifest["digest"]:
        raise ArtifactError(
            f"{directory}: the loaded model has digest {model.digest[:12]}, registered {manifest['digest'][:12]}. "
            "Changed files, or another version of torch or scikit-learn than the one that stored it; adopt it again"
        )
    return model


def identity(directory: Path) -> str:
    """What makes a base another one, as SHA-256; the same model stored twice has the same.

    Everything but the policy, which is kept beside a base, and what differs from writing to writing: its name, the
    versions of libraries, the container of the preprocessing (its content is in the frozen digest).
    """
    files = read_base(directory)
    manifest = manifest_of(files[MANIFEST], directory)
    keys = ("digest", "features", "dtypes", "target", "classes", "parts", "transformers", "lists")
    what = {key: manifest[key] for key in keys if key in manifest}
    programs = [manifest["files"].get(f"{part}.pt2", "") for part in ("backbone", "head")]
    reference = pd.util.hash_pandas_object(pd.read_parquet(io.BytesIO(files["reference.parquet"])), index=False)
    called = function_names(files["preprocess.skops"]) if "preprocess.skops" in files else []
    content = hashlib.sha256(json.dumps([what, programs, called], sort_keys=True).encode())
    content.update(reference.to_numpy().tobytes())
    return content.hexdigest()


def _network(model: MonitoredModel) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
    """Files and manifest entries of backbone and head, each compared with the module in memory."""
    rows = model.reference.iloc[:_CHECK_ROWS]
    entered = torch.from_numpy(model.network_input(rows))
    hidden = model.hidden_of_units(rows)
    files: dict[str, bytes] = {}
    parts: dict[str, dict[str, str]] = {}
    for part, module, batch in (("backbone", model.backbone, entered), ("head", model.head, hidden)):
        try:
            files[f"{part}.pt2"] = export_program(module, batch)
            parts[part] = {"kind": "program"}
        except InputError as because:
            path, files[f"{part}.safetensors"] = weights.store(module, batch, what=part, because=because)
            parts[part] = {"kind": "weights", "builder": path}
    return files, parts


def _scoring(model: MonitoredModel, parts: dict[str, dict[str, str]], files: dict[str, bytes]) -> bytes | None:
    """What scores the base by numpy alone: its layers, or, of a network with a ``forward()``, those of its program."""
    base = model.with_adapter(Adapter())
    path = stored_path(base)
    if path is not None or any(entry["kind"] != "program" for entry in parts.values()):
        return path
    backbone, head = (open_program(files[f"{part}.pt2"], what=f"{part}.pt2") for part in ("backbone", "head"))
    return stored_path(base, backbone, head)


def _preprocessing(model: MonitoredModel, files: dict[str, bytes]) -> list[str]:
    """Adds its file, and gives the import paths of the transformers in it that are somebody's own."""
    if model.preprocess is None:
        return []
    files["preprocess.skops"] = save_preprocessing(model.preprocess)
    own = [*own_transformers(files["preprocess.skops"])]
    if own:
        warnings.warn(
            f"preprocess: stored as what {', '.join(own)} holds, and its import path. Every process that loads this "
            "model must be able to import it, and what its code says then is not part of the base's digest",
            UserWarning,
            stacklevel=3,
        )
    return own


def _open_preprocessing(manifest: dict[str, Any], files: dict[str, bytes]) -> Any:
    data = files.get("preprocess.skops")
    return None if data is None else open_preprocessing(data, [str(one) for one in manifest.get("transformers", ())])


def _open_part(part: str, manifest: dict[str, Any], files: dict[str, bytes]) -> nn.Module:
    entry = manifest["parts"][part]
    if entry["kind"] == "program":
        return open_program(files[f"{part}.pt2"], what=f"{part}.pt2")
    return weights.build(str(entry["builder"]), files[f"{part}.safetensors"], what=part)


def _parquet(frame: pd.DataFrame) -> bytes:
    try:
        data: bytes = frame.to_parquet(index=False)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"reference: a column mixes types and cannot be stored as parquet ({error})") from error
    return data
