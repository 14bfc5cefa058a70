"""What only the owner of the data knows: did a column change its unit? One question, with the answers there are.

A moved instrument and a moved population may look the same to any test without labels. Its owner can say in a word
which of the two happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from selfheal.adapter import ColumnMap, column_map

Asks = Literal["", "fact", "labels", "approval"]

YES, NO, UNKNOWN = "yes", "no", "unknown"

QUESTIONS = 2
"""Facts that are asked of one change; after so many a ``no`` labels are asked for: who denies twice knows of no change
of units, and a third guess would cost more patience than the handful of labels that settle it."""


@dataclass(frozen=True)
class Fact:
    """An answered question: whether columns went through these maps (raw → model units).

    Attributes
    ----------
    columns
        What was asked.
    holds
        Whether it is so; None where who was asked does not know.
    question
        The question that it answers, if one was asked: facts of one question count as one.
    """

    columns: Mapping[str, ColumnMap]
    holds: bool | None
    question: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON record."""
        columns = {name: asdict(one) for name, one in self.columns.items()}
        return {"columns": columns, "holds": self.holds, "question": self.question}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Fact:
        """The inverse of :meth:`to_json`."""
        return cls(
            {name: column_map(entry) for name, entry in record["columns"].items()}, record["holds"], record["question"]
        )


@dataclass(frozen=True)
class Question:
    """One question to one who knows.

    Attributes
    ----------
    text
        In one line; empty where nothing is asked.
    asks
        ``"fact"``: of the owner of the data; ``"labels"``: of one who knows the truth of a few rows.
    options
        The answers there are; ``"unknown"`` is always one.
    answers
        What each answer says of the columns, for the next heal of this window; empty where labels are asked for.
    """

    text: str = ""
    asks: Asks = ""
    options: tuple[str, ...] = ()
    answers: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)


NOTHING = Question()
"""Nothing is asked."""


def about_units(columns: Mapping[str, ColumnMap], others: Mapping[str, Sequence[ColumnMap]], when: str) -> Question:
    """Whether columns changed as their maps say.

    Parameters
    ----------
    others
        Per column, conversions that the data cannot tell from the proposed one.
    when
        When they did, in words.
    """
    open_ = {column: maps for column, maps in others.items() if maps}
    if len(columns) == 1 and open_:
        (column, one), *_ = columns.items()
        named = {m.describe(): {column: m} for m in (one, *open_[column])}
        return _fact(f"How did `{column}` change {when}: {' or '.join(named)}?", columns, named)
    return _fact("; ".join(_asked(column, one, when) for column, one in columns.items()), columns, {YES: columns})


def _fact(text: str, columns: Mapping[str, ColumnMap], so: Mapping[str, Mapping[str, ColumnMap]]) -> Question:
    """A question of which each answer but ``no`` and ``unknown`` names the maps that hold."""
    answers: dict[str, tuple[Fact, ...]] = {words: (Fact(maps, True, text),) for words, maps in so.items()}
    answers |= {NO: tuple(Fact(maps, False, text) for maps in so.values()), UNKNOWN: (Fact(columns, None, text),)}
    return Question(text, "fact", tuple(answers), answers)


def _asked(column: str, one: ColumnMap, when: str) -> str:
    raw, arrow, model = one.words.partition(" → ")
    if arrow:
        return f"Did `{column}` change from {model} to {raw} {when}?"
    return f"Did `{column}` change {when}, so that {one.describe()} gives back what it was?"


def about_labels(classes: Sequence[object]) -> Question:
    """Which class a few rows are of."""
    text = "Of which class are the rows on which both versions disagree? A handful of labels decides"
    return Question(text, "labels", (*map(str, classes), UNKNOWN))


def about_rules(rules: Sequence[str], classes: Sequence[object]) -> Question:
    """Whether new rules are right: the classes of a few rows that they cover."""
    named = " and ".join(f"`{rule}`" for rule in rules)
    text = f"Of which class are the rows of {named}? Eight labels confirm or refute it"
    return Question(text, "labels", (*map(str, classes), UNKNOWN))


def next_question(asked: Question, facts: Sequence[Fact], classes: Sequence[object]) -> Question:
    """What is asked, given what was answered before: a fact its owner knows or does not know is not asked again.

    Parameters
    ----------
    asked
        What the finding would ask.
    """
    columns = {column for facts_ in asked.answers.values() for fact in facts_ for column in fact.columns}
    unknown = any(fact.holds is None and columns & fact.columns.keys() for fact in facts)
    denied = len({fact.question or id(fact) for fact in facts if fact.holds is False})
    pairs = {(column, one) for fact in facts if fact.holds for column, one in fact.columns.items()}
    known = any({*fact.columns.items()} <= pairs for facts_ in asked.answers.values() for fact in facts_ if fact.holds)
    if asked.asks != "fact" or unknown or known or denied >= QUESTIONS:
        return about_labels(classes)
    return asked
