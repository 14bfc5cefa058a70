"""A network of several inputs as a module of one: the columns of its rows handed out again, codes as whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EXACT = 2**24
"""Largest code, in size: beyond it 32-bit floats, in which rows come, skip whole numbers."""


@dataclass(frozen=True)
class Form:
    """How one input is given to the network.

    Attributes
    ----------
    name
        The argument of ``forward()``; its place where inputs are given in order.
    start, stop
        Its columns among the rows'.
    whole
        As int64.
    flat
        Its one column as [n] in place of [n, 1].
    """

    name: str
    start: int
    stop: int
    whole: bool = False
    flat: bool = False

    def of(self, rows: Tensor) -> Tensor:
        """The input, [n, columns] or [n], of rows [n, d_in]."""
        part = rows[:, self.start : self.stop]
        part = part.to(torch.int64) if self.whole else part
        return part[:, 0] if self.flat else part

    def __str__(self) -> str:
        shape = "[n]" if self.flat else f"[n, {self.stop - self.start}]"
        return f"{self.name} {'int64' if self.whole else 'float32'} {shape}"


class Several(nn.Module):
    """A network of several inputs, given the rows [n, d_in] that hold them side by side.

    Parameters
    ----------
    network
        What is called; shared, not copied.
    forms
        Its inputs.
    by_name
        Give them by keyword; else in their order.
    """

    def __init__(self, network: nn.Module, forms: Sequence[Form], *, by_name: bool) -> None:
        super().__init__()
        self.network = network
        self.forms = tuple(forms)
        self.by_name = by_name

    def forward(self, rows: Tensor) -> Tensor:
        """What the network makes of its inputs."""
        if self.by_name:
            out: Tensor = self.network(**{form.name: form.of(rows) for form in self.forms})
        else:
            out = self.network(*(form.of(rows) for form in self.forms))
        return out
