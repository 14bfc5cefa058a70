"""The demo's two base models: small perceptrons with scikit-learn preprocessing, as a user would bring them.

Both keep back rows they were not trained on, cut by blocks of time, as the reference against which drift is judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from selfheal.demo import data
from selfheal.model import MonitoredModel

#: Rows in one block of time: a year of days, and the payments of 50 minutes.
YEAR = 365
PAYMENT_BLOCK = 1000
#: The rain model is trained on days of the first quarter of the file; every fourth year of it goes to the reference.
FIRST_QUARTER = 4540
#: The replayed stream starts sixteen years later; the nine years before it are reference too, so that it is not decades
#: old and holds the natural jumps of the station (from day 7,825 on it reports visibilities beyond 15 miles).
RAIN_STREAM_FROM = FIRST_QUARTER + 16 * YEAR
RAIN_REFERENCE_FROM = RAIN_STREAM_FROM - 9 * YEAR
FRAUD_HISTORY = 12 * PAYMENT_BLOCK
FRAUD_TRAINED = 8 * PAYMENT_BLOCK
_EPOCHS = 40
_BATCH = 256


def held_out(rows: pd.Index, block: int, every: int) -> np.ndarray:
    """Which rows lie in every ``every``-th block of ``block`` rows: bool [n].

    >>> held_out(pd.RangeIndex(6), block=2, every=3).tolist()
    [False, False, False, False, True, True]
    """
    return np.asarray(rows.to_numpy() // block % every == every - 1)


def rain_model(policy: Path | str | dict[str, Any]) -> MonitoredModel:
    """The rain forecaster: trained on nine of the first twelve years of weather, in °F.

    Its reference is the three years held out of these and the nine before the stream starts.
    """
    past = data.weather().iloc[:RAIN_STREAM_FROM].drop(columns="time")
    early = np.asarray(past.index < FIRST_QUARTER)
    kept = held_out(past.index, YEAR, 4)
    reference = past[(early & kept) | np.asarray(past.index >= RAIN_REFERENCE_FROM)]
    shape = _Shape(hidden=(32, 16), decay=0.1, seed=2)  # strong decay: nine years are few rows
    return _trained("rain", past[early & ~kept], reference, "target", StandardScaler(), policy, shape)


def fraud_model(policy: Path | str | dict[str, Any]) -> MonitoredModel:
    """The fraud model: trained on six of the first eight blocks of payments.

    Its reference is the two blocks held out of these and the four that follow; none holds the new pattern.
    """
    past = data.payments(FRAUD_HISTORY, seed=11)
    kept = held_out(past.index, PAYMENT_BLOCK, 4) | (past.index >= FRAUD_TRAINED)
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["amount", *data.COMPONENTS]),
            ("kinds", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["merchant_type"]),
        ]
    )
    shape = _Shape(hidden=(32, 32), decay=1e-3, seed=3)  # wide: what the model ignores now a heal may need
    return _trained("fraud", past[~kept], past[kept], "is_fraud", columns, policy, shape)


class _Shape(NamedTuple):
    """Widths of the two hidden layers, weight decay of the training, and its seed."""

    hidden: tuple[int, int]
    decay: float
    seed: int


def _trained(
    name: str,
    train: pd.DataFrame,
    reference: pd.DataFrame,
    target: str,
    preprocess: Any,
    policy: Path | str | dict[str, Any],
    shape: _Shape,
) -> MonitoredModel:
    inputs = torch.as_tensor(preprocess.fit_transform(train.drop(columns=target)), dtype=torch.float32)
    labels = torch.as_tensor(train[target].to_numpy(), dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(shape.seed)
        wide, last = shape.hidden
        backbone = nn.Sequential(nn.Linear(inputs.shape[1], wide), nn.ReLU(), nn.Linear(wide, last), nn.ReLU())
        head = nn.Linear(last, 1)
        _fit(nn.Sequential(backbone, head), inputs, labels, shape.decay)
    return MonitoredModel(
        backbone=backbone,
        head=head,
        reference=reference.reset_index(drop=True),
        target=target,
        preprocess=preprocess,
        policy=policy,
        name=name,
    )


def _fit(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, decay: float) -> None:
    """Binary cross-entropy, AdamW, learning rate falling to zero."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _EPOCHS)
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(inputs)).split(_BATCH):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(network(inputs[batch])[:, 0], labels[batch]).backward()
            optimiser.step()
        schedule.step()
