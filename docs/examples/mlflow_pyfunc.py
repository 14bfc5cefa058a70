"""Plain MLflow, nothing of selfheal's in your code: ``python mlflow_pyfunc.py rows.parquet``.

What is in Production when it is loaded; it stays until you load again, and nothing is logged.
"""

import os
import sys

import mlflow
import pandas as pd

MODEL = os.environ.get("MODEL", "fraud")


def main(source: str) -> pd.DataFrame:
    """Probabilities, a column per class."""
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/Production")
    return model.predict(pd.read_parquet(source))


if __name__ == "__main__":
    main(*sys.argv[1:2]).to_csv(sys.stdout, index=False)
