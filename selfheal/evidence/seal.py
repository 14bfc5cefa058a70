"""A sealed archive: a zip file whose comment is the SHA-256 of every byte before it. Pure."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

from selfheal.errors import InputError
from selfheal.loop.tasks import LARGEST, zipped

MANIFEST = "manifest.json"

SEAL = b"sha256:"
LENGTH = len(SEAL) + 64


def sealed(members: Mapping[str, bytes], about: Mapping[str, object]) -> bytes:
    """The archive of these members and a manifest: what is said ``about`` them, and the SHA-256 of each."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(members.items())}
    manifest = json.dumps({**about, "members": digests}, indent=2, ensure_ascii=False, default=str).encode()
    data = zipped({**members, MANIFEST: manifest}, comment=b"." * LENGTH)
    return data[:-LENGTH] + _seal_of(data)


def broken(data: bytes) -> str:
    """Why an archive is not as it was sealed, by its seal alone; empty where it is."""
    if data[-LENGTH:] == _seal_of(data):
        return ""
    return "a byte was changed, added or cut off: the seal at its end is not that of what comes before"


def opened(data: bytes) -> dict[str, bytes]:
    """The members of an archive, by name; whatever can't be read is left out.

    Raises
    ------
    InputError
        It is no zip file, or one that would be enormous.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            size = sum(info.file_size for info in infos)
            if size > LARGEST:
                raise InputError(f"it would open to {size} bytes (limit {LARGEST}): no evidence of a heal is so large")
            return {info.filename: content for info in infos if (content := _read(archive, info)) is not None}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"it is no archive that selfheal evidence wrote: {error}") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    try:
        return archive.read(info)
    except Exception:  # zlib, CRC, names, encryption: a damaged member is found missing, and named
        return None


def _seal_of(data: bytes) -> bytes:
    return SEAL + hashlib.sha256(data[:-LENGTH]).hexdigest().encode()
