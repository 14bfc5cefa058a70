"""Hold the healer against what it answered: ``python -m tests.sample [WORD ...] [--exact] [--jobs N] [--record]``.

A fixed sample of the board is put to :func:`selfheal.heal`, and every answer compared with the one in board.jsonl.
Words choose cases by a part of their name. Answers are kept in build/prove, so that a run resumes; they count for this
source alone. Differences are printed and make the exit status 1, but for those that exceptions.yaml lists. ``--record``
writes board.jsonl anew, from a clean working tree only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> int:
    """One thread per process, set before numpy and torch are imported, here and in the processes that replay."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = "1"
    from tests.sample import replay

    return replay.main(__doc__ or "", words)


if __name__ == "__main__":
    sys.exit(main())
