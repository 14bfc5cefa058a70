"""Adoption of a network that MLflow has already, logged by ``mlflow.pytorch``: as a program, or by somebody's trust."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import yaml

from selfheal.errors import InputError, RefusedError
from selfheal.model import MonitoredModel
from selfheal.parts import lists
from selfheal.parts.graph import cut_program
from selfheal.parts.network import ROWS
from selfheal.parts.program import open_program, without_samples
from selfheal.policy import Policy
from selfheal.registry.door import Door
from selfheal.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_URI = re.compile(r"models:/([^/@]+)(?:/(\d+)|@([^/]+))")
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT")
"""All that a child which unpickles is told of the environment: no credential, and no home to find one in."""
UNPICKLE_S = 600.0


@dataclass(frozen=True)
class Stored:
    """A network as MLflow has it.

    Attributes
    ----------
    uri
        What it was asked for by.
    kind
        ``"pt2"``, ``"script"`` or ``"pickle"``.
    data
        The file's bytes.
    code
        Files of the folder that was logged beside it for its imports, by their path in it.
    """

    uri: str
    kind: str
    data: bytes
    code: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()


def imported(
    uri: str,
    reference: pd.DataFrame,
    target: str,
    settings: Settings,
    *,
    policy: Policy | Path | None = None,
    trusted_by: str | None = None,
) -> tuple[MonitoredModel, dict[str, str]]:
    """The model of a network in MLflow, and tags that say where its base is from.

    Parameters
    ----------
    uri
        ``models:/NAME/7`` or ``models:/NAME@alias``.
    reference
        Labelled rows that it was not trained on: its inputs in the order in which it takes them, and the target.
    trusted_by
        Who answers for a file that can run code: it is opened once, in a child without credentials, and exported anew.
        None refuses such a file.

    Raises
    ------
    InputError
        It is no PyTorch network, or one that cannot be cut or adopted; the reference does not fit.
    NotFoundError
        No such model or version.
    RefusedError
        It could run code, and nobody is named who trusts it.
    ArtifactError
        Its program holds more than tensor operators; nothing of it was run.
    UnavailableError
        MLflow cannot be reached.
    """
    stored = _stored(uri, settings)
    rows = _inputs(lists.made_plain(reference, target)[0], target)
    tags = {"source": uri, "source_digest": stored.digest}
    if stored.kind == "pt2":
        program = without_samples(stored.data, what=uri)
    elif trusted_by is None:
        raise RefusedError(
            f"{uri} is {_WHAT[stored.kind]}, which can run code when it is opened. Log it as a program: "
            "mlflow.pytorch.log_model(net, name=..., input_example=rows, serialization_format='pt2'); or adopt with "
            "--trust if you know who made it: it is opened once, in a process without credentials, and exported anew"
        )
    else:
        program = _exported(stored, rows)
        tags |= {"trusted_by": trusted_by}
    cut = cut_program(open_program(program, what=uri), torch.from_numpy(rows))
    return MonitoredModel(cut.backbone, cut.head, reference, target=target, policy=policy), tags


_WHAT = {"pickle": "a pickle", "script": "TorchScript, a program in a language of its own"}


def _inputs(reference: pd.DataFrame, target: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    if target not in reference.columns:
        raise InputError(f"the reference has no column {target!r} (columns: {', '.join(map(str, reference.columns))})")
    features = reference.drop(columns=target).iloc[:ROWS]
    words = [str(name) for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    if words:
        raise InputError(
            f"column {words[0]!r} of the reference holds no numbers, and a network from MLflow comes without its "
            "preprocessing; adopt by a factory that gives preprocess="
        )
    return features.to_numpy(dtype=np.float32)


def _stored(uri: str, settings: Settings) -> Stored:
    asked = _URI.fullmatch(uri)
    if asked is None:
        raise InputError(f"{uri!r} names no version; write models:/NAME/7 or models:/NAME@alias")
    from mlflow.artifacts import download_artifacts

    door = Door(settings)
    with tempfile.TemporaryDirectory() as scratch, door.asked(f"fetch {uri}") as client:
        place = _place(client, *asked.groups())
        folder = Path(download_artifacts(artifact_uri=place, dst_path=scratch, tracking_uri=door.uri))
        flavors = yaml.safe_load((folder / "MLmodel").read_bytes()).get("flavors", {})
        if "pytorch" not in flavors:
            raise InputError(f"{uri} is no PyTorch network (flavors: {', '.join(flavors)}); adopt one by a factory")
        data, code = flavors["pytorch"].get("model_data", "data"), flavors["pytorch"].get("code")
        stored = [p for p in (folder / data / "model.pt2", folder / data / "model.pth") if p.is_file()]
        if not stored:
            raise InputError(f"{uri} has neither model.pt2 nor model.pth in {data}; log it anew with mlflow.pytorch")
        beside = folder / code if code else None
        files = {} if beside is None else {str(p.relative_to(beside)): p.read_bytes() for p in beside.rglob("*.py")}
        content = stored[0].read_bytes()
    return Stored(uri, "pt2" if stored[0].suffix == ".pt2" else _kind(content), content, files)


def _place(client: MlflowClient, name: str, number: str | None, alias: str | None) -> str:
    version = number or client.get_model_version_by_alias(name, str(alias)).version
    place = str(client.get_model_version_download_uri(name, str(version)))
    if place.startswith("models:/"):
        place = str(client.get_logged_model(place.removeprefix("models:/")).artifact_location)
    return place


def _kind(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "script" if any("/code/" in name for name in archive.namelist()) else "pickle"
    except zipfile.BadZipFile:
        return "pickle"


def _exported(stored: Stored, rows: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    """The program of a file that can run code, made by a child that has nothing to give away."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "model").write_bytes(stored.data)
        for name, content in stored.code.items():
            (place / "code" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "code" / name).write_bytes(content)
        np.save(place / "rows.npy", rows, allow_pickle=False)
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environ |= {"HOME": scratch, "TMPDIR": scratch, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "selfheal.registry.trusted", stored.kind, scratch]
        try:
            done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=UNPICKLE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{stored.uri} was not opened and exported within {UNPICKLE_S:g} s") from error
        program = place / "program.pt2"
        if done.returncode or not program.is_file():
            said = done.stderr.strip().splitlines()
            raise InputError(
                f"{stored.uri} could not be opened and exported: {said[-1] if said else f'status {done.returncode}'}. "
                "Its classes must be importable from here, and take float32 [n, d]; else adopt it by a factory"
            )
        return program.read_bytes()
