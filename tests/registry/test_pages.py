"""Tables for the Artifacts tab."""

from __future__ import annotations

import numpy as np
import pandas as pd

from selfheal.registry.pages import table_page


def test_every_text_is_escaped_and_every_number_readable() -> None:
    frame = pd.DataFrame(
        {
            "name": ["<script>alert(1)</script>", "prior"],
            "changed_share": [0.123456789, np.nan],
            "explained": [True, False],
            "reason": ["after the map the window looks like the healthy ones", None],
            "chosen": [True, False],
        }
    )
    page = table_page(frame, "Candidates & rivals", "a < b")
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "Candidates &amp; rivals" in page and "a &lt; b" in page
    assert "0.1235" in page and "–" in page
    assert "changed share" in page and "chosen" not in page
    assert page.count('class="yes"') == 1
    assert page.count("class=more") == 1
    assert "http" not in page


def test_an_empty_table_is_a_page() -> None:
    assert "<table>" in table_page(pd.DataFrame({"name": pd.Series(dtype=object)}), "none")
