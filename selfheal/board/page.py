"""The scoreboard as one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from selfheal.board.plots import bars, dumbbells, scatter
from selfheal.board.score import Row
from selfheal.board.summary import by_scenario
from selfheal.board.table import number, seeds, tally, totals
from selfheal.board.triggers import tabulated

Record = Mapping[str, Any]

STYLE = """
:root { --ink: #1c2430; --soft: #667085; --line: #e4e7ec; --page: #ffffff; --card: #f7f8fa; --good: #12805c;
  --bad: #c4320a; --mark: #2563eb; --dim: #98a2b3; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #2b3342; --page: #12161d;
  --card: #1a2029; --good: #34c795; --bad: #ff7a50; --mark: #6aa1ff; --dim: #667085; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 32px 24px 64px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 40px 0 8px; } p { max-width: 72ch; }
.soft, .tick, figcaption { color: var(--soft); fill: var(--soft); }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px;
  min-width: 130px; }
.card b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child, .words { text-align: left; }
.words { white-space: normal; min-width: 150px; }
svg { width: 100%; height: auto; display: block; margin: 8px 0; } svg text { font: 12px system-ui, sans-serif; }
svg .name { fill: var(--ink); } svg .grid { stroke: var(--line); } svg .bar { stroke: var(--good); stroke-width: 2; }
svg .before { fill: var(--dim); } svg .after { fill: var(--good); }
svg .oracle { stroke: var(--mark); stroke-width: 2; }
svg .worse { fill: var(--bad); stroke: var(--bad); } svg .held { fill: var(--dim); fill-opacity: .55; }
svg .healed { fill: var(--good); fill-opacity: .7; } svg .harm { fill: var(--bad); }
svg .column { fill: var(--dim); } svg .mine { fill: var(--good); }
details { border-bottom: 1px solid var(--line); padding: 6px 0; } summary { cursor: pointer; }
figure { margin: 0; } code { background: var(--card); padding: 1px 4px; border-radius: 4px; }
"""


def page(rows: Sequence[Row], summary: Record, triggers: Sequence[Record] = (), title: str = "The drill") -> str:
    """The whole page as text."""
    body = "".join(
        [
            f"<h1>{escape(title)}</h1><p class='soft'>{escape(totals(summary))}<br>{escape(seeds(summary))}</p>",
            _cards(summary), _targets(summary), _plots(rows, summary), _estimators(summary), _table(rows),
            _triggers(triggers), _wrong(rows), _skipped(summary),
        ]
    )  # fmt: skip
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>selfheal: {escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def _cards(summary: Record) -> str:
    known = [t for t in summary["targets"] if t["met"] is not None]
    met = sum(t["met"] for t in known)
    facts = [
        ("targets met", f"{met} of {len(known)}", met == len(known)),
        ("promotions", str(summary["promotions"]), None),
        ("harmful", str(summary["harmful"]), summary["harmful"] == 0),
        ("gap recovered", number(summary["gap_pooled"], 2), None),
        ("on clean windows", str(summary["false_promotions_clean"]), summary["false_promotions_clean"] == 0),
        ("seconds a heal", number(summary["seconds_median"], 2), None),
    ]
    return "<div class='cards'>" + "".join(_card(*f) for f in facts) + "</div>"


def _card(name: str, value: str, good: bool | None) -> str:
    tone = {True: "good", False: "bad", None: ""}[good]
    return f"<div class='card'><span class='soft'>{name}</span><b class='{tone}'>{value}</b></div>"


def _rows(head: Sequence[str], body: Iterator[Sequence[str]]) -> str:
    made = "".join("<tr>" + "".join(cells) + "</tr>" for cells in body)
    heads = "".join(f"<th>{h}</th>" for h in head)
    return f"<div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{made}</tbody></table></div>"


def _cell(value: object, kind: str = "") -> str:
    return f"<td class='{kind}'>{escape(str(value))}</td>"


def _targets(summary: Record) -> str:
    def body() -> Iterator[list[str]]:
        for t in summary["targets"]:
            word, tone = {True: ("met", "good"), False: ("missed", "bad"), None: ("no case", "soft")}[t["met"]]
            yield [_cell(t["name"]), _cell(number(t["value"])), _cell(t["goal"]), _cell(t["cases"]), _cell(word, tone)]

    return "<h2>Targets</h2>" + _rows(["target", "value", "goal", "cases", ""], body())


def _plots(rows: Sequence[Row], summary: Record) -> str:
    records = [
        r for r in by_scenario(rows) if r["before"]["accuracy"] is not None and r["after"]["accuracy"] is not None
    ]
    bells = [(r["name"], r["before"]["accuracy"], r["after"]["accuracy"], r["oracle"]["accuracy"]) for r in records]
    random = [r for r in rows if r["group"] == "random" and r["before"] and r["after"]]
    dots = [
        (
            r["before"]["accuracy"],
            r["after"]["accuracy"],
            _tone(r),
            f"{r['scenario']}, seed {r['seed']}: {r['decision']}",
        )
        for r in sorted(random, key=lambda r: r["harmful"])
    ]
    asked = max(summary["rows"], 1)
    harm = [("selfheal", summary["harmful"] / asked, f"{summary['harmful']} of {summary['rows']}")]
    harm += [
        (n, r["harmful"] / max(r["rows"], 1), f"{r['harmful']:.0f} of {r['rows']:.0f}")
        for n, r in summary["rivals"].items()
    ]
    parts = [
        "<h2>Before and after</h2><p>Mean accuracy on rows that no healer saw. Grey: no healing. Green: after. "
        "Blue: the oracle, which knows the truth. Where a heal was rightly held back, the dots lie on each other.</p>",
        f"<figure>{dumbbells(bells, 'Accuracy before and after, by scenario')}</figure>" if bells else "",
    ]
    if dots:
        picture = scatter(dots, "Random drifts: accuracy after over accuracy before")
        parts.append(
            "<h2>Random drifts</h2><p>One dot a drift. On the diagonal nothing was changed; green above it: healed; "
            f"red: harmful.</p><figure>{picture}</figure>"
        )
    parts.append(
        "<h2>Rivals</h2><p>Share of all rows in which a rival, used everywhere, loses over a point of accuracy or adds "
        f".02 log-loss. The article's recipe is given real labels.</p><figure>{bars(harm, 'Harm by rival')}</figure>"
    )
    return "".join(parts)


def _estimators(summary: Record) -> str:
    estimators = summary.get("estimators")
    if not estimators:
        return ""
    head = ["estimator", "rows", "mean error", "largest", "saw a fall", "false alarms"]

    def body() -> Iterator[list[str]]:
        for name, r in estimators.items():
            figures = (number(r["mean_error"]), number(r["largest_error"]), number(r["seen"], 2))
            yield [_cell(name), *map(_cell, (f"{r['rows']:.0f}", *figures, number(r["false_alarms"], 2)))]

    return (
        "<h2>Estimators</h2><p>What each says, without labels, of the frozen model's accuracy on a window: its error, "
        "and how often it says that accuracy fell where it fell by five points, and where it did not.</p>"
        + _rows(head, body())
    )


def _tone(row: Row) -> str:
    return "harm" if row["harmful"] else "healed" if row["acted"] else "held"


def _table(rows: Sequence[Row]) -> str:
    head = ["scenario", "right", "decisions", "declared", "acc.", "→", "oracle", "bal. acc. →", "F1 →", "AP →",
            "log-loss", "→", "cost", "→", "coral", "gap", "harm", "s"]  # fmt: skip

    def body() -> Iterator[list[str]]:
        for r in by_scenario(rows):
            before, after = r["before"], r["after"]
            yield [
                _cell(r["name"]), _cell(f"{r['right']}/{r['rows']}", "" if r["right"] == r["rows"] else "bad"),
                _cell(tally(r["decisions"]), "words"), _cell(r["declared"] or "–", "words"),
                _cell(number(before["accuracy"])), _cell(number(after["accuracy"])),
                _cell(number(r["oracle"]["accuracy"])), _cell(number(after["balanced_accuracy"])),
                _cell(number(after["f1"])), _cell(number(after["average_precision"])),
                _cell(number(before["log_loss"], 2)), _cell(number(after["log_loss"], 2)),
                _cell(number(before["cost"])), _cell(number(after["cost"])),
                _cell(number(r["rivals"].get("coral", {}).get("accuracy"))), _cell(number(r["gap"], 2)),
                _cell(r["harmful"] or "", "bad"), _cell(number(r["seconds"], 2)),
            ]  # fmt: skip

    return "<h2>Scenarios</h2><p>Means over rows; figures of every row are in the JSON.</p>" + _rows(head, body())


def _triggers(triggers: Sequence[Record]) -> str:
    if not triggers:
        return ""
    head = ["stream", "change", "windows", "false alarms a window", "confirmed a window", "run length ≥", "seen after",
            "confirmed after", "missed"]  # fmt: skip

    def body() -> Iterator[list[str]]:
        for r in tabulated([dict(t) for t in triggers]):
            figures = ("false_alarms_a_window", "confirmed_a_window", "run_length_at_least", "delay", "delay_confirmed")
            missed = r.get("missed")
            yield [
                _cell(r["stream"]), _cell(r["change"], "words"), _cell(r["windows"]),
                *(_cell(number(r.get(f), 3 if "window" in f else 1)) for f in figures),
                _cell("–" if missed is None else f"{missed} of {r['streams']}", "bad" if missed else ""),
            ]  # fmt: skip

    return (
        "<h2>Triggers</h2><p>What the signals say before any heal: alarms where nothing happened, and windows until a "
        "change is seen and, with the policy's patience, confirmed.</p>" + _rows(head, body())
    )


def _wrong(rows: Sequence[Row]) -> str:
    wrong = [r for r in rows if r["harmful"] or not r["right"]]
    if not wrong:
        return ""
    made = "".join(
        f"<details><summary>{escape(r['scenario'])}, seed {r['seed']}: {r['decision']} ({escape(r['diagnosis'])}), "
        f"expected {escape(r['expected'])}{' <span class=bad>harmful</span>' if r['harmful'] else ''}</summary>"
        f"<p>{escape(r['reason'])}</p></details>"
        for r in sorted(wrong, key=lambda r: not r["harmful"])[:200]
    )
    return f"<h2>Not as expected: {len(wrong)}</h2>{made}"


def _skipped(summary: Record) -> str:
    if not summary["skipped"]:
        return ""
    return "<h2>Skipped</h2><ul>" + "".join(f"<li>{escape(s)}</li>" for s in summary["skipped"]) + "</ul>"
