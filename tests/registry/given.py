"""Models, adapters and evil files that the registry's tests share."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor, nn

from selfheal import Adapter, MonitoredModel, ReflexiveLayer
from selfheal.adapter import ColumnMap, InputMap

NUMBERS = ["temp", "wind", "count"]
FEATURES = [*NUMBERS, "kind"]


def rows(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Features of every kind and a target that depends on them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "temp": rng.normal(15, 8, n),
            "wind": rng.gamma(2.0, 3.0, n),
            "count": rng.integers(0, 9, n),
            "kind": rng.choice(["north", "south"], n),
        }
    )
    return frame.assign(rain=np.where(frame.temp + frame.wind > 20, "yes", "no"))


def monitored(seed: int = 0, reference: pd.DataFrame | None = None) -> MonitoredModel:
    """A small network with mixed preprocessing and one rule; another `seed`, another base."""
    frame = rows() if reference is None else reference
    columns = [("n", StandardScaler(), NUMBERS), ("c", OneHotEncoder(handle_unknown="ignore"), ["kind"])]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = nn.Sequential(nn.Linear(5, 8), nn.ReLU())
        head = nn.Linear(8, 1)
    return MonitoredModel(
        backbone,
        head,
        frame,
        target="rain",
        preprocess=ColumnTransformer(columns).fit(frame[FEATURES]),
        policy={"rules": [{"name": "cold", "when": "temp < 0", "vote": "no"}]},
    )


def healed(model: MonitoredModel) -> Adapter:
    """An adapter with all three parts, each of which changes predictions."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layer = ReflexiveLayer(8)
        nn.init.normal_(layer.project.weight)
    parts = Adapter(InputMap({"temp": ColumnMap(1.8, 32.0, "°C to °F")}), layer, np.array([0.25, -0.25]))
    return model.with_adapter(parts).adapter


class Branching(nn.Module):
    """A branch on the data, which export cannot store; importable and built without arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x if float(x.sum()) > 0 else -x))


class Noisy(nn.Module):
    """Draws at random in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.rand_like(self.linear(x))


# ---------------------------------------------------------------------- evil .pt2 files


class MakesFolder:
    """Pickles into a call of os.mkdir: what a thief would write is a shell command."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (self.path,)


def entries(archive: bytes) -> dict[str, bytes]:
    """The content of a .pt2, by entry."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {i.filename.partition("/")[2]: opened.read(i) for i in opened.infolist()}


def packed(content: dict[str, bytes]) -> bytes:
    """A .pt2 as torch itself writes it."""
    from torch.export.pt2_archive._package import PT2ArchiveWriter

    buffer = io.BytesIO()
    own = ("archive_format", "archive_version", "byteorder", ".data/")
    with PT2ArchiveWriter(buffer) as writer:
        for name, data in content.items():
            if not name.startswith(own):
                writer.write_bytes(name, data)
    return buffer.getvalue()


def pickled(what: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.getvalue()


def evil_samples(archive: bytes, path: Path) -> bytes:
    """Sample inputs that run code when they are unpickled."""
    return packed(entries(archive) | {"data/sample_inputs/model.pt": pickled((MakesFolder(path),))})


def evil_weight(archive: bytes, path: Path) -> bytes:
    """A weight that is marked as a pickle."""
    content = entries(archive)
    name = "data/weights/model_weights_config.json"
    table = json.loads(content[name])
    meta = table["config"][next(iter(table["config"]))]
    meta["use_pickle"] = True
    weight = {f"data/weights/{meta['path_name']}": pickled(MakesFolder(path))}
    return packed(content | weight | {name: json.dumps(table).encode()})


def evil_constant(archive: bytes, path: Path) -> bytes:
    """A constant object of any class."""
    import pickle

    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    table = json.dumps({"config": {"x": meta}}).encode()
    payload = {"data/constants/opaque_obj_0": pickle.dumps(MakesFolder(path))}
    return packed(entries(archive) | payload | {"data/constants/model_constants_config.json": table})


def evil_size(archive: bytes, path: Path) -> bytes:
    """A symbolic size that is Python: sympy evaluates it."""
    content = entries(archive)
    program = json.loads(content["models/model.json"])

    def poison(value: Any) -> None:
        if isinstance(value, dict):
            if "expr_str" in value:
                value["expr_str"] = f"__import__('os').mkdir({str(path)!r}) or 3"
            for item in value.values():
                poison(item)
        elif isinstance(value, list):
            for item in value:
                poison(item)

    poison(program)
    return packed(content | {"models/model.json": json.dumps(program).encode()})


EVIL = {"samples": evil_samples, "weight": evil_weight, "constant": evil_constant, "size": evil_size}
