"""The report's charts: the one door to plotly. Each is an element of the page; the library is in the page once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from selfheal.loop.events import Event
from selfheal.report.story import Cycle, Story

INK, SOFT, LINE = "#1c2430", "#667085", "#e4e7ec"
COLOURS = {"data": "#2563eb", "rules": "#9333ea"}
REALISED, ESTIMATED, ALARM = "#12805c", "#98a2b3", "#c4320a"
SHADES = {"unhealthy": "rgba(196,50,10,.10)", "fault": "rgba(217,119,6,.18)"}
MARKS = {
    "promoted": ("triangle-up", REALISED),
    "recalled": ("triangle-up", REALISED),
    "moved by hand": ("diamond", "#2563eb"),
    "rolled back": ("triangle-down", ALARM),
    "restored": ("triangle-down", ALARM),
    "froze": ("square", "#0891b2"),
    "unfroze": ("square-open", "#0891b2"),
    "asked": ("circle", "#d97706"),
    "answered": ("circle-open", "#d97706"),
}
"""Acts that are drawn, each with its mark and colour."""

TOP = 4.0
"""Times its bound at which a signal is drawn at the edge: how far beyond says little, and would flatten the rest."""

COLUMNS = 25
"""Of the columns the most unusual are drawn."""

FAR = 0.5
"""Distance from the reference at which a column's colour is full; from 0.1 on Evidently calls it drifted."""

_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def library() -> str:
    """The script that draws all charts."""
    return f"<script>{get_plotlyjs()}</script>"


def course(story: Story) -> str:
    """What served, the signals against their bounds, accuracy and rows, one above the other over the same time."""
    cycles = story.cycles
    accuracy = any(realised(c) is not None or _estimated(c) is not None for c in cycles)
    titles = ["Version in Production", "Signals, as multiples of their bounds", "Accuracy", "Rows a window"]
    rows = [title for title in titles if accuracy or title != "Accuracy"]
    heights = [{"Version in Production": 0.2, "Rows a window": 0.14}.get(title, 0.33) for title in rows]
    figure = make_subplots(
        rows=len(rows), cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=heights, subplot_titles=rows
    )
    _draw(figure, 1, [*_versions(story), *_acts(story)])
    _draw(figure, 2, _signals(cycles))
    if accuracy:
        _draw(figure, 3, _accuracy(cycles))
    _draw(figure, len(rows), _rows(cycles))
    numbers = sorted({int(y) for trace in figure.data for y in trace.y if trace.yaxis == "y"})
    figure.update_yaxes(tickvals=numbers, ticktext=[f"v{n}" for n in numbers], row=1, col=1)
    figure.update_yaxes(range=[numbers[0] - 0.6, numbers[-1] + 0.6], row=1, col=1)
    figure.update_yaxes(range=[0, _top(cycles) * 1.05], row=2, col=1)
    figure.add_hline(y=1, line={"dash": "dash", "color": ALARM, "width": 1}, row=2, col=1)
    figure.update_yaxes(rangemode="tozero", row=len(rows), col=1)
    figure.update_layout(
        shapes=[*figure.layout.shapes, *_shaded(cycles)], barmode="stack", bargap=0.1, hovermode="x", height=760,
        legend={"orientation": "h", "y": -0.06, "font": {"size": 12}},
    )  # fmt: skip
    return _element(figure, "course")


def columns(cycles: Sequence[Cycle]) -> str:
    """How far each column lay from the reference, window by window, the most unusual on top; empty without any."""
    names = {key for c in cycles for key in c.get("drift", {}) if key.startswith("drift/")}
    most = {name: max(float(c["drift"].get(name) or 0) for c in cycles if c.get("drift")) for name in names}
    shown = sorted(names, key=lambda name: most[name])[-COLUMNS:]
    compared = [c for c in cycles if c.get("drift")]
    if not shown:
        return ""
    figure = go.Figure(go.Heatmap(
        x=[middle(c) for c in compared], y=[_short(name.removeprefix("drift/")) for name in shown],
        z=[[c["drift"].get(name) for c in compared] for name in shown], zmin=0, zmax=FAR, xgap=1, ygap=1,
        colorscale=[[0, "#f7f8fa"], [0.2, "#fde8d7"], [1, ALARM]],
        hovertemplate="%{y}<br>%{x}: %{z:.3g}<extra></extra>",
        colorbar={"title": "distance", "thickness": 12, "tickvals": [0, 0.1, FAR], "ticktext": ["0", ".1", f"{FAR}+"]},
    ))  # fmt: skip
    figure.update_layout(height=110 + 22 * len(shown))
    return _element(figure, "columns")


def gains(judged: Sequence[tuple[str, float, float]]) -> str:
    """Accuracy of labelled rows under the one version and under the other, a line for each decision.

    Parameters
    ----------
    judged : (words, without, with), the newest first.
    """
    figure = go.Figure()
    names = [_short(words, 60) for words, _, _ in judged]
    for name, (_, before, after) in zip(names, judged, strict=True):
        colour = REALISED if after >= before else ALARM
        line = {"color": colour, "width": 4}
        figure.add_scatter(
            x=[before, after], y=[name, name], mode="lines", line=line, showlegend=False, hoverinfo="skip"
        )
    for place, (label, colour) in enumerate(
        (("as it was", ESTIMATED), ("with the version that was made", REALISED)), start=1
    ):
        figure.add_scatter(
            x=[each[place] for each in judged], y=names, mode="markers", name=label,
            marker={"size": 13, "color": colour}, hovertemplate="%{x:.3f}<extra>" + label + "</extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="accuracy of labelled rows", tickformat=".2f")
    figure.update_layout(height=150 + 34 * len(judged), legend={"orientation": "h", "y": 1.15})
    return _element(figure, "gains")


# ---------------------------------------------------------------------- the parts of the course


def _versions(story: Story) -> Iterator[Any]:
    """What answered each window, and after the last what serves now."""
    served = [c for c in story.cycles if c.get("version") is not None]
    xs = [side for c in served for side in (c["start"], c["end"])]
    ys = [c["version"] for c in served for _ in range(2)]
    yield go.Scatter(
        x=[*xs, story.cycles[-1]["end"]], y=[*ys, story.state["production"]["version"]], mode="lines", name="serves",
        line={"color": INK, "width": 3}, hovertemplate="v%{y}<extra></extra>", showlegend=False,
    )  # fmt: skip


def _acts(story: Story) -> Iterator[Any]:
    """A mark for each act, at the version that served after it."""
    for what, (symbol, colour) in MARKS.items():
        acts = [e for e in story.acts() if e.what.split(",")[0] == what and e.outcome == "done"]
        placed = [(at, e) for e in acts if (at := story.moment(e)) is not None]
        if placed:
            yield go.Scatter(
                x=[at for at, _ in placed], y=[_height(story, at, e) for at, e in placed], mode="markers", name=what,
                marker={"symbol": symbol, "size": 12, "color": colour}, text=[_words(e) for _, e in placed],
                hovertemplate="%{text}<extra></extra>",
            )  # fmt: skip


def _height(story: Story, at: datetime, event: Event) -> int:
    if event.to is not None:
        return event.to
    served = [c["version"] for c in story.cycles if datetime.fromisoformat(c["start"]) <= at and c.get("version")]
    return int(served[-1]) if served else 1


def _words(event: Event) -> str:
    moved = f" v{event.from_} → v{event.to}" if event.to is not None and event.from_ != event.to else ""
    return f"<b>{_short(event.what)}{moved}</b> by {_short(event.who or '-')}<br>{_short(event.why, 110)}"


def _signals(cycles: Sequence[Cycle]) -> Iterator[Any]:
    for name in dict.fromkeys(s["name"] for c in cycles for s in c.get("signals", ())):
        signals = [(c, s) for c in cycles for s in c.get("signals", ()) if s["name"] == name and _times(s) is not None]
        times = [_times(s) or 0.0 for _, s in signals]
        colour = COLOURS.get(name, INK)
        loud = [s["alarm"] for _, s in signals]
        yield go.Scatter(
            x=[middle(c) for c, _ in signals], y=[min(t, TOP) for t in times],
            mode="lines+markers", name=f"{name} signal",
            line={"color": colour, "width": 2},
            customdata=[[t, s["value"], s["bound"]] for t, (_, s) in zip(times, signals, strict=True)],
            marker={"size": [9 if a else 5 for a in loud], "color": [ALARM if a else colour for a in loud]},
            hovertemplate="%{customdata[0]:.2g} × its bound (%{customdata[1]:.3g}, bound %{customdata[2]:.3g})",
        )  # fmt: skip


def _times(signal: Mapping[str, Any]) -> float | None:
    if signal["value"] is None or not signal["bound"]:
        return None
    return float(signal["value"] / signal["bound"])


def _top(cycles: Sequence[Cycle]) -> float:
    values = [_times(s) or 0.0 for c in cycles for s in c.get("signals", ())]
    return min(TOP, max([1.5, *values]))


def _accuracy(cycles: Sequence[Cycle]) -> Iterator[Any]:
    """What was expected without labels, with its interval, and what labels said since."""
    expected = [(middle(c), estimate) for c in cycles if (estimate := _estimated(c)) is not None]
    if expected:
        ends = [end for end, _ in expected]
        yield go.Scatter(
            x=[*ends, *reversed(ends)], y=[*(e[2] for _, e in expected), *(e[1] for _, e in reversed(expected))],
            mode="lines", fill="toself", fillcolor="rgba(152,162,179,.22)", line={"width": 0}, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
        yield go.Scatter(
            x=ends, y=[e[0] for _, e in expected], mode="lines+markers", name="accuracy estimated without labels",
            line={"color": ESTIMATED, "dash": "dot"}, hovertemplate="estimated %{y:.3f}<extra></extra>",
        )  # fmt: skip
    known = [(c, estimate) for c in cycles if (estimate := realised(c)) is not None]
    if known:
        yield go.Scatter(
        x=[middle(c) for c, _ in known], y=[estimate[0] for _, estimate in known], mode="lines+markers",
        name="accuracy by labels", line={"color": REALISED, "width": 2}, text=[estimate[1] for _, estimate in known],
        hovertemplate="%{y:.3f} on %{text} labels<extra></extra>",
    )  # fmt: skip


def _estimated(cycle: Cycle) -> Sequence[float] | None:
    accuracy = (cycle.get("estimate") or {}).get("accuracy")
    return None if accuracy is None else list(map(float, accuracy))


def realised(cycle: Cycle) -> tuple[float, int] | None:
    """What labels say of a window: those that came since, else those that were there when it was looked at."""
    labels = cycle.get("realised") or cycle
    return None if labels.get("accuracy") is None else (float(labels["accuracy"]), int(labels["labelled"]))


def _rows(cycles: Sequence[Cycle]) -> Iterator[Any]:
    refused, dropped = ([sum(r["rows"] for r in c.get(of, ())) for c in cycles] for of in ("refused", "dropped"))
    late = [int((c.get("revision") or {}).get("late", 0)) for c in cycles]
    kinds = [
        ("rows", [c["rows"] for c in cycles], "#98a2b3"), ("late", late, "#d97706"), ("dropped", dropped, "#7c3aed"),
        ("refused", refused, ALARM),
    ]  # fmt: skip
    for name, counts, colour in kinds:
        if name == "rows" or any(counts):
            yield go.Bar(
                x=[middle(c) for c in cycles], y=counts, name=name, marker={"color": colour}, showlegend=name != "rows"
            )


def _shaded(cycles: Sequence[Cycle]) -> Iterator[dict[str, Any]]:
    """A band behind all rows for windows that are not healthy; another colour where the data are at fault."""
    for kind, group in groupby(cycles, lambda c: "fault" if c.get("data_fault") else c.get("health", "")):
        run = list(group)
        if kind in SHADES:
            yield {
                "type": "rect", "xref": "x", "yref": "paper", "x0": run[0]["start"], "x1": run[-1]["end"], "y0": 0,
                "y1": 1, "fillcolor": SHADES[kind], "line": {"width": 0}, "layer": "below",
            }  # fmt: skip


def _draw(figure: Any, row: int, traces: Iterator[Any] | Sequence[Any]) -> None:
    for trace in traces:
        figure.add_trace(trace, row=row, col=1)


def middle(cycle: Cycle) -> datetime:
    """Where a window's figures are drawn."""
    start, end = (datetime.fromisoformat(cycle[side]) for side in ("start", "end"))
    return start + (end - start) / 2


def _short(text: str, size: int = 40) -> str:
    """Names and reasons may come from traffic; plotly takes some tags for markup."""
    flat = " ".join(text.split())
    return escape(flat if len(flat) <= size else f"{flat[: size - 1]}…")


def _element(figure: Any, name: str) -> str:
    figure.update_layout(
        template="plotly_white", margin={"l": 60, "r": 20, "t": 40, "b": 40},
        font={"family": "system-ui, sans-serif", "color": INK},
        paper_bgcolor="white", plot_bgcolor="rgba(0,0,0,0)", modebar={"bgcolor": "rgba(0,0,0,0)", "color": LINE},
    )  # fmt: skip
    figure.update_annotations(font={"size": 14}, x=0, xanchor="left")
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG))
