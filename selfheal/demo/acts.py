"""The acts of the demo, in order: what happens in each, and what must be seen for it to count."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from selfheal.demo import data
from selfheal.demo.display import Display
from selfheal.demo.results import Accuracy, ActResult
from selfheal.demo.score import accuracies
from selfheal.demo.stage import Stage

#: The rule that the fraud model's owner writes when the new pattern is noticed.
NEW_RULE = {
    "name": "new_gift_card_pattern",
    "when": "amount > 400 AND merchant_type = 'gift_card'",
    "vote": 1,
    "knowledge": "new",
}
#: Share of the lost accuracy that must be back on unseen rows: after a change of units, which is undone exactly, and
#: after a new pattern, which is learnt from a rule alone (five seeds brought back .90 to .96).
UNITS_BACK, PATTERN_BACK = 0.90, 0.85
#: After an offset that had to be estimated.
SENSOR_BACK = 0.80
#: Characters of a question that fit a line.
ASKED = 48
#: What natural days may cost: nothing changes there, so served and frozen answers are the same.
_SAME = 1e-9


@dataclass
class Checks:
    """Collects what had to be seen and was not."""

    missing: list[str] = field(default_factory=list)

    def must(self, seen: bool, words: str) -> None:
        """Note ``words`` unless it was seen."""
        if not seen:
            self.missing.append(words)

    def equal(self, what: str, seen: object, expected: object) -> None:
        """Note ``what`` unless it is as expected."""
        self.must(seen == expected, f"{what} is {seen!r}, not {expected!r}")


@dataclass(frozen=True)
class Played:
    """How an act went: the records of its windows, oldest first, and accuracies on rows that no heal has seen."""

    cycles: list[dict[str, Any]]
    accuracy: Accuracy


@dataclass(frozen=True)
class Act:
    """One act: ``play`` makes it happen and checks what is particular to it."""

    name: str
    model: str
    story: str
    play: Callable[[Stage, Display, Checks], Played]


def perform(stage: Stage, display: Display, act: Act) -> ActResult:
    """Play one act, and check what must hold in every one.

    The frozen parts are digested before and after; afterwards one version is in Production, the one that the service
    answers with; no request failed, and each answer was given by the version that it names.
    """
    began = time.monotonic()
    checks = Checks()
    member = stage.cast[act.model]
    failed = member.ledger.failed
    stage.check_frozen()
    played = act.play(stage, display, checks)
    stage.check_frozen()
    versions = stage.workspace.registry.production(act.model)
    checks.must(len(versions) == 1, f"versions {versions} are in Production, not exactly one")
    checks.equal("the version that the service answers with", stage.served(act.model), versions[-1])
    words = "; ".join(member.ledger.failures[-2:])
    checks.must(member.ledger.failed == failed, f"requests failed: {words}")
    verdict = verdict_of(played.cycles)
    return ActResult(
        name=act.name,
        model=act.model,
        signals=verdict.signals,
        diagnosis=verdict.diagnosis,
        decision=verdict.decision,
        changed_part=verdict.changed_part,
        reasons=verdict.reasons,
        accuracy=played.accuracy,
        production_version=versions[-1],
        seconds=time.monotonic() - began,
        missing=tuple(checks.missing),
        alerts=stage.alerts(act.model, played.cycles),
    )


@dataclass(frozen=True)
class Verdict:
    """What the cycles of an act come to."""

    signals: tuple[str, ...]
    diagnosis: str
    decision: str
    changed_part: str
    reasons: tuple[str, ...]


def verdict_of(cycles: list[dict[str, Any]]) -> Verdict:
    """The last heal's word; without a heal the watch's, the guards', or that nothing was to be done."""
    fired = {s["name"] for cycle in cycles for s in cycle["signals"] if s["alarm"]}
    signals = tuple(name for name in ("data", "rules") if name in fired)
    heals = [cycle["heal"] for cycle in cycles if cycle["heal"]]
    rolled = [cycle["watch"] for cycle in cycles if cycle["watch"] and _worse(cycle["watch"])]
    faults = [cycle for cycle in cycles if cycle["decision"] == "data_fault"]
    if rolled:
        return Verdict(signals, "worse", "rollback", "none", tuple(rolled[-1]["reasons"]))
    if heals:
        heal = heals[-1]
        reasons = tuple(line for line in (*heal["reasons"], heal["failure"]) if line)
        return Verdict(signals, heal["diagnosis"], heal["decision"], heal["changed_part"], reasons)
    if faults:
        return Verdict(signals, "data_fault", "refuse", "none", tuple(faults[-1]["reasons"]))
    reasons = tuple(reason for cycle in cycles if cycle["alarm"] for reason in cycle["reasons"])
    return Verdict(signals, "stable", "keep", "none", reasons or tuple(cycles[-1]["reasons"]) if cycles else ())


def _worse(watch: dict[str, Any]) -> bool:
    """Whether it was rolled back, or would have been but for a freeze."""
    return bool(watch["rolled_back"] or watch.get("held"))


# ---------------------------------------------------------------------- the acts


def natural_years(stage: Stage, display: Display, checks: Checks) -> Played:
    """Three years of weather as it was."""
    days = stage.cast["rain"].stream.take(3)
    before = stage.settled("rain")
    with display.step("three years of days arrive"):
        answers = stage.send("rain", days)
    with display.step("the monitor flow looks at each year"):
        cycles = stage.monitor("rain", days)
    checks.equal("windows processed", len(cycles), 3)
    checks.equal("the version in Production", stage.settled("rain"), before)
    checks.equal("the number of versions", len(stage.workspace.registry.versions("rain")), 1)
    return Played(cycles, accuracies(stage.cast["rain"].model, days, answers))


def metric_units(stage: Stage, display: Display, checks: Checks) -> Played:
    """Two years in °C are healed under traffic; two more show what it brought."""
    stream = stage.cast["rain"].stream
    days = stream.take(2, data.in_celsius)
    with display.step("two years arrive in °C"):
        stage.send("rain", days)
    with display.step("monitor, heal, gate, Staging → Production; requests go on"):
        cycles = stage.monitor("rain", days)
    _must_promote(checks, stage, "rain", cycles, "sensor", "input map")
    words = " ".join(verdict_of(cycles).reasons)
    for column in data.TEMPERATURES:
        checks.must(f"{column}: °C → °F" in words, f"{column} is not named with its conversion (°C → °F)")
    with display.step("two more years in °C, unseen by the heal"):
        unseen = stream.take(2, data.in_celsius)
        answers = stage.send("rain", unseen)
    accuracy = accuracies(stage.cast["rain"].model, unseen, answers)
    _must_be_back(checks, accuracy, UNITS_BACK)
    return Played(cycles, accuracy)


def back_again(stage: Stage, display: Display, checks: Checks) -> Played:
    """°F returns: what served before is recalled."""
    stream = stage.cast["rain"].stream
    known = len(stage.workspace.registry.versions("rain"))
    wrong = stage.settled("rain")
    days = stream.take(2)
    with display.step("two years arrive in °F again"):
        stage.send("rain", days)
    with display.step("the monitor flow asks the versions it has"):
        cycles = stage.monitor("rain", days)
    verdict = verdict_of(cycles)
    checks.equal("decision", verdict.decision, "recall")
    checks.equal("the number of versions", len(stage.workspace.registry.versions("rain")), known)
    checks.equal("the version in Production", stage.settled("rain"), 1)
    with display.step("another year in °F, unseen"):
        unseen = stream.take(1)
        answers = stage.send("rain", unseen)
    accuracy = accuracies(stage.cast["rain"].model, unseen, answers, frozen=stage.model("rain", wrong))
    _must_be_back(checks, accuracy, UNITS_BACK)
    return Played(cycles, accuracy)


def new_pattern(stage: Stage, display: Display, checks: Checks) -> Played:
    """A fraud pattern begins, its owner writes a rule, the ReflexiveLayer learns from the rule alone."""
    stream = stage.cast["fraud"].stream
    first = stream.take(2)
    with display.step("a new fraud pattern begins; the monitor flow notices"):
        stage.send("fraud", first)
        noticed = stage.monitor("fraud", first)
    checks.must(any(cycle["alarm"] for cycle in noticed), "no signal noticed the new pattern")
    add_rule(stage, "fraud", NEW_RULE)
    again = stream.take(1)
    with display.step(f"its owner adds a rule ({NEW_RULE['when']}); monitor, heal, gate, promote"):
        stage.send("fraud", again)
        cycles = stage.monitor("fraud", again)
    _must_promote(checks, stage, "fraud", cycles, "concept", "ReflexiveLayer")
    with display.step("two thousand more payments, unseen by the heal"):
        unseen = stream.take(2)
        answers = stage.send("fraud", unseen)
    accuracy = accuracies(stage.cast["fraud"].model, unseen, answers)
    _must_be_back(checks, accuracy, PATTERN_BACK)
    return Played(noticed + cycles, accuracy)


def logger_fault(stage: Stage, display: Display, checks: Checks) -> Played:
    """Every value arrives one column to the right: nothing to heal, somebody must be told."""
    before = stage.settled("rain")
    days = stage.cast["rain"].stream.take(2, data.rotated)
    with display.step("two years arrive with their columns rotated by one"):
        answers = stage.send("rain", days)
    with display.step("the monitor flow looks"):
        cycles = stage.monitor("rain", days)
    verdict = verdict_of(cycles)
    checks.equal("diagnosis", verdict.diagnosis, "data_fault")
    checks.must(verdict.decision not in ("promote", "recall", "audit"), f"decision is {verdict.decision!r}")
    checks.equal("the version in Production", stage.settled("rain"), before)
    words = " ".join(verdict.reasons)
    unnamed = [column for column in data.WEATHER_FEATURES if column not in words]
    checks.must(not unnamed, f"columns are not named: {', '.join(unnamed)}")
    checks.must(bool(stage.alerts("rain", cycles)), "no alert was given")
    return Played(cycles, accuracies(stage.cast["rain"].model, days, answers))


def bad_promotion(stage: Stage, display: Display, checks: Checks) -> Played:
    """A person puts the °C version into Production while °F arrives; the watch takes it back, once it may."""
    stream = stage.cast["rain"].stream
    good, wrong = stage.settled("rain"), 2
    with display.step(f"a person moves the alias of Production to version {wrong} (it takes °C) in MLflow"):
        stage.person_promotes("rain", wrong)
        checks.equal("the version served after a person's change", stage.wait_served("rain", wrong), wrong)
    days = stream.take(1)
    with display.step("somebody freezes the loop; a year in °F arrives, and the watch finds it worse"):
        stage.freeze("rain", "version 2 is looked at first")
        answers = stage.send("rain", days)
        checks.must({answer.version for answer in answers} == {wrong}, f"not every answer came from version {wrong}")
        cycles = stage.monitor("rain", days)
        checks.must(bool(cycles[-1]["watch"]["held"]), "the watch did not find the version worse while it was frozen")
        checks.equal("the version in Production while the loop is frozen", stage.settled("rain"), wrong)
    with display.step("the freeze is lifted; the watch is asked again"):
        checks.must(stage.unfreeze("rain").rolled_back, "the watch did not roll back after the freeze")
    checks.equal("the version in Production", stage.settled("rain"), good)
    _must_be_journaled(checks, stage, wrong, good)
    with display.step("another year, answered by the version that is back"):
        unseen = stream.take(1)
        served = stage.send("rain", unseen)
    accuracy = accuracies(stage.cast["rain"].model, unseen, served, frozen=stage.model("rain", wrong))
    _must_be_back(checks, accuracy, UNITS_BACK)
    return Played(cycles, accuracy)


def new_hygrometer(stage: Stage, display: Display, checks: Checks) -> Played:
    """Two years of dew points that are too high: a new sensor, or other weather? The owner is asked."""
    stream = stage.cast["rain"].stream
    days = stream.take(2, data.new_hygrometer)
    with display.step("two years arrive from a new hygrometer; the monitor flow finds what would undo it"):
        stage.send("rain", days)
        cycles = stage.monitor("rain", days)
    checks.equal("decision", verdict_of(cycles).decision, "audit")
    asked = stage.question("rain")
    checks.must("dew_point" in asked, f"the question does not name the column: {asked!r}")
    with display.step(f"it asks: {asked[:ASKED]}… The owner says yes"):
        done = stage.answer("rain", "yes")
    checks.must(done.promoted, f"nothing was promoted after the answer: {done.note}")
    with display.step("another year from the new hygrometer, unseen"):
        unseen = stream.take(1, data.new_hygrometer)
        answers = stage.send("rain", unseen)
    accuracy = accuracies(stage.cast["rain"].model, unseen, answers)
    _must_be_back(checks, accuracy, SENSOR_BACK)
    return Played(cycles, accuracy)


def calm(stage: Stage, display: Display, checks: Checks) -> Played:
    """A last ordinary year."""
    days = stage.cast["rain"].stream.take(1)
    with display.step("one more year as it was"):
        answers = stage.send("rain", days)
        cycles = stage.monitor("rain", days)
    checks.must(not any(cycle["confirmed"] for cycle in cycles), "an alarm was confirmed in an ordinary year")
    for name in stage.cast:
        production = stage.workspace.registry.production(name)
        checks.must(len(production) == 1, f"{name} has versions {production} in Production, not exactly one")
        ills = stage.status(name)["health"]
        checks.must(not ills, f"{name} is not healthy: {'; '.join(ills)}")
    return Played(cycles, accuracies(stage.cast["rain"].model, days, answers))


ACTS = (
    Act("natural years", "rain", "nothing happens to the station", natural_years),
    Act("metric units", "rain", "the four temperature columns arrive in °C", metric_units),
    Act("back again", "rain", "°F returns", back_again),
    Act("new pattern", "fraud", "fraud that the model never saw; its owner writes a rule", new_pattern),
    Act("logger fault", "rain", "columns rotated by one", logger_fault),
    Act("bad promotion", "rain", "a person promotes a plausible but wrong version; the loop is frozen", bad_promotion),
    Act("calm", "rain", "nothing happens", calm),
    Act("new hygrometer", "rain", "dew points read 25 °F too high: only its owner knows why", new_hygrometer),
)


# ---------------------------------------------------------------------- what several acts need


def add_rule(stage: Stage, name: str, rule: dict[str, Any]) -> None:
    """Write a rule into the policy of record, as its owner would with an editor."""
    file = stage.settings.rules / f"{name}.yaml"
    policy = yaml.safe_load(file.read_text(encoding="utf-8"))
    policy["rules"].append(rule)
    file.write_text(yaml.safe_dump(policy, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _must_promote(
    checks: Checks, stage: Stage, name: str, cycles: list[dict[str, Any]], diagnosis: str, part: str
) -> None:
    verdict = verdict_of(cycles)
    checks.equal("diagnosis", verdict.diagnosis, diagnosis)
    checks.equal("decision", verdict.decision, "promote")
    checks.equal("the part that changed", verdict.changed_part, part)
    checks.equal("the version in Production", stage.settled(name), 2)
    stages = {info.version: info.stage for info in stage.workspace.registry.versions(name)}
    checks.equal("the stages", stages, {1: "Archived", 2: "Production"})


def _must_be_back(checks: Checks, accuracy: Accuracy, share: float) -> None:
    back = accuracy.recovered
    words = "nothing was lost that could come back" if math.isnan(back) else f"{back:.0%} of the lost accuracy is back"
    checks.must(back >= share, f"{words}, not {share:.0%}")


def _must_be_journaled(checks: Checks, stage: Stage, wrong: int, good: int) -> None:
    entries = [e for e in stage.workspace.table.journal("rain") if "change" in e.intent]
    changes = [(e.kind, e.intent["change"]["to"]) for e in entries]
    checks.must(("manual", wrong) in changes, f"the journal has no manual change to version {wrong}: {changes}")
    checks.must(("rollback", good) in changes, f"the journal has no rollback to version {good}: {changes}")
