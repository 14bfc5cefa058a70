"""The board: resumes, sums up, says what was missed, and is shown whole without anything fetched."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from selfheal import InputError, Outcome
from selfheal.board import course, ledger, streams, synthetic, table, triggers, worlds
from selfheal.board.ledger import Job, Ledger, chosen, jobs, play
from selfheal.board.page import page
from selfheal.board.summary import summarise
from selfheal.board.targets import pooled, targets
from selfheal.board.trial import Scenario
from selfheal.cli import main

SEED = 7
CLEAN = next(s for s in synthetic.SCENARIOS if s.name == "clean")


def keeps(*_: Any, **__: Any) -> Outcome:
    return Outcome("keep", "stable", ["canned"], pd.DataFrame())


def figures(accuracy: float, log_loss: float = 0.5) -> dict[str, float]:
    names = ("balanced_accuracy", "f1", "average_precision")
    return {"accuracy": accuracy, "log_loss": log_loss} | dict.fromkeys(names, accuracy)


def made(name: str, before: float, after: float, oracle: float, **more: Any) -> dict[str, Any]:
    return {
        "scenario": name, "group": "synthetic", "kind": "", "seed": 600, "mechanism": "sensor", "identifiable": True,
        "declared": "", "decision": "promote", "diagnosis": "sensor", "expected": "promote", "right": True,
        "acted": True, "served": 1.0, "before": figures(before), "after": figures(after), "oracle": figures(oracle),
        "undrifted": figures(oracle), "waiting": None, "named": True, "audit": None, "reason": "", "seconds": 0.1,
        "rivals": {"constant": figures(0.5)}, "harmful": after < before - 0.01, "gap": None, **more,
    }  # fmt: skip


def test_a_board_resumes_and_forgets_rows_of_other_source(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    asked: list[int] = []

    def counted(*_: Any, **__: Any) -> Outcome:
        asked.append(1)
        return keeps()

    todo = [Job(CLEAN, SEED)]
    first = play(todo, Ledger(file, "one"), healer=counted)
    with file.open("a") as torn:
        torn.write('{"key": "half a li')
    again = play(todo, Ledger(file, "one"), healer=counted)
    assert first == again
    assert len(asked) == 1
    play(todo, Ledger(file, "other"), healer=counted)
    assert len(asked) == 2


def test_scenarios_are_chosen_by_word_and_streams_run_once() -> None:
    assert [s.name for s in chosen(ledger.built_in(), ["prior"])] == ["prior down", "prior up"]
    assert {s.group for s in chosen(ledger.built_in(), ["digits", "twins"])} == {"digits", "twins"}
    with pytest.raises(InputError, match="no scenario has 'ofset' in its name; did you mean 'offset'"):
        chosen(ledger.built_in(), ["ofset"])
    stream = Scenario("weather natural 00", "weather", "", CLEAN.build, "natural", {"rows": 730, "onset": 0})
    assert [j.key for j in jobs([CLEAN, stream], (1, 2))] == ["clean | 1", "weather natural 00 | 1", "clean | 2"]
    assert len(chosen(ledger.built_in(), [], quick=True)) < len(ledger.built_in())


def test_seeds_of_tuning_and_report_are_disjoint_and_shown() -> None:
    assert not set(ledger.TUNED_ON) & set(ledger.REPORTED)
    summary = summarise([made("offset", 0.5, 0.9, 0.9)])
    assert table.seeds(summary) == "seeds reported: 600; tuned on: " + ", ".join(map(str, ledger.TUNED_ON))
    mixed = summarise([made("offset", 0.5, 0.9, 0.9, seed=3)])
    assert "NOT disjoint: 3" in table.seeds(mixed)


def test_totals_and_targets_of_known_rows() -> None:
    rows = [
        made("offset", 0.5, 0.9, 0.9),
        made("scale", 0.8, 0.7, 0.9),
        made("clean", 0.9, 0.9, 0.9, mechanism="none", decision="keep", acted=False),
    ]
    assert pooled(rows) == (pytest.approx(0.3 / 0.5), 2)
    summary = summarise(rows)
    assert (summary["promotions"], summary["harmful"], summary["false_promotions_clean"]) == (2, 1, 0)
    lines = {t.name: t for t in targets(rows)}
    assert lines["gap, sensor and unit"].met is False
    assert lines["promotions on clean windows"].met is True
    assert lines["harmful promotions, all synthetic"].value == 1
    assert summary["rivals"]["constant"]["harmful"] == 2.0
    lucky = summarise([made("offset", 0.9, 0.8, 0.8)])
    assert (lucky["harmful"], lucky["unlucky"]) == (1, 1)


def test_a_target_without_a_case_is_neither_met_nor_missed() -> None:
    line = next(t for t in targets([made("offset", 0.5, 0.9, 0.9)]) if t.name == "gap, new rule")
    assert (line.value, line.met, line.cases) == (None, None, 0)


def test_absent_sets_are_named_and_the_shipped_one_is_there(tmp_path: Path) -> None:
    found, absent = streams.scenarios((tmp_path, course.SHIPPED))
    assert {s.group for s in found} == {"weather"}
    units = {s.facts["onset"] for s in found if s.kind == "unit"}
    assert len(units) >= 12
    assert [line.split(":")[0] for line in absent] == ["elec", "nycflights", "employment", "weather rotated"]
    assert all("skipped, no " in line for line in absent)


def test_a_stream_is_broken_healed_and_left_alone() -> None:
    found, _ = streams.scenarios((course.SHIPPED,))
    wanted = ["weather °F → °C 03", "weather natural 03", "weather missing 03"]
    rows = {r["scenario"]: r for r in play([Job(s, SEED) for s in found if s.name in wanted], Ledger())}
    unit = rows["weather °F → °C 03"]
    assert (unit["decision"], unit["named"]) == ("promote", True), unit["reason"]
    assert unit["after"]["accuracy"] == unit["undrifted"]["accuracy"] > unit["before"]["accuracy"]
    assert rows["weather natural 03"]["decision"] in ("keep", "refuse")
    assert rows["weather missing 03"]["diagnosis"] == "data_fault"


def test_triggers_see_a_change_at_once_and_patience_waits_one_window() -> None:
    world = worlds.linear(SEED)
    calm = [world.draw(500, 100 + i)[worlds.COLUMNS] for i in range(10)]
    seen = triggers.watch(world.model, calm)
    assert not any(seen.confirmed)
    step = 2 * world.spread[world.telling[0]]
    moved = [w.assign(**{world.telling[0]: w[world.telling[0]] + step}) for w in calm[6:]]
    row = triggers.delayed("synthetic", "offset", SEED, triggers.watch(world.model, [*calm[:6], *moved]))
    assert (row["delay"], row["delay_confirmed"]) == (1, 2)
    quiet = triggers.quiet("synthetic", SEED, seen)
    shown = triggers.tabulated([quiet, row])
    assert shown[0]["run_length_at_least"] == 4
    assert shown[1]["missed"] == 0


def test_the_page_needs_nothing_beside_it() -> None:
    rows = [
        made("offset <b>", 0.5, 0.9, 0.9, right=False, reason="<script>"),
        made("random 01", 0.5, 0.4, 0.9, group="random"),
    ]
    watched = [triggers.quiet("synthetic", 1, triggers.Watched((False,), (False,), ("score",)))]
    text = page(rows, summarise(rows, watched), watched)
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|<script", text)
    assert text.count("<svg") == text.count("</svg>") == 3
    assert "offset &lt;b&gt;" in text
    assert "NaN" not in text


def test_the_command_writes_board_page_and_exit_status(tmp_path: Path) -> None:
    files = {n: str(tmp_path / n) for n in ("board.json", "board.html", "rows.jsonl")}
    asked = ["drill", "--seeds", str(SEED), "--scenario", "conversion ×1000", "--json", files["board.json"]]
    done = CliRunner().invoke(main, [*asked, "--html", files["board.html"], "--ledger", files["rows.jsonl"]])
    assert done.exit_code == 0, done.output
    assert "conversion ×1000" in done.output
    told = json.loads(Path(files["board.json"]).read_text())
    assert {"rows", "summary"} <= set(told)
    wanted = {"promotions", "harmful", "gap_pooled", "false_promotions_clean", "seconds_median", "targets"}
    assert wanted <= set(told["summary"])
    row = told["rows"][0]
    five = {"accuracy", "balanced_accuracy", "f1", "average_precision", "log_loss"}
    assert all(set(row[at]) == five for at in ("before", "after", "oracle"))
    assert all(np.isfinite(v) for v in row["after"].values())
    assert "<svg" in Path(files["board.html"]).read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "5-1"], "'5-1' is no seed"),
        (["--scenario", "nothing of the kind"], "no scenario has"),
        (["--data", "not/there"], "does not exist"),
    ],
)
def test_bad_input_is_named(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(main, ["drill", *arguments])
    assert done.exit_code == 2
    assert says in done.output
