"""The like of a version: the same bytes, or the same diagnosis and hardly a prediction that differs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from selfheal.errors import ArtifactError, NotFoundError, UnavailableError
from selfheal.steering.look import Look
from selfheal.steering.models import load_version
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.model import MonitoredModel
    from selfheal.registry.versions import VersionInfo

ALIKE = 0.02
"""Share of differing predictions below which two versions are the same to whoever is served by them."""


def like_of(
    ws: Workspace,
    name: str,
    model: MonitoredModel,
    diagnosis: str,
    rows: pd.DataFrame,
    among: Iterable[VersionInfo],
    *,
    sure: bool = False,
) -> int | None:
    """The version among ``among`` that predicts like ``model`` on ``rows`` (raw) and was healed for the same reason.

    A version without a diagnosis (registered by hand) is compared by its predictions alone.

    Parameters
    ----------
    sure
        Whether one of ``among`` that can't be read now, and may be the like, is an error; else it is passed over.

    Raises
    ------
    UnavailableError
        See ``sure``.
    """
    said = model.predict(rows)
    for info in sorted(among, key=lambda info: -info.version):
        if info.lineage.diagnosis not in ("", diagnosis):
            continue
        try:
            other = load_version(ws, name, info)
        except (ArtifactError, NotFoundError):  # it can't be anybody's like any more
            continue
        except UnavailableError:
            if sure:
                raise
            continue
        if float(np.mean(other.with_policy(model.policy).predict(rows) != said)) < ALIKE:
            return info.version
    return None


def like_on_its_window(
    ws: Workspace, name: str, info: VersionInfo, model: MonitoredModel, among: Iterable[VersionInfo]
) -> int | None:
    """:func:`like_of`, for sure, of a registered version on the rows of its window; without any, on the reference."""
    rows = ws.registry.sample(name, info)
    rows = model.reference if rows is None else rows
    return like_of(ws, name, model, info.lineage.diagnosis, rows, among, sure=True)


def quarantined(ws: Workspace, name: str, info: VersionInfo, model: MonitoredModel, look: Look) -> str:
    """What a version waits for that is the like of one in quarantine; empty where it is not, or that can't be known.

    It is asked again before anything is promoted, and waits until it can be known.
    """
    if not look.quarantined:
        return ""
    barred = [other for other in ws.registry.versions(name) if other.version in look.quarantined]
    try:
        like = like_on_its_window(ws, name, info, model, barred)
    except UnavailableError:
        return ""
    return "" if like is None else like_of_rolled_back(like)


def like_of_rolled_back(like: int) -> str:
    """What the like of a version that was rolled back waits for."""
    return f"labels, an audit or a person: it predicts like version {like}, which was rolled back"
