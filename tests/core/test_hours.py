"""Spans of the week: read, written, and whether a moment lies in one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfheal.errors import PolicyError
from selfheal.policy import Policy
from selfheal.policy.hours import DAY, DAYS, WEEK, Span, covering

MONDAY = datetime(2026, 5, 4, tzinfo=UTC)


def at(day: str, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=DAYS.index(day), hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Fri 18:00 - Mon 06:00", [("Fri", 18), ("Sun", 23), ("Mon", 0), ("Mon", 5)], [("Fri", 17), ("Mon", 6)]),
        ("Tue 09:00 - Tue 10:00", [("Tue", 9)], [("Tue", 10), ("Wed", 9), ("Tue", 8)]),
        ("Tue 10:00 - Tue 09:00", [("Tue", 10), ("Tue", 8), ("Sun", 0)], [("Tue", 9)]),
        ("Sat 00:00 - Sun 24:00", [("Sat", 0), ("Sun", 23)], [("Mon", 0), ("Fri", 23)]),
        ("22:00 - 06:00", [("Wed", 22), ("Thu", 5), ("Mon", 0)], [("Wed", 6), ("Sun", 21)]),
        ("Friday 18:00\N{EN DASH}mon 6:00", [("Fri", 18)], [("Mon", 6)]),
    ],
)
def test_a_moment_lies_in_a_span_or_not(text, inside, outside):
    span = Span.parse(text)
    assert all(covering([span], "UTC", at(*when)) == span for when in inside)
    assert not any(covering([span], "UTC", at(*when)) for when in outside)
    assert Span.parse(str(span)) == span


def test_the_clock_is_the_one_on_that_wall_in_summer_and_winter():
    span = Span.parse("Fri 18:00 - Mon 06:00")
    for day, hours in ((datetime(2026, 1, 2, tzinfo=UTC), 17), (datetime(2026, 7, 3, tzinfo=UTC), 16)):
        opens = day + timedelta(hours=hours)
        assert covering([span], "Europe/Berlin", opens) and not covering([span], "UTC", opens)
        assert not covering([span], "Europe/Berlin", opens - timedelta(minutes=1))


@given(st.integers(0, WEEK - 1), st.integers(0, WEEK - 1), st.integers(0, WEEK - 1))
def test_a_span_and_what_it_leaves_out_cover_the_week_once(start, end, minute):
    if start != end:
        assert (minute in Span(start, end, False)) != (minute in Span(end, start, False))
        assert Span.parse(str(Span(start, end, False))) == Span(start, end, False)
    if start % DAY != end % DAY:
        assert (minute in Span(start % DAY, end % DAY, True)) != (minute in Span(end % DAY, start % DAY, True))


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ({"not_during": ["weekend"]}, "'weekend' is no span; write Fri 18:00 - Mon 06:00"),
        ({"not_during": ["Fri 18:00 - 06:00"]}, "is no span"),
        ({"not_during": ["Fry 18:00 - Mon 06:00"]}, "'Fry' is no day; did you mean 'Fri'"),
        ({"not_during": ["Fri 25:00 - Mon 06:00"]}, "25:00 is no time of day"),
        ({"not_during": ["Fri 18:00 - Fri 18:00"]}, "begins where it ends"),
        ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"budget": {"promotions": 0, "per": "1d"}}, "at least 1 (got 0)"),
        ({"budget": {"promotions": 1, "per": "0s"}}, "per is no time"),
        (
            {"budget": {"promotion": 1, "per": "1d"}},
            "'release.budget.promotion'; did you mean 'promotions'",
        ),
    ],
)
def test_a_fault_is_named(release, says):
    with pytest.raises(PolicyError) as caught:
        Policy.load({"release": release})
    assert says in str(caught.value)


def test_a_policy_with_a_budget_and_hours_comes_back_equal(tmp_path):
    release = {"budget": {"promotions": 3, "per": "1d"}, "not_during": ["Fri 18:00 - Mon 06:00", "22:00 - 06:00"]}
    policy = Policy.load({"release": {**release, "timezone": "Europe/Berlin"}})
    (tmp_path / "again.yaml").write_text(policy.to_yaml())
    again = Policy.load(tmp_path / "again.yaml")
    assert again == policy and again.digest == policy.digest
    assert list(map(str, again.release.not_during)) == release["not_during"]
