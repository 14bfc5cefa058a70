"""What a user may rely on: the public names, no more and no less."""

from __future__ import annotations

import importlib.metadata
import inspect

import pytest

import selfheal
from selfheal import errors

PUBLIC = {
    "MonitoredModel", "Adapter", "ReflexiveLayer", "Policy", "Outcome", "Settings", "Follower",
    "heal", "adopt", "load", "follow",
    "SelfhealError", "InputError", "PolicyError", "NotFoundError", "RefusedError", "BusyError", "ArtifactError",
    "FormatError", "HeldError", "UnavailableError",
}  # fmt: skip


def test_public_names() -> None:
    assert set(selfheal.__all__) == PUBLIC
    assert set(dir(selfheal)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(selfheal, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'heel'"):
        selfheal.heel  # noqa: B018


def test_version_is_the_packages() -> None:
    assert selfheal.__version__ == importlib.metadata.version("selfheal")


def test_every_error_is_public_and_in_the_drawn_tree() -> None:
    raised = {n for n, e in vars(errors).items() if inspect.isclass(e) and issubclass(e, errors.SelfhealError)}
    assert raised <= PUBLIC
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in raised)
