"""The versions of a model at a glance: one question to MLflow's file or server, without its client.

That client takes four seconds of imports, more than all else that ``selfheal status`` does. Whatever is not plain here
is left to it.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

SECONDS = 3.0
"""For the file's lock, or a server's answer."""

OTHERWISE = (
    "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_WORKSPACE",
)  # fmt: skip
"""Variables by which MLflow's client asks in another way than here."""

_PAGE = 1000


def of_file(path: Path, name: str) -> list[SimpleNamespace] | None:
    """The versions in an embedded store, by the attributes of MLflow's own; None where it is not as expected."""
    rows = "SELECT * FROM model_versions WHERE name = ? AND current_stage != 'Deleted_Internal'"
    tags = "SELECT version, key, value FROM model_version_tags WHERE name = ?"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=SECONDS)) as connection:
            connection.row_factory = sqlite3.Row
            labels: dict[int, dict[str, str]] = {}
            for version, key, value in connection.execute(tags, [name]):
                labels.setdefault(int(version), {})[str(key)] = str(value)
            return [_of_row(row, labels.get(int(row["version"]), {})) for row in connection.execute(rows, [name])]
    except (sqlite3.Error, LookupError, ValueError, TypeError):
        return None


def _of_row(row: Any, tags: Mapping[str, str]) -> SimpleNamespace:
    return SimpleNamespace(
        version=row["version"], current_stage=row["current_stage"], tags=tags, description=row["description"],
        creation_timestamp=row["creation_time"], last_updated_timestamp=row["last_updated_time"],
        run_id=row["run_id"], model_id=None, source=row["source"],
    )  # fmt: skip


def of_server(uri: str, name: str) -> list[SimpleNamespace] | None:
    """The same of a server; None where it answers otherwise than expected, or is asked in a way of its own.

    Raises
    ------
    OSError
        Nothing answers.
    """
    if any(os.environ.get(variable) for variable in OTHERWISE) or "'" in name:
        return None
    try:
        return [_of_answer(answer) for answer in _asked(uri, name)]
    except HTTPError:
        return None
    except URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else error from error
    except (HTTPException, LookupError, ValueError, TypeError, AttributeError):
        return None


def _asked(uri: str, name: str) -> Iterator[Mapping[str, Any]]:
    token = ""
    while True:
        wanted = {"filter": f"name = '{name}'", "max_results": _PAGE} | ({"page_token": token} if token else {})
        url = f"{uri.rstrip('/')}/api/2.0/mlflow/model-versions/search?{urlencode(wanted)}"
        request = Request(url, headers=_credentials())  # noqa: S310  http(s): the door has seen to that
        with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            page = json.loads(answer.read())
        yield from page.get("model_versions", [])
        token = page.get("next_page_token", "")
        if not token:
            return


def _credentials() -> dict[str, str]:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"} if user and password else {}


def _of_answer(row: Mapping[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(
        version=row["version"], current_stage=row.get("current_stage"), description=row.get("description", ""),
        tags={tag["key"]: tag.get("value", "") for tag in row.get("tags", [])},
        creation_timestamp=int(row["creation_timestamp"]), run_id=row.get("run_id"), model_id=row.get("model_id"),
        last_updated_timestamp=int(row.get("last_updated_timestamp", 0)), source=row.get("source", ""),
    )  # fmt: skip
