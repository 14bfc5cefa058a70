"""Pages for MLflow's Artifacts tab: one self-contained file, readable without a network."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LONG = 32
_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;color:#1c2733;margin:24px;max-width:1200px}
h1{font-size:18px;margin:0 0 4px} p{color:#5a6775;margin:0 0 16px}
table{border-collapse:collapse;width:100%} th{text-align:left;font-weight:600;border-bottom:2px solid #c7d0d9}
th,td{padding:6px 10px 2px 0;vertical-align:top} tbody{border-bottom:1px solid #e6ebf0}
tr.more td{color:#5a6775;padding-bottom:6px}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap} th.n{text-align:right}
tbody.yes{background:#eefaf1} tbody.yes tr:first-child td:first-child{font-weight:600}
tbody.yes td:first-child{box-shadow:inset 3px 0 #2f9e5b;padding-left:8px}
"""


def table_page(frame: pd.DataFrame, title: str, note: str = "") -> str:
    """A table as a page: numbers to four significant digits and right-aligned, all text escaped.

    The pane of the Artifacts tab is narrow: columns of long text become a second line of their row.

    Parameters
    ----------
    frame
        Any frame; a boolean column ``chosen`` marks its rows and is not shown.
    """
    import pandas as pd

    chosen = frame["chosen"].fillna(False).astype(bool).tolist() if "chosen" in frame else [False] * len(frame)
    shown = frame.drop(columns="chosen", errors="ignore")
    wide = [c for c in shown.columns if shown[c].map(lambda v: len(v) if isinstance(v, str) else 0).max() > _LONG]
    short = shown.drop(columns=wide)
    numeric = [pd.api.types.is_numeric_dtype(short[c]) and short[c].dtype.kind != "b" for c in short.columns]
    head = _row("th", [str(c).replace("_", " ") for c in short.columns], numeric)
    body = "".join(
        f'<tbody class="{"yes" if mark else ""}">{_row("td", cells, numeric)}{_below(texts, len(numeric))}</tbody>'
        for cells, texts, mark in zip(_rows(short), _rows(shown[wide]), chosen, strict=True)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>"
        f"<table><thead>{head}</thead>{body}</table></body></html>"
    )


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(index=False, name=None)) if len(frame.columns) else [()] * len(frame)


def _row(tag: str, cells: Sequence[Any], numeric: list[bool]) -> str:
    made = (f"<{tag}{' class=n' if n else ''}>{_cell(c)}</{tag}>" for c, n in zip(cells, numeric, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def _below(texts: tuple[Any, ...], columns: int) -> str:
    said = [t for t in texts if isinstance(t, str) and t]
    return "".join(f'<tr class=more><td colspan="{columns}">{_cell(t)}</td></tr>' for t in said)


def _cell(value: Any) -> str:
    import pandas as pd

    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(str(value))
