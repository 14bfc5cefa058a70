"""The adopted home of the tests of steering, which the loop goes on with."""

from tests.steering.conftest import home, template, ws

__all__ = ["home", "template", "ws"]
