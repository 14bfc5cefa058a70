"""Models as the tests of the service have them (no MLflow), and the adopted home of the tests of steering (MLflow)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selfheal import Follower, Settings, follow
from tests.serving.conftest import Place, adopt_in, bases, place
from tests.steering.conftest import home, template, ws

__all__ = ["adopt_in", "bases", "home", "place", "template", "ws"]


def settings_of(place: Place) -> Settings:
    """The installation that a place is."""
    home = place.database.parent / "home"
    home.mkdir(exist_ok=True)
    if not (home / "cache").exists():
        (home / "cache").symlink_to(place.cache)
    return dataclasses.replace(Settings.from_env({"SELFHEAL_HOME": str(home)}), database_url=place.url)


@pytest.fixture
def following(place: Place) -> Iterator[Callable[..., Follower]]:
    """Makes followers of a place, the weather model's by default, and closes them."""
    made: list[Follower] = []

    def make(of: Place = place, **options: object) -> Follower:
        made.append(follow(of.name, settings=settings_of(of), **options))
        return made[-1]

    yield make
    for follower in made:
        follower.close()


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The adopted home, named by the environment."""
    for name, value in Settings.from_env({"SELFHEAL_HOME": str(home)}).environ().items():
        if not name.startswith("PREFECT"):
            monkeypatch.setenv(name, value)
    return home
