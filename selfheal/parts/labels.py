"""Which class a label means: the same answer through every door, however the label is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TRUE, FALSE = ("true", "t", "yes", "y"), ("false", "f", "no", "n")
"""Words for truth, in lower case."""


class Spelling:
    """The ways in which the classes of a model may be written.

    A number or a truth value is the class of that value; a text is the class of that name, be it in other letters where
    no two classes differ in these alone, or of the number that it is. Where the classes are 0 and 1, or two words for
    truth, words for truth name them too. Anything else names none.

    Parameters
    ----------
    classes
        The class labels in their order.

    Examples
    --------
    >>> [Spelling([0, 1]).position(label) for label in (1, True, 1.0, "1", "1.0", "true", " Yes ", "maybe", 2, None)]
    [1, 1, 1, 1, 1, 1, 1, None, None, None]
    >>> [Spelling(["dry", "Rain"]).position(label) for label in ("Rain", "rain", "DRY", 1, "snow")]
    [1, 1, 0, None, None]
    """

    def __init__(self, classes: Iterable[Any]) -> None:
        plain = [_plain(label) for label in classes]
        self._names = {str(label): code for code, label in enumerate(plain)}
        self._folded = _single((str(label).strip().casefold(), code) for code, label in enumerate(plain))
        self._numbers = _single((_number(label), code) for code, label in enumerate(plain))
        truths = {_truth(label): code for code, label in enumerate(plain)}
        self._truths = truths if len(plain) == len(truths) and None not in truths else {}

    def position(self, label: Any) -> int | None:
        """The position of the class that a label names, or None."""
        label = _plain(label)
        if isinstance(label, str):
            code = self._names.get(label)
            code = self._folded.get(label.strip().casefold()) if code is None else code
        elif not isinstance(label, bool | int | float):
            return None
        else:
            code = None
        if code is None:
            code = self._numbers.get(_number(label))
        return self._truths.get(_truth(label)) if code is None else code


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label


def _number(label: Any) -> float | None:
    """The number that a label is, or that its text is; None for none, and for what no double holds."""
    try:
        return float(label) if isinstance(label, bool | int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _truth(label: Any) -> bool | None:
    word = label.strip().casefold() if isinstance(label, str) else ""
    if word in (*TRUE, *FALSE):
        return word in TRUE
    number = _number(label)
    return bool(number) if number in (0.0, 1.0) else None


def _single(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    """Each key's code, without keys that several have and without None."""
    by_key: dict[Any, list[int]] = {}
    for key, code in pairs:
        by_key.setdefault(key, []).append(code)
    return {key: codes[0] for key, codes in by_key.items() if len(codes) == 1 and key is not None}
