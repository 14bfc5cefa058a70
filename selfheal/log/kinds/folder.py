"""A folder of this machine, or one file: what no other kind claims."""

from pathlib import Path

from selfheal.log.files import Files
from selfheal.log.kind import Kind
from selfheal.log.places import Disk

KIND = Kind(
    "folder",
    rank=100,
    fits=lambda place, where: True,
    rows=lambda place, where: Files(Disk(Path(where).expanduser())),
)
