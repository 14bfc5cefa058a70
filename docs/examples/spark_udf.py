"""A Spark job, by MLflow alone: ``spark-submit spark_udf.py rows.parquet scored``.

What is in Production when the job begins scores all of its rows; nothing is logged. The workers need the packages that
the model's ``requirements.txt`` in MLflow names; ``env_manager="virtualenv"`` has MLflow install them there.
"""

import os
import sys

import mlflow
from pyspark.sql import DataFrame, SparkSession

MODEL = os.environ.get("MODEL", "fraud")


def score(spark: SparkSession, rows: DataFrame) -> DataFrame:
    """The rows, and a column ``scores`` that holds a probability for each class, by its name."""
    uri = f"models:/{MODEL}/Production"
    features = mlflow.models.get_model_info(uri).signature.inputs.input_names()
    predict = mlflow.pyfunc.spark_udf(spark, uri, env_manager="local")
    return rows.withColumn("scores", predict(*features))


def main(source: str, target: str) -> None:
    """Score a Parquet file, or a folder of them, into another."""
    spark = SparkSession.builder.appName(f"score {MODEL}").getOrCreate()
    score(spark, spark.read.parquet(source)).write.parquet(target)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:3])
