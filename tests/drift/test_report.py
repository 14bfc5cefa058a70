"""The Evidently report: every trap that was measured has a test that would catch its return."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfheal.drift.report import bounded_sample, report
from selfheal.drift.report.columns import SCORE, plain
from selfheal.errors import InputError

NUMBERS = ["a", "b", "c"]


def rows(n: int, seed: int, **changed: object) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=NUMBERS)
    frame["shop"] = rng.choice(["north", "south", "web"], n, p=[0.5, 0.3, 0.2])
    frame["member"] = rng.random(n) < 0.3
    return frame.assign(**changed)


def test_equal_samples_do_not_drift_at_any_size() -> None:
    for n, m in ((1500, 365), (200, 60), (5000, 1000)):
        made = report(rows(n, 1), rows(m, 2))
        assert made.drifted == ()
        assert made.values["drift_share"] == 0
        assert set(made.thresholds) == {*NUMBERS, "shop", "member"}
        assert made.rows == (n, m)


def test_the_same_shift_is_found_below_and_above_a_thousand_reference_rows() -> None:
    for n in (900, 1100):
        window = rows(500, 2)
        window["b"] += 0.5
        window["shop"] = "web"
        made = report(rows(n, 1), window)
        assert set(made.drifted) == {"b", "shop"}
        assert made.values["drift/b"] == pytest.approx(0.5, abs=0.15)
        assert made.values["drift_share"] == pytest.approx(0.4)


def test_columns_that_cannot_be_compared_are_named_not_dropped_and_not_fatal() -> None:
    reference = rows(400, 1, gone=1.0, unknown=np.nan)
    window = rows(400, 2, unknown=1.0, a=np.nan)
    window.loc[:199, "b"] = np.nan
    window.loc[0, "c"] = np.inf
    window.loc[:39, "shop"] = None
    made = report(reference, window)
    assert made.skipped == {
        "gone": "missing from the window",
        "unknown": "no value in the reference",
        "a": "no value in the window",
    }
    assert made.values["missing/b"] == 0.5
    assert made.values["missing/shop"] == 0.1
    assert np.isfinite(made.values["drift/c"])
    assert made.values["drift/shop"] > 0.1, "missing categories are a category, not left out"


def test_a_column_of_tiny_scale_drifts_like_any_other() -> None:
    reference, window = rows(400, 1), rows(400, 2)
    for frame in (reference, window):
        frame["a"] *= 1e-8
    window["a"] += 1e-8
    made = report(reference, window)
    assert made.drifted == ("a",)
    assert made.values["drift/a"] == pytest.approx(1, abs=0.2)


def test_the_models_score_stands_beside_the_columns_and_is_not_one_of_them() -> None:
    rng = np.random.default_rng(0)
    made = report(rows(400, 1), rows(400, 2), scores=(rng.random(400), rng.random(400) ** 4))
    assert made.drifted == (SCORE,)
    assert made.values["drift_score"] > 1
    assert made.values["drift_share"] == 0


def test_the_sample_is_bounded_seeded_and_keeps_the_order() -> None:
    frame = rows(1000, 1)
    first, again, other = (bounded_sample(frame, 100, seed) for seed in (3, 3, 4))
    assert len(first) == 100
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    where = frame["a"].reset_index().set_index("a")["index"]
    assert where.loc[first["a"]].is_monotonic_increasing
    assert report(frame, rows(1000, 2), sample=100).rows == (100, 100)


@pytest.mark.parametrize("empty", ["reference", "window"])
def test_no_rows_are_refused_by_side(empty: str) -> None:
    frames = {"reference": rows(10, 1), "window": rows(10, 2)}
    frames[empty] = frames[empty].iloc[:0]
    with pytest.raises(InputError, match=f"the {empty} has 0 rows"):
        report(**frames)


def test_what_is_recorded_is_what_the_page_shows() -> None:
    """The numbers are computed without the page; Evidently's own report must say the same, gaps and all."""
    from selfheal.drift import report as ours

    metrics = ours._evidently()
    window = rows(300, 2)
    window.loc[:99, "shop"] = None
    window.loc[:9, "a"] = np.inf
    window.loc[10:29, "b"] = np.nan
    sides = rows(900, 1), window
    columns = [ours._column(name, *sides, None) for name in window.columns]
    shown = {
        metric["config"]["column"]: float(metric["value"])
        for metric in metrics.page(columns, (), {}).dict()["metrics"]
        if metric["config"]["type"].endswith("ValueDrift")
    }
    made = report(*sides)
    assert shown == {name: made.values[f"drift/{name}"] for name in window.columns}


def test_plain_text_cannot_become_markup_and_is_bounded() -> None:
    assert "<" not in plain("</script><script>alert(1)</script>")
    assert len(plain("x" * 500)) == 60


def test_the_page_stands_alone_and_traffic_cannot_script_it(tmp_path: Path) -> None:
    window = rows(300, 2)
    window.loc[:99, "shop"] = "</script><script>alert(1)</script>"
    assert report(rows(300, 1), window).html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "script>alert(1)" not in page
    assert 'src="http' not in page
    assert "Drift in column" in page


@pytest.mark.parametrize("odd", ["constant", "one row"])
def test_a_page_is_drawn_of_a_constant_column_and_of_one_row_without_a_warning(tmp_path: Path, odd: str) -> None:
    usual = rows(200, 1)
    window = usual.assign(**{usual.columns[0]: 7.0}) if odd == "constant" else usual.iloc[:1]
    assert report(usual, window).html(tmp_path / "page.html"), (
        "a warning is an error here, and the page is then not drawn"
    )


@pytest.mark.parametrize(("sides", "columns"), [("window", ["a", "b"]), ("reference", ["a", "b"]), ("both", ["a"])])
def test_a_column_too_fine_for_ten_bins_is_left_off_the_page_and_still_measured(
    tmp_path, caplog, columns, sides
) -> None:
    """Evidently draws ten bins of each side; numpy refuses them where the edges are the same number."""
    usual, window = (rows(200, seed)[columns] for seed in (1, 2))
    odd = {"a": 1e30}
    made = report(
        usual.assign(**odd) if sides != "window" else usual, window.assign(**odd) if sides != "reference" else window
    )
    assert ("a" in made.drifted, made.skipped) == (sides != "both", {})
    assert made.html(tmp_path / "page.html") and not caplog.records
    page = (tmp_path / "page.html").read_text()
    assert "not drawn: no 10 bins fit from 1e+30 to 1e+30" in page
    assert ("Drift in column 'b'" in page, "Drift in column 'a'" in page) == ("b" in columns, False)
