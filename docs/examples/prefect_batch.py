"""A Prefect flow that scores whatever lies in a folder: ``python prefect_batch.py inbox outbox``."""

import os
import sys
from pathlib import Path

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

import selfheal

MODEL = os.environ.get("MODEL", "fraud")


@task(cache_policy=NO_CACHE)
def score(source: Path, target: Path, follower: selfheal.Follower) -> int:
    """One file: its rows with a probability per class and the version that gave them."""
    rows = pd.read_parquet(source)
    answer = follower.answer(rows, ids=[f"{source.stem}-{k}" for k in range(len(rows))])
    names = [f"p_{label}" for label in follower.classes_]
    rows[names] = answer.probabilities
    rows.assign(model_version=answer.version).to_parquet(target)
    return len(rows)


@flow
def score_folder(inbox: str, outbox: str) -> int:
    """Every file of ``inbox`` that ``outbox`` has not; how many rows were scored."""
    scored = 0
    # wait: a job is faster than the log, and rather waits for it than loses rows of it.
    with selfheal.follow(MODEL, wait=True) as follower:
        for source in sorted(Path(inbox).glob("*.parquet")):
            target = Path(outbox) / source.name
            if not target.exists():
                scored += score(source, target, follower)
    return scored


if __name__ == "__main__":
    score_folder(*sys.argv[1:3])
