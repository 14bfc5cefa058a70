"""The sections of a policy, but for its log: each a plain record with the meaning of every key."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from selfheal.errors import InputError
from selfheal.policy.hours import Hours, Zone
from selfheal.policy.units import family, likely
from selfheal.policy.values import Duration, Share, Window, WindowSpec
from selfheal.rules import Probation, Rule, parse

FALSE_HEALS = Fraction(1, 1000)


class Section(BaseModel):
    """Immutable; a key that it does not know is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )  # a URL may hold a password


class UntilConfirmed(Section):
    """What a new rule's heal may do while no label has confirmed the rule."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    share: float = Field(0.15, gt=0, le=1, description="more rows covered than this share: audit")
    time: Duration = Field(
        dt.timedelta(days=14), alias="for", description="event time after which it is taken back unconfirmed"
    )


class RuleEntry(Section):
    """One line of ``rules:``; see :class:`selfheal.rules.Rule`."""

    name: str = Field(min_length=1, description="unique name, shown in reasons")
    when: str = Field(description="SQL predicate over the model's columns; quote odd names")
    vote: int | bool | str = Field(description="the class label it votes for")
    knowledge: Literal["record", "new"] = Field("record", description="`new`: about a pattern the reference never saw")
    precision: float = Field(0.9, gt=0.5, le=1, description="declared share of right votes of a `new` rule")

    until_confirmed: UntilConfirmed | None = Field(
        None, description="of a `new` rule: how much its heal may cover, and for how long, before labels confirm it"
    )

    @property
    def rule(self) -> Rule:
        """Ready to vote."""
        trial = self.until_confirmed
        probation = None if trial is None else Probation(trial.share, trial.time)
        return Rule(self.name, self.when, self.vote, self.knowledge, self.precision, probation)

    @model_validator(mode="after")
    def _parses(self) -> RuleEntry:
        if self.until_confirmed is not None and self.knowledge != "new":
            raise ValueError("until_confirmed is for rules with knowledge: new; the others go by their record")
        try:
            parse(self.when)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


class Declare(Section):
    """What the owner knows and data cannot tell; every key is optional."""

    measurement: tuple[str, ...] = Field(
        (), description="columns whose unit, scale or offset may change while the concept stays"
    )
    stable_class: int | bool | str | None = Field(None, description="rows of this class still look as they did")
    prior_band: tuple[float, float] | None = Field(
        None,
        description="range of the last class's share; without it the odds of no class may change more than sixfold",
    )
    context: tuple[str, ...] = Field(
        (), description="columns that place a window and hardly vary within it; calendar columns need not be named"
    )
    segments: tuple[str, ...] = Field(
        (), description="columns by whose values health is also kept, such as a country or a client"
    )
    units: Mapping[str, str | Mapping[str, float]] = Field(
        default_factory=dict,
        description="per column, the model's unit, such as `mmHg`, or the same amount in units of your own, such as "
        "`{ct: 1, g: 0.2}`",
    )
    labels_by_lot: bool = Field(
        False, description="the rows that get a label are drawn by lot: other class shares among them are believed"
    )

    @model_validator(mode="after")
    def _worth(self) -> Declare:
        for column, worth in self.units.items():
            if isinstance(worth, str):
                if not family(worth):
                    raise ValueError(
                        f"units.{column}: {worth!r} is no unit that is listed{likely(worth)}; name one "
                        "of docs/policy.md, or write what the same amount is in two units: {mine: 1, theirs: 0.2}"
                    )
                continue
            bad = [unit for unit, value in worth.items() if not (math.isfinite(value) and value > 0)]
            if bad:
                raise ValueError(f"units.{column}: {bad[0]!r} is worth {worth[bad[0]]}; write a finite number above 0")
            if len(worth) < 2:
                raise ValueError(
                    f"units.{column} has {len(worth)} units; a conversion needs two, such as ct: 1, g: 0.2"
                )
        return self

    @model_validator(mode="after")
    def _band(self) -> Declare:
        if self.prior_band is None:
            return self
        low, high = self.prior_band
        if not 0 <= low < high <= 1:
            raise ValueError(f"prior_band {list(self.prior_band)} is no range within [0, 1]; write [low, high]")
        return self


class Monitor(Section):
    """When to look, and at how much."""

    every: Duration = Field(dt.timedelta(minutes=5), description="schedule of the monitor flow")
    window: Window = Field(
        WindowSpec(duration=dt.timedelta(hours=1)), description="`1h` of event time, or `365 rows` by arrival"
    )
    lateness: Duration = Field(dt.timedelta(minutes=1), description="how long a closed window waits for late rows")
    min_rows: int = Field(500, ge=1, description="fewer rows than this are joined with the next window")
    sentinel: bool = Field(
        False, description="the service watches the open window too, and has it closed early, once, where it is unusual"
    )

    @model_validator(mode="after")
    def _cuts(self) -> Monitor:
        if self.sentinel and self.window.rows is not None:
            raise ValueError(f"sentinel: windows of {self.window} are never cut; write a duration such as window: 1h")
        return self


class Heal(Section):
    """When to heal."""

    patience: tuple[int, int] = Field((2, 3), description="alarms needed, of that many windows")
    cooldown: Duration = Field(dt.timedelta(minutes=30), description="event time after a heal in which no other starts")
    max_changed: float = Field(0.3, gt=0, le=1, description="more predictions changed than this share: audit")
    false_heals: Share = Field(
        FALSE_HEALS, description="share of heals that may harm: where judged ones show that more do, each heal waits"
    )

    @model_validator(mode="after")
    def _patience(self) -> Heal:
        need, of = self.patience
        if not 1 <= need <= of:
            raise ValueError(
                f"patience {list(self.patience)} can never be met; write [needed, windows], needed <= windows"
            )
        return self


class Budget(Section):
    """How much of the loop's own doing there may be."""

    promotions: int = Field(ge=1, description="promotions and recalls")
    per: Duration = Field(description="in any such time")

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if self.per <= dt.timedelta(0):
            raise ValueError("per is no time; write a duration such as 1d")
        return self


class Release(Section):
    """Who may put a healed adapter into Production."""

    approval: Literal["auto", "manual", "observe"] = Field(
        "auto", description="`manual`: every heal waits in Staging for a person; `observe`: none is even registered"
    )
    approvers: int = Field(1, ge=1, le=9, description="2: two names by `selfheal approve` before Production; a record")
    ambiguous: Literal["audit", "promote", "refuse"] = Field("audit", description="what to do when data cannot decide")
    bake_windows: int = Field(1, ge=0, description="windows a new version serves before another heal may replace it")
    watch_windows: int = Field(
        3, ge=0, description="windows after a swap in which it is asked again whether it is worse"
    )
    budget: Budget | None = Field(
        None, description="`{promotions: 3, per: 1d}`: no more promotions and recalls by the loop in any such time"
    )
    not_during: tuple[Hours, ...] = Field(
        (), description='`["Fri 18:00 - Mon 06:00"]`: when the loop promotes and recalls nothing'
    )
    timezone: Zone = Field("UTC", description="the clock of `not_during`, an IANA name")
    shadow: float = Field(0.0, ge=0, le=1, description="share of requests that versions in Staging score too")
    shadow_windows: int = Field(
        0, ge=0, le=48, description="windows whose shadow answers must agree with the gate before the loop promotes"
    )

    @model_validator(mode="after")
    def _shadowed(self) -> Release:
        if self.shadow_windows and not self.shadow:
            raise ValueError(
                f"shadow_windows {self.shadow_windows} can never be met: no request is shadowed; write shadow: 0.1"
            )
        return self


class Serve(Section):
    """What the scoring service takes."""

    extra_columns: Literal["refuse", "ignore"] = Field(
        "refuse", description="`ignore`: columns that the model does not have are left out, as MLflow's server does"
    )


class Cost(Section):
    """Cost of each kind of error; with it the gate decides by expected cost. Two classes only."""

    false_positive: float = Field(gt=0, description="cost of calling the first class the last")
    false_negative: float = Field(gt=0, description="cost of calling the last class the first")
