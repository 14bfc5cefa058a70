"""What a heal was given, as one file: kept with its run, so that the heal can be replayed by whoever doubts it.

Frames are Parquet, adapters safetensors, the rest JSON and YAML; nothing in it is code.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import ArtifactError
from selfheal.loop.child import HealTask

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1

PLACE, FILE = "evidence", "task.zip"
"""Folder among a run's artifacts, and the file's name in it."""

LARGEST = 1 << 30
"""Bytes that a file may hold once opened: some hundred times what a heal's rows are."""

LABEL = "label"
EPOCH = (1980, 1, 1, 0, 0, 0)


def packed(task: HealTask) -> bytes:
    """A task as a file; the same task gives the same bytes."""
    frames: dict[str, pd.DataFrame] = {"window": task.window}
    frames |= {f"recent-{k}": frame for k, frame in enumerate(task.recent)}
    for name, pairs in (("earlier", task.earlier), ("unsampled", task.unsampled)):
        for k, (frame, labels) in enumerate(pairs):
            frames |= {f"{name}-{k}": frame, f"{name}-{k}-labels": labels.to_frame(LABEL)}
    if task.labels is not None:
        frames["labels"] = task.labels.to_frame(LABEL)
    if task.times is not None:
        frames["times"] = task.times.to_frame(LABEL)
    entries: dict[str, bytes] = {"adapter.safetensors": task.adapter, "policy.yaml": task.policy.encode()}
    for k, (_, adapter, sample) in enumerate(task.memory):
        entries[f"memory-{k}.safetensors"] = adapter
        if sample is not None:
            frames[f"memory-{k}"] = sample
    about = {
        "format": FORMAT, "base_digest": task.base_digest, "base_manifest": task.base_manifest, "seed": task.seed,
        "memory": [version for version, _, _ in task.memory], "facts": list(task.facts),
    }  # fmt: skip
    entries["task.json"] = json.dumps(about, ensure_ascii=False).encode()
    return zipped(entries | {f"{name}.parquet": frame.to_parquet() for name, frame in frames.items()})


def unpacked(data: bytes, base: Path) -> HealTask:
    """The task in a file.

    Parameters
    ----------
    base
        The folder of its base, which the file only names.

    Raises
    ------
    ArtifactError
        It is no such file, or of another format.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > LARGEST:
                raise ArtifactError(f"the heal's task would open to {size} bytes (limit {LARGEST})")
            entries = {info.filename: archive.read(info) for info in archive.infolist()}
        about = json.loads(entries["task.json"])
        if about["format"] != FORMAT:
            raise ArtifactError(f"the heal's task has format {about['format']}, this release reads {FORMAT}")
        return _task(entries, about, base)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArtifactError(f"the heal's task can't be read: {type(error).__name__}: {error}") from error


def _task(entries: Mapping[str, bytes], about: Mapping[str, Any], base: Path) -> HealTask:
    import pandas as pd

    def frame(name: str) -> pd.DataFrame | None:
        data = entries.get(f"{name}.parquet")
        return None if data is None else pd.read_parquet(io.BytesIO(data))

    def series(name: str) -> pd.Series | None:
        table = frame(name)
        return None if table is None else table[LABEL]

    def several(name: str) -> list[pd.DataFrame]:
        tables = [frame(f"{name}-{k}") for k in range(len(entries))]
        return [each for each in tables if each is not None]

    def pairs(name: str) -> tuple[tuple[pd.DataFrame, pd.Series], ...]:
        labels = [series(f"{name}-{k}-labels") for k in range(len(several(name)))]
        return tuple((rows, known) for rows, known in zip(several(name), labels, strict=True) if known is not None)

    memory = [
        (version, entries[f"memory-{k}.safetensors"], frame(f"memory-{k}")) for k, version in enumerate(about["memory"])
    ]
    return HealTask(
        base=base, base_digest=about["base_digest"], base_manifest=about["base_manifest"],
        adapter=entries["adapter.safetensors"], policy=entries["policy.yaml"].decode(),
        window=pd.read_parquet(io.BytesIO(entries["window.parquet"])), recent=tuple(several("recent")),
        labels=series("labels"), memory=tuple(memory), seed=about["seed"], earlier=pairs("earlier"),
        unsampled=pairs("unsampled"), facts=tuple(about["facts"]), times=series("times"),
    )  # fmt: skip


def zipped(entries: Mapping[str, bytes], comment: bytes = b"") -> bytes:
    """A zip file without times of its own, which ends with ``comment``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            archive.writestr(info, entries[name])
    return buffer.getvalue()
