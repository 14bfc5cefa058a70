"""The report as one HTML file: no network, no font, nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from selfheal.loop.events import when
from selfheal.loop.judgement import counted, score
from selfheal.loop.questions import OpenQuestion
from selfheal.report import charts
from selfheal.report.story import Cycle, Story

ACTS = 40
"""Acts in the table at the end; selfheal history has all."""

FAULTS = 20
"""Windows with a fault in the data that are told."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""The browser is told that this page may fetch nothing, whoever wrote what is in it."""

STYLE = """
:root { --ink: #1c2430; --soft: #667085; --line: #e4e7ec; --card: #f7f8fa; --good: #12805c; --bad: #c4320a;
  --ask: #b45309; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 32px 24px 64px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 40px 0 6px; } h3 { font-size: 16px; margin: 0 0 4px; }
p { max-width: 80ch; margin: 6px 0; } .soft { color: var(--soft); } .good { color: var(--good); }
.bad { color: var(--bad); }
.state { display: inline-block; padding: 1px 10px; border-radius: 12px; color: #fff; font-size: 14px;
  vertical-align: 4px; margin-left: 8px; background: var(--good); } .state.bad { background: var(--bad); color: #fff; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px;
  min-width: 150px; flex: 1; }
.card b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; } .card small { color: var(--soft); }
.box { border: 1px solid var(--line); border-left: 4px solid var(--soft); border-radius: 6px; padding: 12px 16px;
  margin: 12px 0; break-inside: avoid; }
.box.good { border-left-color: var(--good); } .box.bad { border-left-color: var(--bad); }
.box.ask { border-left-color: var(--ask); } .box { color: var(--ink); }
code { background: var(--card); padding: 1px 5px; border-radius: 4px; font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; } td, th { text-align: left; padding: 4px 10px 4px 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } th { color: var(--soft); font-weight: 500; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td:not(:last-child), th { white-space: nowrap; }
ul { margin: 4px 0; padding-left: 20px; } details { margin-top: 6px; } summary { cursor: pointer; color: var(--soft); }
img { max-width: 100%; margin-top: 8px; border: 1px solid var(--line); border-radius: 6px; }
@media print { details { display: none; } body { max-width: none; padding: 0; } }
"""

DONE = {
    "promote": ("undone, by version {version}, which was promoted", "good"),
    "recall": ("known: version {version}, which fitted it before, was recalled", "good"),
    "audit": ("version {version} waits for somebody to decide", "ask"),
    "keep": ("left as it was", ""),
    "refuse": ("refused: nothing was changed", "bad"),
    "failed": ("the heal failed: {failure}", "bad"),
}


def written(story: Story) -> str:
    """The whole page as text."""
    parts = [
        _head(story), _ills(story), _asked(story.question, story.asked), _course(story), _score(story), _heals(story),
        _columns(story), _segments(story), _faults(story), _history(story), _foot(story),
    ]  # fmt: skip
    title = f"{escape(story.name)}: selfheal"
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE}</style>{charts.library()}</head><body>{''.join(parts)}</body></html>\n"
    )


def _head(story: Story) -> str:
    state, production = story.state, story.state["production"]
    word, tone = ("healthy", "") if state["healthy"] else ("needs a look", " bad")
    since = f", since {_minute(production['since'])}" if production.get("since") else ""
    frozen = state["frozen"]
    ends = f" until {_minute(frozen['until'])}" if frozen and frozen["until"] else ""
    first, last = (story.cycles[0]["start"], story.cycles[-1]["end"]) if story.cycles else ("", "")
    why = _flat(production.get("why") or "it was adopted", 240)
    lines = [
        f"Version {production['version']} serves{since}, by {production['settled_by'] or 'adoption'}: {why}",
        f"Frozen by {frozen['by']} since {_minute(frozen['since'])}{ends}: {frozen['why']}" if frozen else "",
        f"Windows {_minute(first)} to {_minute(last)} UTC" if first else "",
    ]
    notes = "".join(f"<p class='soft'>{escape(line)}</p>" for line in lines if line)
    return f"<h1>{escape(story.name)}<span class='state{tone}'>{word}</span></h1>{notes}{_cards(story)}"


def _cards(story: Story) -> str:
    cycles = story.cycles
    acts = [event for event in story.acts() if event.outcome == "done"]
    whats = [event.what.split(",")[0] for event in acts]
    known = [realised for c in cycles if (realised := charts.realised(c)) is not None]
    labelled = sum(count for _, count in known)
    accuracy = f"{sum(right * count for right, count in known) / labelled:.3f}" if labelled else "–"
    healthy = sum(c.get("health") in ("healthy", "cleared") for c in cycles)
    looked = sum(c["decision"] != "too_few" for c in cycles)
    cards = [
        ("windows healthy", f"{healthy} of {looked}", f"{sum(c['rows'] for c in cycles):,} rows"),
        ("accuracy by labels", accuracy, f"{labelled:,} labels" if labelled else "no labels have come"),
        ("heals", str(len([c for c in cycles if c.get("heal")])), "that were tried"),
        ("promoted or recalled", str(whats.count("promoted") + whats.count("recalled")), "by the loop or a person"),
        ("rolled back", str(whats.count("rolled back")), ""),
    ]
    made = (f"<div class='card'><span class='soft'>{n}</span><b>{v}</b><small>{s}</small></div>" for n, v, s in cards)
    return f"<div class='cards'>{''.join(made)}</div>"


def _ills(story: Story) -> str:
    ills = [*story.state["health"], *([f"MLflow: {story.state['mlflow']}"] if story.state["mlflow"] else [])]
    return f"<div class='box bad'><h3>What needs a look</h3>{_list(dict.fromkeys(ills))}</div>" if ills else ""


def _asked(question: OpenQuestion | None, drawing: str) -> str:
    if question is None:
        return ""
    head = _row("th", ["column", "", "5 %", "median", "95 %"], numeric=2)
    rows = [
        _row("td", [column if place == 0 else "", moment, *(f"{q:.4g}" for q in quantiles)], numeric=2)
        for column, extents in question.evidence.items()
        for place, (moment, quantiles) in enumerate(extents.items())
    ]
    return (
        f"<div class='box ask'><h3>A question waits</h3><p>{escape(question.text)}</p>"
        f"<table>{head}{''.join(rows)}</table>{_picture(drawing)}"
        f"<p>Answer it: <code>{escape(question.command)}</code></p></div>"
    )


def _course(story: Story) -> str:
    if not story.cycles:
        return "<h2>What happened</h2><p>No window was handled yet: nothing has closed, or no monitor has run.</p>"
    return (
        "<h2>What happened</h2><p class='soft'>Left to right is the time of the data. Red bands: windows that were not "
        "healthy; amber: the data were at fault. Above the dashed line a signal alarms.</p>" + charts.course(story)
    )


def _score(story: Story) -> str:
    """What labels said later of what was decided."""
    lines = counted(score(story.cycles))
    if not lines:
        none = "No decision was judged yet: that takes labels of the windows after it."
        return f"<h2>Was it right?</h2><p class='soft'>{none}</p>"
    judged = [
        (f"window {c['index']}: {j['diagnosis']} → {j['decision']}", j["without"], j["with"])
        for c in reversed(story.cycles)
        if (j := c.get("judged")) and j.get("with") is not None
    ]
    picture = charts.gains(judged) if judged else ""
    return f"<h2>Was it right?</h2>{_list(lines)}{picture}"


def _heals(story: Story) -> str:
    if not story.heals:
        return ""
    made = "".join(_heal(cycle, drawing, story.released()) for cycle, drawing in story.heals)
    return (
        "<h2>Heals</h2><p class='soft'>Newest first. In the drawings grey is how healthy rows lay, red how these came, "
        f"blue how the healed model sees them.</p>{made}"
    )


def _heal(cycle: Cycle, drawing: str, released: Container[int]) -> str:
    heal = cycle["heal"]
    words, tone = DONE[heal["decision"]]
    if heal["decision"] in ("promote", "recall", "audit") and not heal["promoted"] and heal["version"] in released:
        words, tone = "undone, by version {version}, which went to Production later", "good"
    elif heal["decision"] in ("promote", "recall") and not heal["promoted"]:
        words, tone = f"version {{version}} waits: {heal['note']}", "ask"
    if heal["version"] is None and heal["decision"] in ("promote", "recall", "audit"):
        words, tone = heal["note"] or "nothing was registered", ""
    title = f"Window {cycle['index']}, {_minute(cycle['start'])}: {heal['diagnosis'] or 'no diagnosis'}"
    said = words.format(version=heal["version"], failure=heal["failure"])
    what = f"{said}{'. ' if heal['words'] else ''}{'; '.join(heal['words'])}"
    judged = cycle.get("judged")
    parts = [
        f"<h3>{escape(title.replace('_', ' '))}</h3>", f"<p><b>{escape(_flat(what, 400))}</b></p>",
        f"<p class='soft'>What broke: {escape(_flat('; '.join(cycle['reasons'][:2]), 300))}</p>",
        f"<p>{escape(verdict(judged))}</p>" if judged else "",
        f"<details><summary>Why</summary>{_list([*heal['reasons'], heal['failure'], heal['note']])}</details>",
        _candidates(heal["candidates"]),
    ]  # fmt: skip
    parts.append(_picture(drawing))
    return f"<div class='box {tone}'>{''.join(parts)}</div>"


def _picture(drawing: str) -> str:
    """A drawing as an image: whatever is in it, no script of it runs."""
    data = base64.b64encode(drawing.encode()).decode()
    return f"<img alt='columns before and after' src='data:image/svg+xml;base64,{data}'>" if drawing else ""


def verdict(judged: Mapping[str, Any]) -> str:
    """What labels said of a decision, in a sentence."""
    right = {True: "the diagnosis was right", False: "the diagnosis was wrong", None: "the diagnosis stays open"}
    made = f", {judged['with']:.3f} with the version that was made" if judged["with"] is not None else ""
    cost = f"; {judged['cost']:,} answers were wrong that need not have been" if judged["cost"] else ""
    return (
        f"{judged['labelled']:,} labels since: {right[judged['right']]}; accuracy {judged['without']:.3f} as it was"
        f"{made} ({judged['level']:.3f} on the reference){cost}."
    )


def _candidates(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = [n for n in ("name", "explained", "measure", "value", "bound", "reason") if any(n in row for row in rows)]
    body = "".join(_row("td", [_figure(row.get(n)) for n in names]) for row in rows)
    return f"<details><summary>All that was tried</summary><table>{_row('th', names)}{body}</table></details>"


def _columns(story: Story) -> str:
    picture = charts.columns(story.cycles)
    if not picture:
        return ""
    return (
        "<h2>Columns</h2><p class='soft'>Distance of each column from the reference, as the serving version sees it; "
        f"the most unusual on top.</p>{picture}"
    )


def _segments(story: Story) -> str:
    newest = next((c for c in reversed(story.cycles) if c.get("segments")), None)
    if newest is None:
        return ""
    head = _row("th", ["segment", "what the data say", "rows", "of its bound", "accuracy", "labels"], numeric=2)
    rows = [
        _row("td", [f"{s['column']} {s['value']}", _flat(s["reason"], 200), f"{s['rows']:,}", _figure(s["ratio"]),
                    _figure(s["accuracy"]), f"{s['labelled']:,}"], numeric=2)
        for s in newest["segments"]
    ]  # fmt: skip
    return (
        f"<h2>Segments</h2><p class='soft'>Of window {newest['index']}, each against its own healthy rows.</p>"
        f"<table>{head}{''.join(rows)}</table>"
    )


def _faults(story: Story) -> str:
    faults = [c for c in reversed(story.cycles) if c.get("data_fault")][:FAULTS]
    if not faults:
        return ""
    rows = [_row("td", [str(c["index"]), _minute(c["start"]), _flat("; ".join(c["data_fault"]), 300)]) for c in faults]
    return f"<h2>Faults in the data</h2><table>{_row('th', ['window', 'from', 'what'])}{''.join(rows)}</table>"


def _history(story: Story) -> str:
    acts = story.acts()[:ACTS]
    body = []
    for event in acts:
        moved = None not in (event.to, event.from_) and event.from_ != event.to
        about = f"{event.from_} → {event.to}" if moved else str(event.version or "")
        why = event.why if event.outcome == "done" else f"{event.outcome}; {event.why}"
        body.append(_row("td", [when(event.at, story.made), event.who, event.what, about, _flat(why, 240)]))
    head = _row("th", ["when (UTC)", "who", "what", "version", "why"])
    more = f"<p class='soft'>The newest {ACTS}; <code>selfheal history {escape(story.name)}</code> has all.</p>"
    return f"<h2>Who did what</h2><table>{head}{''.join(body)}</table>{more if len(story.acts()) > ACTS else ''}"


def _foot(story: Story) -> str:
    command = f"<code>selfheal report {escape(story.name)}</code>"
    return (
        f"<p class='soft'>Made {story.made:%Y-%m-%d %H:%M} UTC by {command}, of the last {len(story.cycles)} "
        "windows. Estimates are made without labels; accuracy by labels counts the rows whose label has come.</p>"
    )


def _row(tag: str, cells: Iterable[str], numeric: int = 99) -> str:
    made = (
        f"<{tag}{' class=n' if place >= numeric else ''}>{escape(cell)}</{tag}>" for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(made)}</tr>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(_flat(line, 600))}</li>" for line in lines if line) + "</ul>"


def _figure(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(text: str, size: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
