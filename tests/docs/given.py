"""What the README takes as the reader's own: a trained network, its scaler, rows held out, a policy file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

POLICY = """\
model: fraud
target: is_fraud
rules:
  - {name: deep_v14, when: v14 < -1.5, vote: 1}
"""


def fraud_model(rules: Path) -> dict[str, Any]:
    """Names for the README's blocks: ``net``, ``scaler``, ``held_out``, ``tomorrow``; writes rules/fraud.yaml."""
    (rules / "fraud.yaml").write_text(POLICY)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    fraud = (rng.random(3000) < 0.15).astype(int)
    rows = pd.DataFrame({"amount": rng.lognormal(4, 1, 3000), "v14": rng.normal(-2.5 * fraud, 1)})
    scaler = StandardScaler().fit(rows)
    net = SimpleNamespace(
        body=torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU()), head=torch.nn.Linear(16, 1)
    )
    x, y = torch.tensor(scaler.transform(rows), dtype=torch.float32), torch.tensor(fraud, dtype=torch.float32)
    optimizer = torch.optim.AdamW([*net.body.parameters(), *net.head.parameters()], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net.head(net.body(x))[:, 0], y)
        loss.backward()
        optimizer.step()
    held_out = rows.assign(is_fraud=fraud)
    return {"net": net, "scaler": scaler, "held_out": held_out, "tomorrow": rows[:1000].copy()}
