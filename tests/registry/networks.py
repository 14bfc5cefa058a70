"""Networks as people write them, each made for the width of its input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Parts = dict[str, Any]
"""Arguments of MonitoredModel."""


def two(width: int) -> Parts:
    return {"backbone": nn.Sequential(nn.Linear(width, 12), nn.ReLU()), "head": nn.Linear(12, 2)}


def one_output(width: int) -> Parts:
    return {"backbone": nn.Sequential(nn.Linear(width, 12), nn.Tanh()), "head": nn.Linear(12, 1)}


def sequential(*last: nn.Module, outputs: int = 2) -> Callable[[int], Parts]:
    def made(width: int) -> Parts:
        layers = [nn.Linear(width, 12), nn.ReLU(), nn.Linear(12, outputs), *last]
        return {"module": nn.Sequential(*layers), "head": -1}

    return made


class Classifier(nn.Module):
    """A body, and a head that is called last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3))
        self.classifier = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.body(x))
        return found


class Residual(Classifier):
    """Blocks that add to what they are given."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 12), nn.GELU()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        for block in self.blocks:
            h = h + block(h)
        found: Tensor = self.classifier(h)
        return found


class Embedded(nn.Module):
    """Codes in the first two columns, numbers behind them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cities, self.plans = nn.Embedding(5, 4), nn.Embedding(4, 2)
        self.mlp = nn.Sequential(nn.Linear(width - 2 + 6, 12), nn.SiLU())
        self.out = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        codes = x[:, :2].long() + 1  # -1 is an unknown city
        joined = torch.cat([self.cities(codes[:, 0]), self.plans(codes[:, 1]), x[:, 2:]], dim=1)
        found: Tensor = self.out(self.mlp(joined))
        return found


class Attention(nn.Module):
    """A token a column, attention over the columns, the mean of the tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(width, 8)), nn.Parameter(torch.zeros(width, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.weight + self.bias
        found: Tensor = self.head(self.block(tokens).mean(dim=1))
        return found


class Convolution(nn.Module):
    """A row as a signal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv1d(1, 6, 3, padding=1), nn.AdaptiveAvgPool1d(2)
        self.fc = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.conv(x.unsqueeze(1)))
        found: Tensor = self.fc(self.pool(h).flatten(1))
        return found


class Filling(Classifier):
    """Fills gaps by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.nan_to_num(x, nan=-1.0))


class SoftmaxInside(Classifier):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(super().forward(x), dim=1)


class Skip(Classifier):
    """Adds the input to what the head gives."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[:, :2]


class Joined(nn.Module):
    """The same, all of it in the head: the hidden state carries the input along."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Linear(width, 12)
        self.head = SumOfTwo(width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.cat([torch.relu(self.body(x)), x], dim=1))
        return found


class SumOfTwo(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 2)
        self.width = width

    def forward(self, h: Tensor) -> Tensor:
        found: Tensor = self.linear(h[:, :12]) + h[:, 12:14]
        return found


class Recurrent(nn.Module):
    """A row as a series."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x.unsqueeze(-1))
        found: Tensor = self.fc(states[:, -1])
        return found


class Tabular(nn.Module):
    """As fastai has it: embeddings and numbers joined, BatchNorm and Dropout before each layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(5, 3), nn.Embedding(4, 2)])
        self.emb_drop, self.bn_cont = nn.Dropout(0.1), nn.BatchNorm1d(width - 2)
        block = [nn.Linear(width + 3, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.2)]
        self.layers = nn.Sequential(*block, nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        codes = x[:, :2].long() + 1  # -1 is an unknown city
        joined = torch.cat([one(codes[:, place]) for place, one in enumerate(self.embeds)], dim=1)
        found: Tensor = self.layers(torch.cat([self.emb_drop(joined), self.bn_cont(x[:, 2:])], dim=1))
        return found


class Drawing(Classifier):
    """Dropout that stays on."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classifier(nn.functional.dropout(self.body(x), 0.3, training=True))
        return found


class Squeezed(nn.Module):
    """One output, without its dimension: of one row, without the rows' too."""

    def __init__(self, width: int, dimension: int | None = None) -> None:
        super().__init__()
        self.body, self.out, self.dimension = nn.Linear(width, 12), nn.Linear(12, 1), dimension

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.relu(self.body(x)))
        return found.squeeze() if self.dimension is None else found.squeeze(self.dimension)


class Committee(nn.Module):
    """The mean of several networks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(Classifier(width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


class OneHead(Committee):
    """The same: their bodies side by side, and a head that takes the mean."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.head = MeanOf(nn.ModuleList(member.classifier for member in self.members))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.cat([member.body(x) for member in self.members], dim=1))
        return found


class MeanOf(nn.Module):
    def __init__(self, parts: nn.ModuleList) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, h: Tensor) -> Tensor:
        return torch.stack([part(h[:, 12 * k : 12 * k + 12]) for k, part in enumerate(self.parts)]).mean(dim=0)


class TwoInputs(nn.Module):
    """As tabular libraries write them: codes and numbers apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.codes, self.numbers = nn.Embedding(4, 4), nn.Linear(width - 1, 8)
        self.out = nn.Linear(12, 2)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        found: Tensor = self.out(torch.cat([self.codes(codes), torch.relu(self.numbers(numbers))], dim=1))
        return found


class Apart(nn.Module):
    """fastai's TabularModel: embeddings of codes, BatchNorm of numbers, then blocks of layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(4, 3), nn.Embedding(3, 2)])
        self.emb_drop, self.bn_cont = nn.Dropout(0.1), nn.BatchNorm1d(width - 2)
        block = [nn.Linear(width + 3, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.2)]
        self.layers = nn.Sequential(*block, nn.Linear(16, 2))

    def forward(self, x_cat: Tensor, x_cont: Tensor) -> Tensor:
        joined = torch.cat([one(x_cat[:, place]) for place, one in enumerate(self.embeds)], dim=1)
        found: Tensor = self.layers(torch.cat([self.emb_drop(joined), self.bn_cont(x_cont)], dim=1))
        return found


class Tokens(nn.Module):
    """FT-Transformer: a token a column, numbers and codes, and one before them that the head reads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(width - 2, 8)), nn.Parameter(torch.zeros(width - 2, 8))
        self.categories = nn.ModuleList([nn.Embedding(3, 8), nn.Embedding(2, 8)])
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.1, "gelu", batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x_num: Tensor, x_cat: Tensor | None = None) -> Tensor:
        tokens = [self.first.expand(x_num.shape[0], 1, 8), x_num[:, :, None] * self.weight + self.bias]
        if x_cat is not None:
            tokens.append(torch.stack([one(x_cat[:, place]) for place, one in enumerate(self.categories)], dim=1))
        found: Tensor = self.head(self.block(torch.cat(tokens, dim=1))[:, 0])
        return found


class BySign(nn.Linear):
    """A branch on a value, which cannot be exported."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(self.weight.sum()) > 0 else -super().forward(x)


class ByWhere(nn.Linear):
    """The same with tensor operators."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.weight.sum() > 0, 1.0, -1.0) * super().forward(x)


def whole(kind: Callable[[int], nn.Module], head: Any = "classifier") -> Callable[[int], Parts]:
    return lambda width: {"module": kind(width), "head": head}


def batch_statistics(*, kept: bool) -> Callable[[int], Parts]:
    return lambda width: {
        "backbone": nn.Sequential(nn.BatchNorm1d(width, track_running_stats=kept), nn.Linear(width, 12), nn.ReLU()),
        "head": nn.Linear(12, 2),
    }


def in_64_bits(width: int) -> Parts:
    return {"module": Classifier(width).double(), "head": "classifier"}


def linear(width: int) -> Parts:
    return {"backbone": nn.Identity(), "head": nn.Linear(width, 2)}


def weight_norm(width: int) -> Parts:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(width, 12))
    return {"module": nn.Sequential(normed, nn.ReLU(), nn.Linear(12, 2)), "head": -1}


def scripted(width: int) -> Parts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return {"module": torch.jit.script(Classifier(width)), "head": "classifier"}
