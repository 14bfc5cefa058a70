"""What MLflow stores with every version: a model from code, so that plain ``mlflow.pyfunc.load_model`` works.

The file is copied into each version and read by MLflow alone, years later perhaps: it stays thin, and imports
selfheal only when a model is loaded.
"""

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """An adapter with its base, or a base with the identity adapter."""

    def load_context(self, context: PythonModelContext) -> None:
        """Check and open what MLflow fetched."""
        from selfheal.registry.served import open_served

        self.model = open_served(context.artifacts, context.model_config)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Probabilities [n, k], a column per class."""
        columns = [str(label) for label in self.model.classes_]
        return pd.DataFrame(self.model.predict_proba(model_input), columns=columns, index=model_input.index)


mlflow.models.set_model(ServedModel())
