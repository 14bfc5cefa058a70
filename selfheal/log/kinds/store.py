"""An object store: `s3://`, `gs://`, `az://`."""

from selfheal.log.files import Files
from selfheal.log.kind import Kind
from selfheal.log.places import Store

KIND = Kind(
    "object store",
    rank=10,
    fits=lambda place, where: place.is_store,
    rows=lambda place, where: Files(Store.parse(where)),
)
