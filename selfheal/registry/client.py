"""MLflow's client, without a question that it asks before every other one."""

from __future__ import annotations

# isort: off
import scipy.special  # noqa: F401  before MLflow, see selfheal.parts.preprocessing
import mlflow.pyfunc  # noqa: F401  it warns while it is imported, and the door keeps that in
from mlflow import MlflowClient
# isort: on


class Client(MlflowClient):
    """The client of the door: whose registered models are models, see :meth:`_raise_if_prompt`."""

    def _raise_if_prompt(self, name: str) -> None:
        """Ask nothing: MLflow keeps prompts among its registered models, and refuses one that is used as a model.

        To tell, its client reads the registered model with all its versions before each version is read, moved, tagged
        or named: half of what such a call costs. What we name was registered by us, or is unknown either way.
        """
