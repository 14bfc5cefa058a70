"""Where selfheal keeps things, whom it tells, and by which names people steer it: environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from selfheal.errors import InputError

_TELLING = {
    "alerts": "SELFHEAL_ALERTS",
    "alerts_digest": "SELFHEAL_ALERTS_DIGEST",
    "heartbeat_url": "SELFHEAL_HEARTBEAT_URL",
    "evidently": "SELFHEAL_EVIDENTLY",
}


@dataclass(frozen=True)
class Settings:
    """The places of one installation.

    Attributes
    ----------
    home
        ``SELFHEAL_HOME`` (``./.selfheal``): everything embedded lies below it.
    database_url
        ``SELFHEAL_DATABASE_URL``: SQLAlchemy URL of the state database (SQLite below ``home``).
    rules
        ``SELFHEAL_RULES`` (``./rules``): the policies of record, one ``<model>.yaml`` each.
    tracking_uri
        ``MLFLOW_TRACKING_URI`` (SQLite below ``home``; MLflow's own default moves with the working directory).
    prefect_api_url
        ``PREFECT_API_URL``, or None for an ephemeral server.
    prefect_home
        ``PREFECT_HOME`` (below ``home``).
    champion, challenger
        ``SELFHEAL_CHAMPION`` and ``SELFHEAL_CHALLENGER`` (``champion``, ``challenger``): the aliases in MLflow of the
        version in Production and of the newest in Staging.
    stages
        ``SELFHEAL_STAGES`` (``on``): ``off`` where MLflow's stages are not to be used any more: the alias and tags
        ``selfheal.stage`` then say what stages say.
    alerts
        ``SELFHEAL_ALERTS``: Apprise URLs, between commas or on lines of their own; empty: nobody is told.
    alerts_digest
        ``SELFHEAL_ALERTS_DIGEST``: ``HH:MM`` in UTC at which a model's day is summed up; empty: never.
    heartbeat_url
        ``SELFHEAL_HEARTBEAT_URL``: fetched after each finished monitor run; empty: none.
    evidently
        ``SELFHEAL_EVIDENTLY``: folder or address of an Evidently workspace that gets every window's report as a run;
        empty: none.
    """

    home: Path
    database_url: str
    rules: Path
    tracking_uri: str
    prefect_api_url: str | None
    prefect_home: Path
    champion: str = "champion"
    challenger: str = "challenger"
    stages: bool = True
    alerts: str = field(default="", repr=False)  # addresses hold secrets
    alerts_digest: str = ""
    heartbeat_url: str = field(default="", repr=False)
    evidently: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment; an empty variable counts as unset.

        Raises
        ------
        InputError
            A name that can be no alias, or the same for both; a switch that is neither on nor off.

        >>> Settings.from_env({"SELFHEAL_HOME": "/srv/selfheal"}).database_url
        'sqlite:////srv/selfheal/selfheal.db'
        """
        env = {k: v for k, v in (os.environ if environ is None else environ).items() if v}
        home = Path(env.get("SELFHEAL_HOME", ".selfheal")).absolute()
        return cls(
            home=home,
            database_url=env.get("SELFHEAL_DATABASE_URL", f"sqlite:///{home}/selfheal.db"),
            rules=Path(env.get("SELFHEAL_RULES", "rules")).absolute(),
            tracking_uri=env.get("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db"),
            prefect_api_url=env.get("PREFECT_API_URL"),
            prefect_home=Path(env.get("PREFECT_HOME", home / "prefect")).absolute(),
            **_steering(env),
            **{key: env.get(name, "") for key, name in _TELLING.items()},
        )

    @property
    def cache(self) -> Path:
        """Base models by digest, as fetched from the registry."""
        return self.home / "cache"

    @property
    def artifacts(self) -> Path:
        """Where MLflow's artifacts lie when the tracking store is embedded."""
        return self.home / "mlartifacts"

    def environ(self) -> dict[str, str]:
        """The variables that make a child process see the same places."""
        names = {
            "SELFHEAL_HOME": str(self.home),
            "SELFHEAL_DATABASE_URL": self.database_url,
            "SELFHEAL_RULES": str(self.rules),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "PREFECT_HOME": str(self.prefect_home),
            "SELFHEAL_CHAMPION": self.champion,
            "SELFHEAL_CHALLENGER": self.challenger,
            "SELFHEAL_STAGES": "on" if self.stages else "off",
        }
        places = {name: getattr(self, key) for key, name in _TELLING.items()}
        optional = {"PREFECT_API_URL": self.prefect_api_url or "", **places}
        return names | {name: value for name, value in optional.items() if value}


class _Steering(TypedDict):
    champion: str
    challenger: str
    stages: bool


def _steering(env: Mapping[str, str]) -> _Steering:
    champion = env.get("SELFHEAL_CHAMPION", "champion")
    challenger = env.get("SELFHEAL_CHALLENGER", "challenger")
    for key, name in (("SELFHEAL_CHAMPION", champion), ("SELFHEAL_CHALLENGER", challenger)):
        if not re.fullmatch(r"[\w-]{1,255}", name) or re.fullmatch(r"latest|v\d+", name, re.IGNORECASE):
            raise InputError(
                f"{key}={name!r} can be no alias in MLflow: at most 255 letters, digits, _ and -, but for 'latest' and "
                "names like v1"
            )
    if champion == challenger:
        raise InputError(f"SELFHEAL_CHAMPION and SELFHEAL_CHALLENGER are both {champion!r}; give them two names")
    switch = env.get("SELFHEAL_STAGES", "on")
    if switch not in ("on", "off"):
        raise InputError(f"SELFHEAL_STAGES={switch!r} is neither on nor off")
    return {"champion": champion, "challenger": challenger, "stages": switch == "on"}
