"""A Polars job that scores a large file piece by piece: ``python polars_batch.py rows.parquet scored``."""

import os
import sys
from pathlib import Path

import polars as pl

import selfheal

MODEL = os.environ.get("MODEL", "fraud")
PIECE = 50_000


def main(source: str, folder: str) -> int:
    """Write ``part-*.parquet`` into ``folder``: what a policy's ``log: {from: scored}`` reads."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    rows = pl.scan_parquet(source)
    total = rows.select(pl.len()).collect().item()
    # log=False: the files are the log, see docs/logs.md
    with selfheal.follow(MODEL, log=False) as follower:
        for start in range(0, total, PIECE):
            piece = rows.slice(start, PIECE).collect()
            answer = follower.answer(piece)
            scored = [pl.Series(f"p_{c}", answer.probabilities[:, k]) for k, c in enumerate(follower.classes_)]
            ids = pl.Series("prediction_id", answer.prediction_ids)
            version = pl.lit(answer.version).alias("model_version")
            piece.with_columns(ids, *scored, version).write_parquet(Path(folder) / f"part-{start:010d}.parquet")
    return total


if __name__ == "__main__":
    main(*sys.argv[1:3])
