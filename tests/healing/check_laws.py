"""What holds of every check of the gate, whoever wrote it. A law takes a check and what makes a candidate anew."""

from __future__ import annotations

import re
from collections.abc import Callable

from selfheal.healing import checks
from selfheal.healing.check import Candidate, Check
from tests.healing.candidates import RIGHT

Made = Callable[[], Candidate]


def it_speaks_against_a_candidate_and_never_for_it(check: Check, made: Made) -> None:
    """Promotion, recall and audit are not a check's to give."""
    refusal = check.ask(made())
    assert refusal is None or refusal.decision in ("keep", "refuse"), refusal


def what_is_right_it_leaves_alone(check: Check, made: Made) -> None:
    """A heal, a recalled version, a patch that labels prove."""
    if made in RIGHT.values():
        refusal = check.ask(made())
        assert refusal is None, refusal


def the_same_question_gets_the_same_answer(check: Check, made: Made) -> None:
    """Whoever was asked before: twice of one candidate, and of one that every other check has seen."""
    candidate = made()
    first = check.ask(made())
    for other in checks.every():
        if other.name != check.name:
            other.ask(candidate)
    assert first == check.ask(candidate) == check.ask(candidate)


def people_can_read_it(check: Check, made: Made) -> None:
    """One line: what was measured in words, then its value, then its bound."""
    refusal = check.ask(made())
    if refusal is not None:
        assert "\n" not in refusal.reason and len(re.findall("[a-z]{2,}", refusal.reason)) >= 3, refusal.reason
        assert len(re.findall(r"\d[\d.]*", refusal.reason)) >= 2, f"no value and bound: {refusal.reason}"


def nothing_is_changed(check: Check, made: Made) -> None:
    """Neither the rows and probabilities that it reads, nor the finding, nor the frozen model."""
    candidate = made()
    before = stored(candidate)
    check.ask(candidate)
    assert stored(candidate) == before
    candidate.case.model.check_unchanged()


def stored(candidate: Candidate) -> list[bytes | str]:
    """All that a check may read."""
    finding, evidence, case = candidate.finding, candidate.evidence, candidate.case
    arrays = (candidate.proba, candidate.labels, finding.teacher, evidence.truth, evidence.served, evidence.candidate)
    return [
        *(array.tobytes() for array in (case.raw.to_numpy(), case.served, *arrays) if array is not None),
        finding.adapter.digest if finding.adapter else "",
        f"{finding.decision} {finding.recall} {finding.reason} {case.model.policy}",
    ]


LAWS = (
    it_speaks_against_a_candidate_and_never_for_it, what_is_right_it_leaves_alone,
    the_same_question_gets_the_same_answer, people_can_read_it, nothing_is_changed,
)  # fmt: skip
