"""Other processes, which tests of steering let work or die."""

from selfheal.loop.forks import ForkServer

OTHERS = ForkServer(("tests.steering.given", "mlflow.store.tracking.sqlalchemy_store"))
"""What they are forked from."""
