"""The project's targets, each a line of the scoreboard: a value from the rows, its goal, and whether it was met."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from selfheal.board.score import Row

SYNTHETIC = frozenset({"synthetic", "random"})
LOST = 0.03
"""Where a unit change costs less accuracy than this, a share of it says little: then the heal must be near clean."""

GAINS = {50: (0.019, 0.16), 100: (0.023, 0.24)}
"""Labels a window → mean gain in accuracy and nats (docs/notes.md: elec and flights; 20 labels for the 50 here)."""


@dataclass(frozen=True)
class Line:
    """One target. ``value`` is None, and ``met`` too, where no row speaks about it."""

    name: str
    value: float | None
    goal: str
    met: bool | None
    cases: int


def line(name: str, value: float | None, sense: Literal[">=", "<="], goal: float, cases: int) -> Line:
    """A line; ``met`` if the value is on the goal's side of it."""
    if value is None or not cases:
        return Line(name, None, f"{sense} {goal:g}", None, cases)
    return Line(name, value, f"{sense} {goal:g}", value >= goal if sense == ">=" else value <= goal, cases)


def pooled(rows: Sequence[Row], top: str = "oracle") -> tuple[float | None, int]:
    """Σ(after − before) / Σ(oracle − before) in accuracy over rows where the oracle gains a point, and their number."""
    used = [
        r
        for r in rows
        if r["before"] and r["after"] and r[top] and r[top]["accuracy"] - r["before"]["accuracy"] >= 0.01
    ]
    room = sum(r[top]["accuracy"] - r["before"]["accuracy"] for r in used)
    won = sum(r["after"]["accuracy"] - r["before"]["accuracy"] for r in used)
    return (won / room if used else None), len(used)


def share(rows: Sequence[Row], what: Callable[[Row], Any]) -> tuple[float | None, int]:
    """Share of rows for which something holds, and their number."""
    return (sum(bool(what(r)) for r in rows) / len(rows) if rows else None), len(rows)


def count(rows: Sequence[Row], what: Callable[[Row], Any]) -> tuple[float | None, int]:
    """Number of rows for which something holds, and how many were asked."""
    return (float(sum(bool(what(r)) for r in rows)) if rows else None), len(rows)


def worst(
    rows: Sequence[Row], figure: Callable[[Row], float | None], pick: Callable[[list[float]], float]
) -> float | None:
    """The worst figure over rows that have it."""
    figures = [v for r in rows if (v := figure(r)) is not None]
    return pick(figures) if figures else None


def is_clean(row: Row) -> bool:
    """Whether nothing happened to its window, by nobody's doing either: attacks have lines of their own."""
    return bool(row["mechanism"] == "none" and row["group"] != "attacks")


def targets(rows: Sequence[Row]) -> list[Line]:
    """All lines that concern the rows' groups."""
    return [
        *_synthetic(rows),
        *_mixed(rows),
        *_article(rows),
        *_twins(rows),
        *_streams(rows),
        *_tables(rows),
        *_attacks(rows),
        *_everywhere(rows),
    ]


def _synthetic(rows: Sequence[Row]) -> Iterator[Line]:
    ours = [r for r in rows if r["group"] in SYNTHETIC and r["identifiable"]]
    if not ours:
        return
    for name, mechanism, goal in (
        ("gap, sensor and unit", "sensor", 0.9),
        ("gap, new rule", "new rule", 0.85),
        ("gap, sensor with prior", "combined", 0.7),
    ):
        yield line(name, *_split(pooled([r for r in ours if r["mechanism"] == mechanism]), ">=", goal))
    up = [r for r in ours if r["scenario"] == "prior up"]
    yield line("gap, prior to 40 %", *_split(pooled(up), ">=", 0.75))
    yield line("gap, all identifiable", *_split(pooled(ours), ">=", 0.8))
    clean = [r for r in rows if is_clean(r)]
    yield line("promotions on clean windows", *_split(count(clean, lambda r: r["acted"]), "<=", 0))
    random = [r for r in rows if r["group"] == "random"]
    known = [r for r in random if r["identifiable"]]
    if known:
        yield line("random drifts that are identifiable", float(len(known)), ">=", 300, len(known))
        yield line("harmful promotions, identifiable random", *_split(count(known, lambda r: r["harmful"]), "<=", 0))
    yield line(
        "harmful promotions, all synthetic",
        *_split(count([r for r in rows if r["group"] in SYNTHETIC], lambda r: r["harmful"]), "<=", 0),
    )


def _mixed(rows: Sequence[Row]) -> Iterator[Line]:
    """Worlds that nothing was built on are held to the goals of the synthetic ones."""
    ours = [r for r in rows if r["group"] == "mixed"]
    known = [r for r in ours if r["identifiable"]]
    if known:
        yield line("mixed worlds: gap, all identifiable", *_split(pooled(known), ">=", 0.8))
        yield line("mixed worlds: harmful promotions", *_split(count(ours, lambda r: r["harmful"]), "<=", 0))


def _split(figure: tuple[float | None, int], sense: Literal[">=", "<="], goal: float) -> tuple[Any, Any, float, int]:
    return figure[0], sense, goal, figure[1]


def _article(rows: Sequence[Row]) -> Iterator[Line]:
    cases = [r for r in rows if r["scenario"] == "article, declared" and r["after"]]
    if cases:
        accuracy = sum(r["after"]["accuracy"] for r in cases) / len(cases)
        loss = sum(r["after"]["log_loss"] for r in cases) / len(cases)
        yield line("article declared, mean accuracy", accuracy, ">=", 0.84, len(cases))
        yield line("article declared, mean log-loss", loss, "<=", 0.42, len(cases))
    untold = [r for r in rows if r["scenario"] in ("article, undeclared", "article, with cost")]
    yield from _some("article undeclared or costly: refused or audited", untold, lambda r: r["right"], 1.0)


def _some(name: str, rows: Sequence[Row], what: Callable[[Row], Any], goal: float) -> Iterator[Line]:
    if rows:
        yield line(name, *_split(share(rows, what), ">=", goal))


def _twins(rows: Sequence[Row]) -> Iterator[Line]:
    ours = [r for r in rows if r["group"] == "twins"]
    if ours:
        yield line("twins promoted without a label", *_split(count(ours, lambda r: r["acted"]), "<=", 0))
        right = share(ours, lambda r: r["audit"]["right"] if r["audit"] else r["right"])
        yield line("twins right, by audit where one is asked for", *_split(right, ">=", 0.95))
    asked = [r for r in rows if r["audit"] and "right" in r["audit"]]
    if asked:
        yield line("audits that let harm through", *_split(count(asked, lambda r: r["audit"]["harmful"]), "<=", 0))
        most = worst(asked, lambda r: float(r["audit"]["labels"]), max)
        yield line("labels that an audit took, at most", most, "<=", 20, len(asked))


def _streams(rows: Sequence[Row]) -> Iterator[Line]:
    names = list(dict.fromkeys(r["group"] for r in rows if r["kind"] and r["group"] != "tables"))
    for name in names:
        yield from _stream(name, [r for r in rows if r["group"] == name])
    yield from _late_labels(rows)


def _stream(name: str, rows: Sequence[Row]) -> Iterator[Line]:
    units = [r for r in rows if r["kind"] == "unit" and r["undrifted"] and r["before"]]
    main, few = ([r for r in units if (r["rows"] > 500) is big] for big in (True, False))
    for part, goal, words in ((main, 0.95, ""), (few, 0.8, ", 400 rows")):
        if part:
            hurt = [r for r in part if _lost(r) >= LOST]
            yield line(f"{name}: lost accuracy back{words}", *_split(pooled(hurt, "undrifted"), ">=", goal))
    if main:
        light = [r for r in main if _lost(r) < LOST]
        yield line(
            f"{name}: light losses, share within a point of clean",
            *_split(share(light, lambda r: r["after"]["accuracy"] >= r["undrifted"]["accuracy"] - 0.01), ">=", 1.0),
        )
        yield line(f"{name}: units named exactly", *_split(share(main, lambda r: r["acted"] and r["named"]), ">=", 0.9))
    faults = [r for r in rows if r["kind"] == "fault"]
    yield from _some(f"{name}: schema faults named", faults, lambda r: r["diagnosis"] == "data_fault", 0.95)
    if faults:
        yield line(f"{name}: schema faults promoted", *_split(count(faults, lambda r: r["acted"]), "<=", 0))
    natural = [r for r in rows if r["kind"] == "natural"]
    if natural:
        yield line(f"{name}: natural windows promoted", *_split(count(natural, lambda r: r["acted"]), "<=", 0))
        called = count(natural, lambda r: r["diagnosis"] == "data_fault")
        yield line(f"{name}: natural windows called a data fault", *_split(called, "<=", 0))
    labelled = [r for r in rows if r["kind"] == "labels"]
    if labelled:
        yield line(f"{name}: harmed with labels", *_split(count(labelled, lambda r: r["harmful"]), "<=", 0))


def _tables(rows: Sequence[Row]) -> Iterator[Line]:
    """Rows of the reader's own: the default policy, and the same once facts were answered."""
    ours = [r for r in rows if r["group"] == "tables"]
    units = [r for r in ours if r["kind"] == "unit" and r["undrifted"] and r["before"]]
    hurt = [r for r in units if _lost(r) >= 0.01]
    if units:
        yield line("tables: lost accuracy back by default", *_split(pooled(hurt, "undrifted"), ">=", 0.95))
        cases = [{**r, **(r["answered"] or {})} for r in hurt]
        yield line("tables: lost accuracy back, facts answered", *_split(pooled(cases, "undrifted"), ">=", 0.97))
        wrong = count(units, lambda r: r["acted"] and r["named"] is False and r["harmful"])
        yield line("tables: wrong conversions promoted, harmful", *_split(wrong, "<=", 0))
        light = count(units, lambda r: r["acted"] and r["named"] is False)
        yield line("tables: conversions promoted that were not exact", *_split(light, "<=", 0))
    natural = [r for r in ours if r["kind"] == "natural"]
    if natural:
        yield line("tables: natural windows promoted", *_split(count(natural, lambda r: r["acted"]), "<=", 0))
        asked = share(natural, lambda r: r["questions"])
        yield line("tables: questions in natural windows", *_split(asked, "<=", 1 / 200))
    faults = [r for r in ours if r["kind"] == "fault"]
    yield from _some("tables: schema faults named", faults, lambda r: r["diagnosis"] == "data_fault", 0.95)


def _attacks(rows: Sequence[Row]) -> Iterator[Line]:
    """Honest rows beside an attacker's; apart from them attacks that are what they imitate."""
    ours = [r for r in rows if r["group"] == "attacks"]
    cases = [r for r in ours if r["identifiable"]]
    if cases:
        yield line("attacks: honest rows harmed", *_split(count(cases, lambda r: r["harmful"]), "<=", 0))
    alike = [r for r in ours if not r["identifiable"]]
    if alike:
        lost = [r["before"]["accuracy"] - r["after"]["accuracy"] for r in alike]
        yield Line(
            "attacks like class shares or a class that stays: accuracy lost", sum(lost) / len(lost), "", None, len(lost)
        )


def _late_labels(rows: Sequence[Row]) -> Iterator[Line]:
    """Gains over all windows of the sets where labels come in time; the goals are from docs/notes.md."""
    labelled = [r for r in rows if r["kind"] == "labels" and r["before"] and r["after"]]
    for budget in sorted({r["labels"] for r in labelled}):
        part = [r for r in labelled if r["labels"] == budget]
        accuracy, nats = GAINS.get(budget, (0.0, 0.0))
        gain = sum(r["after"]["accuracy"] - r["before"]["accuracy"] for r in part) / len(part)
        saved = sum(r["before"]["log_loss"] - r["after"]["log_loss"] for r in part) / len(part)
        yield line(f"{budget} labels a window: mean gain in accuracy", gain, ">=", accuracy, len(part))
        yield line(f"{budget} labels a window: mean gain in log-loss", saved, ">=", nats, len(part))


def _lost(row: Row) -> float:
    return float(row["undrifted"]["accuracy"] - row["before"]["accuracy"])


def _everywhere(rows: Sequence[Row]) -> Iterator[Line]:
    asked = [float(r["questions"]) for r in rows if r.get("questions")]
    if asked:
        yield line("questions of one change, median", median(asked), "<=", 1, len(asked))
        bad = count([r["answered"] for r in rows if r.get("answered")], lambda r: r["harmful"])
        yield line("answered truthfully, harmful", *_split(bad, "<=", 0))
    yield line("healer raised an error", *_split(count(rows, lambda r: r["decision"] == "error"), "<=", 0))
    single = [r for r in rows if r["mechanism"] != "combined"]
    both = [r for r in rows if r["mechanism"] == "combined"]
    yield line("seconds of a heal, at most", worst(single, lambda r: r["seconds"], max), "<=", 5, len(single))
    yield line("seconds of a combined heal, at most", worst(both, lambda r: r["seconds"], max), "<=", 10, len(both))


HEALABLE = frozenset({"offset of 2 sd", "positives 15 → 40 %", "positives 15 → 5 %"})
"""Changes that a heal exists for, and so must not be missed; the others are shown without a goal."""


def trigger_targets(watched: Sequence[Row]) -> list[Line]:
    """Windows of 500 (docs/notes.md): 1.6 % false alarms, nothing healable missed, abrupt changes seen at once."""
    quiet = [r for r in watched if r["change"] == "none"]
    lines = []
    for name, goal, part in (
        ("synthetic", 0.016, [r for r in quiet if r["stream"] == "synthetic"]),
        ("natural streams", 0.16, [r for r in quiet if r["stream"] != "synthetic"]),
    ):
        windows = sum(r["windows"] for r in part)
        alarms = sum(r["alarms"] for r in part) / windows if windows else None
        lines.append(line(f"triggers: false alarms a window, {name}", alarms, "<=", goal, windows))
    for how, most in (("", 1.0), (", gradual", 7.0)):
        part = [r for r in watched if r["change"].removesuffix(", gradual") in HEALABLE and r["change"].endswith(how)]
        part = [r for r in part if bool(how) == r["change"].endswith(", gradual")]
        seen = [r["delay"] for r in part if r["delay"]]
        words = how.removeprefix(", ") or "abrupt"
        missed = count(part, lambda r: not r["delay_confirmed"])
        lines.append(line(f"triggers: healable changes never confirmed, {words}", *_split(missed, "<=", 0)))
        delay = sum(seen) / len(seen) if seen else None
        lines.append(line(f"triggers: mean windows until seen, {words}", delay, "<=", most, len(seen)))
    return lines
