"""Pages for MLflow's Artifacts tab: one self-contained file, readable without a network."""

from __future__ import annotations

import html
import math
from typing import Any

import pandas as pd

_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;color:#1c2733;margin:24px;max-width:1200px}
h1{font-size:18px;margin:0 0 4px} p{color:#5a6775;margin:0 0 16px}
table{border-collapse:collapse;width:100%} th{text-align:left;font-weight:600;border-bottom:2px solid #c7d0d9}
th,td{padding:6px 10px;vertical-align:top} td{border-bottom:1px solid #e6ebf0}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap} th.n{text-align:right}
tr.yes td{background:#eefaf1}
"""


def table_page(frame: pd.DataFrame, title: str, note: str = "") -> str:
    """A table as a page: numbers to four significant digits and right-aligned, text wrapped, all of it escaped.

    Parameters
    ----------
    frame
        Any frame; a boolean column ``chosen`` marks its rows and is not shown.
    """
    chosen = frame["chosen"].fillna(False).astype(bool).tolist() if "chosen" in frame else [False] * len(frame)
    shown = frame.drop(columns="chosen", errors="ignore")
    numeric = [pd.api.types.is_numeric_dtype(shown[c]) and shown[c].dtype.kind != "b" for c in shown.columns]
    head = "".join(
        f'<th class="{"n" if n else ""}">{html.escape(str(c).replace("_", " "))}</th>'
        for c, n in zip(shown.columns, numeric, strict=True)
    )
    rows = "".join(
        f'<tr class="{"yes" if mark else ""}">'
        + "".join(f'<td class="{"n" if n else ""}">{_cell(v)}</td>' for v, n in zip(row, numeric, strict=True))
        + "</tr>"
        for row, mark in zip(shown.itertuples(index=False, name=None), chosen, strict=True)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></body></html>"
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(str(value))
