"""``python -m selfheal.registry.trusted KIND FOLDER``: open a network that can run code, once, and export it.

Started by :mod:`selfheal.registry.imported` without credentials in its environment. It is no sandbox: what it opens
may read files and use the network as this user may.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from selfheal.errors import InputError
from selfheal.parts.program import export_program


def main(kind: str, folder: str) -> int:
    """Read ``model`` and ``rows.npy`` in the folder, with ``code`` importable; write ``program.pt2``."""
    place = Path(folder)
    sys.path.insert(0, str(place / "code"))
    rows = torch.from_numpy(np.load(place / "rows.npy", allow_pickle=False))
    try:
        module = _script(place / "model", rows) if kind == "script" else _pickled(place / "model")
        program = export_program(module, rows)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    (place / "program.pt2").write_bytes(program)
    return 0


def _pickled(path: Path) -> nn.Module:
    module = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(module, nn.Module):
        raise InputError(f"it holds a {type(module).__name__}, no torch.nn.Module")
    return module.eval()


def _script(path: Path, rows: torch.Tensor) -> nn.Module:
    """TorchScript has no exporter; its operators are traced on rows, and compared on other numbers of rows after."""
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is deprecated, and its files are there
        module = torch.jit.load(str(path), map_location="cpu").eval()
        for parameter in module.parameters():
            parameter.requires_grad = False  # they become constants of the program, and those are frozen
        return make_fx(module)(rows[:3])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
