"""The adopted home of the tests of steering, and a PostgreSQL server of this session's own."""

from tests.steering.conftest import home, template, ws
from tests.table.conftest import postgres

__all__ = ["home", "postgres", "template", "ws"]
