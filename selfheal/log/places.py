"""Where files of a log lie: a folder of this machine, or a prefix of an object store. Both are only listed and read.

Credentials and endpoints of a store come from the environment, as its own tools take them: ``AWS_*``, ``GOOGLE_*``,
``AZURE_STORAGE_*``. They are in no policy and in no message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from selfheal.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Ends of file names that are read; others, and names that begin with ``_`` or ``.``, are somebody's at work."""

DELTA = "_delta_log"
"""The folder that makes a folder a Delta table."""

HEAD = 4
"""Bytes that tell how a text is encoded."""

Stamp = tuple[str, int, int]
"""A file as it is now: path, time of its last change in ns, size in bytes."""

_SECRET = re.compile(r"SECRET|TOKEN|ACCESS_KEY|ACCOUNT_KEY|SAS|PASSWORD|CREDENTIAL", re.IGNORECASE)


class Place(Protocol):
    """A folder of files, or one file; two of the same URI are equal."""

    def __hash__(self) -> int:
        """By its URI."""

    @property
    def grows(self) -> bool:
        """Whether a file may be longer when it is looked at again: then its last line may be half a line."""

    @property
    def uri(self) -> str:
        """Its path or URI, as polars and deltalake take it; without credentials."""

    @property
    def options(self) -> dict[str, str] | None:
        """What they need beside the environment."""

    def files(self) -> list[Stamp]:
        """Every file of the log, sorted.

        Raises
        ------
        UnavailableError
            The place cannot be listed.
        """

    def is_delta(self) -> bool:
        """Whether it is a Delta table."""

    def folders(self, path: str) -> tuple[str, ...]:
        """The folders between the place and one of its files: Hive partitions are."""

    def head(self, path: str) -> bytes:
        """How one of its files begins.

        Raises
        ------
        OSError
            It cannot be read.
        """


@dataclass(frozen=True)
class Disk:
    """A folder (or one file) of this machine; relative to the working directory."""

    place: Path
    grows: ClassVar[bool] = True
    options: ClassVar[dict[str, str] | None] = None

    @property
    def uri(self) -> str:
        """See :class:`Place`."""
        return str(self.place)

    def files(self) -> list[Stamp]:
        """See :class:`Place`."""
        try:
            try:
                return self._listed()
            except FileNotFoundError:  # a file that was compacted away just then; or the place is not there
                return self._listed()
        except OSError as error:
            raise self._unread(error) from error

    def _unread(self, error: OSError) -> UnavailableError:
        below = error.filename and str(error.filename) != self.uri
        where = f" ({error.filename})" if below else ""
        return UnavailableError(
            f"the log {self.place} cannot be read: {error.strerror}{where}; is its disk mounted, does log.from name "
            "it, and may this user read it?"
        )

    def _listed(self) -> list[Stamp]:
        if self.place.is_file():
            paths = [self.place]
        else:
            os.stat(self.place)
            paths = sorted(_below(self.place))
        stats = [(str(path), path.stat()) for path in paths if path.suffix.lower() in FORMATS]
        return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]

    def is_delta(self) -> bool:
        """See :class:`Place`."""
        try:
            return (self.place / DELTA).is_dir()
        except OSError as error:
            raise self._unread(error) from error

    def folders(self, path: str) -> tuple[str, ...]:
        """See :class:`Place`."""
        root = self.place if self.place.is_dir() else self.place.parent
        return Path(path).relative_to(root).parts[:-1]

    def head(self, path: str) -> bytes:
        """See :class:`Place`."""
        with open(path, "rb") as file:
            return file.read(HEAD)


@dataclass(frozen=True)
class Store:
    """A prefix (or one object) of an object store: ``s3://bucket/prefix``, and ``gs://``, ``az://`` alike.

    An object appears whole, so that none of its lines is half a line.
    """

    scheme: str
    path: str
    grows: ClassVar[bool] = False

    @classmethod
    def parse(cls, uri: str) -> Store:
        """The place of a URI."""
        scheme, _, rest = uri.partition("://")
        return cls({"s3a": "s3", "gcs": "gs"}.get(scheme.lower(), scheme.lower()), rest.strip("/"))

    @property
    def uri(self) -> str:
        """See :class:`Place`."""
        return f"{self.scheme}://{self.path}"

    @property
    def options(self) -> dict[str, str] | None:
        """See :class:`Place`: an endpoint of one's own, which may be without TLS."""
        endpoint = _endpoint() if self.scheme == "s3" else ""
        if not endpoint:
            return None
        return {"aws_endpoint_url": endpoint, "aws_allow_http": str(endpoint.startswith("http://")).lower()}

    def files(self) -> list[Stamp]:
        """See :class:`Place`."""
        from pyarrow import fs

        try:
            infos = self._system.get_file_info(fs.FileSelector(self.path, recursive=True))
        except FileNotFoundError:
            infos = self._object()
        except OSError as error:
            raise self._away(error) from None  # whatever it quotes
        objects = [i for i in infos if i.type == fs.FileType.File and _is_ours(self._inside(i.path))]
        return sorted((f"{self.scheme}://{i.path}", int(i.mtime_ns or 0), int(i.size or 0)) for i in objects)

    def _object(self) -> list[Any]:
        """The one object of that name."""
        from pyarrow import fs

        (info,) = self._asked([self.path])
        if info.type == fs.FileType.NotFound:
            raise UnavailableError(
                f"the log {self.uri} cannot be read: there is no object below that name; was anything written there "
                "yet, and does log.from name it?"
            )
        return [info]

    def is_delta(self) -> bool:
        """See :class:`Place`."""
        from pyarrow import fs

        (info,) = self._asked([f"{self.path}/{DELTA}"])
        return bool(info.type == fs.FileType.Directory)

    def _asked(self, paths: list[str]) -> list[Any]:
        try:
            return list(self._system.get_file_info(paths))
        except OSError as error:
            raise self._away(error) from None

    def folders(self, path: str) -> tuple[str, ...]:
        """See :class:`Place`."""
        return self._inside(path.partition("://")[2]).parts[:-1]

    def _inside(self, key: str) -> PurePosixPath:
        """Where an object lies below the prefix; of the one object that is the place, its name."""
        path = PurePosixPath(key)
        return PurePosixPath(path.name) if key == self.path else path.relative_to(self.path)

    def head(self, path: str) -> bytes:
        """See :class:`Place`."""
        with self._system.open_input_stream(path.partition("://")[2]) as file:
            return bytes(file.read(HEAD))

    @cached_property
    def _system(self) -> FileSystem:
        from pyarrow import fs

        if self.scheme == "s3":
            scheme, _, host = _endpoint().partition("://")
            return fs.S3FileSystem(
                **({"endpoint_override": host, "scheme": scheme} if host else {}),
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2), connect_timeout=5, request_timeout=30,
            )  # fmt: skip
        if self.scheme == "gs":
            return fs.GcsFileSystem()
        account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
        if not account:
            raise InputError(f"the log {self.uri}: which account? set AZURE_STORAGE_ACCOUNT_NAME in the environment")
        keys = {"account_key": "AZURE_STORAGE_ACCOUNT_KEY", "sas_token": "AZURE_STORAGE_SAS_TOKEN"}
        given = {key: os.environ[name] for key, name in keys.items() if os.environ.get(name)}
        return fs.AzureFileSystem(account, **given)

    def _away(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"the log {self.uri} cannot be read: {without_secrets(str(error).strip())}; does log.from name it, and may "
            "the credentials in the environment list and read it?"
        )


def without_secrets(text: str) -> str:
    """A message of a store's library without any credential that the environment holds."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 4:
            text = text.replace(value, "***")
    return text


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _below(folder: Path) -> Iterator[Path]:
    """Files of a log in a folder, in any depth; one that may not be listed is an error, for its rows would be lost."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(("_", "."))]
        for path in (Path(place, name) for name in names if _is_ours(PurePosixPath(name))):
            if path.is_file():
                yield path


def _is_ours(path: Path | PurePosixPath) -> bool:
    return path.suffix.lower() in FORMATS and not any(part.startswith(("_", ".")) for part in path.parts)


def changed(before: Iterable[Stamp], now: Iterable[Stamp]) -> bool:
    """Whether files that were read have gone or been rewritten since; new ones are no matter."""
    stamps = {path: (at, size) for path, at, size in now}
    return any(stamps.get(path) != (at, size) for path, at, size in before)
