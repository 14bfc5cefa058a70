"""``selfheal demo``: two models break, heal, remember, learn from a rule, refuse and step back, on real parts."""

from __future__ import annotations

from pathlib import Path


def run(json_file: Path | None = None, keep: bool = False) -> int:
    """Play the demo; its exit status: 0 if every act went as it must, else 1.

    Parameters
    ----------
    json_file
        Where the report goes.
    keep
        Leave the home of an earlier demo in place and play in a new one beside it.
    """
    from selfheal.demo.play import play

    return play(json_file, keep)


__all__ = ["run"]
