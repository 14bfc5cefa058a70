"""The policy of one model: rules, declarations, and how its loop may act. One YAML file, owned by domain people.

It is parsed, then held against the model's columns and classes; a fault names file, line and the nearest valid name.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from selfheal.durations import Duration, format_duration, parse_duration
from selfheal.errors import InputError, PolicyError, nearest
from selfheal.hours import Hours, Zone
from selfheal.rules import Rule, parse

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")


def check_name(name: str) -> str:
    """A model's name, if every store can hold it: PostgreSQL cuts a table's name, ``predictions_<name>``, at 63 bytes.

    Raises
    ------
    InputError
        If it is not 1 to 48 letters, digits, ``_`` and ``-``, or begins or ends with what is not allowed.

    >>> check_name("fraud")
    'fraud'
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a model ({len(name)} characters): 1 to 48 letters, digits, '_' and '-', beginning "
            "with a letter or digit; choose another name"
        )
    if name.endswith("-base"):
        raise InputError(f"{name!r} ends in '-base', the name of another model's bases; choose another name")
    return name


class WindowSpec(NamedTuple):
    """How the log is cut: by event time (``duration``) or by arrival (``rows``); exactly one is set."""

    duration: dt.timedelta | None = None
    rows: int | None = None

    @classmethod
    def parse(cls, value: object) -> WindowSpec:
        """Read ``"1h"`` or ``"365 rows"``."""
        if isinstance(value, WindowSpec):
            return value
        if match := re.fullmatch(r"\s*([1-9]\d*)\s*rows\s*", str(value)):
            return cls(rows=int(match[1]))
        try:
            duration = parse_duration(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is not a window; write a duration such as 1h, or a count such as 365 rows"
            ) from None
        if duration <= dt.timedelta(0):
            raise ValueError(f"{value!r} is an empty window")
        return cls(duration=duration)

    def __str__(self) -> str:
        return f"{self.rows} rows" if self.duration is None else format_duration(self.duration)


Window = Annotated[WindowSpec, BeforeValidator(WindowSpec.parse), PlainSerializer(str)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class RuleEntry(_Section):
    """One line of ``rules:``; see :class:`selfheal.rules.Rule`."""

    name: str = Field(min_length=1, description="unique name, shown in reasons")
    when: str = Field(description="SQL predicate over the model's columns; quote odd names")
    vote: int | bool | str = Field(description="the class label it votes for")
    knowledge: Literal["record", "new"] = Field("record", description="`new`: about a pattern the reference never saw")
    precision: float = Field(0.9, gt=0.5, le=1, description="declared share of right votes of a `new` rule")

    @model_validator(mode="after")
    def _parses(self) -> RuleEntry:
        try:
            parse(self.when)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


class Declare(_Section):
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
    units: Mapping[str, Mapping[str, float]] = Field(
        default_factory=dict, description="per column, the same amount in units of your own, such as `{ct: 1, g: 0.2}`"
    )

    @model_validator(mode="after")
    def _worth(self) -> Declare:
        for column, worth in self.units.items():
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


class Monitor(_Section):
    """When to look, and at how much."""

    every: Duration = Field(dt.timedelta(minutes=5), description="schedule of the monitor flow")
    window: Window = Field(
        WindowSpec(duration=dt.timedelta(hours=1)), description="`1h` of event time, or `365 rows` by arrival"
    )
    lateness: Duration = Field(dt.timedelta(minutes=1), description="how long a closed window waits for late rows")
    min_rows: int = Field(500, ge=1, description="fewer rows than this are joined with the next window")


class Heal(_Section):
    """When to heal."""

    patience: tuple[int, int] = Field((2, 3), description="alarms needed, of that many windows")
    cooldown: Duration = Field(dt.timedelta(minutes=30), description="event time after a heal in which no other starts")
    max_changed: float = Field(0.3, gt=0, le=1, description="more predictions changed than this share: audit")

    @model_validator(mode="after")
    def _patience(self) -> Heal:
        need, of = self.patience
        if not 1 <= need <= of:
            raise ValueError(
                f"patience {list(self.patience)} can never be met; write [needed, windows], needed <= windows"
            )
        return self


class Budget(_Section):
    """How much of the loop's own doing there may be."""

    promotions: int = Field(ge=1, description="promotions and recalls")
    per: Duration = Field(description="in any such time")

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if self.per <= dt.timedelta(0):
            raise ValueError("per is no time; write a duration such as 1d")
        return self


class Release(_Section):
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


class Cost(_Section):
    """Cost of each kind of error; with it the gate decides by expected cost. Two classes only."""

    false_positive: float = Field(gt=0, description="cost of calling the first class the last")
    false_negative: float = Field(gt=0, description="cost of calling the last class the first")


class Policy(_Section):
    """A parsed policy; ``Policy.load`` reads a file or a dict."""

    model: str | None = Field(None, description="the registered model's name")
    target: str | None = Field(None, description="the label column of the reference")
    rules: tuple[RuleEntry, ...] = Field((), description="weak supervision")
    declare: Declare = Field(default_factory=Declare, description="what the owner knows and data cannot tell")
    monitor: Monitor = Field(default_factory=Monitor, description="when to look")
    heal: Heal = Field(default_factory=Heal, description="when to heal")
    release: Release = Field(default_factory=Release, description="who may promote")
    cost: Cost | None = Field(None, description="optional: then the gate decides by expected cost")

    @model_validator(mode="after")
    def _named(self) -> Policy:
        if self.model is not None:
            check_name(self.model)
        return self

    @model_validator(mode="after")
    def _unique(self) -> Policy:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rule name {twice[0]!r} is used twice; a reason must point to one rule")
        return self

    @classmethod
    def load(cls, source: Policy | Mapping[str, Any] | str | Path | None) -> Policy:
        """Read a policy from a YAML file or a mapping; None is the default policy without rules.

        Raises
        ------
        PolicyError
            Naming the file, the line, the key and the nearest valid one.
        """
        if source is None:
            return cls()
        if isinstance(source, Policy):
            return source
        if isinstance(source, Mapping):
            return _validate(dict(source), "policy", None)
        path = Path(source)
        try:
            text = path.read_text(encoding="utf-8")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            data = yaml.safe_load(text)
        except OSError as error:
            raise PolicyError(f"policy {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise PolicyError(f"policy {path} is not YAML: {error}") from error
        if data is not None and not isinstance(data, dict):
            raise PolicyError(
                f"policy {path} holds {type(data).__name__}, not a mapping of keys such as model, rules, monitor"
            )
        return _validate(data or {}, str(path), node)

    @property
    def rule_set(self) -> tuple[Rule, ...]:
        """The rules, ready to vote."""
        return tuple(Rule(r.name, r.when, r.vote, r.knowledge, r.precision) for r in self.rules)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the policy's content; comments and key order do not count."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The policy as a file that :meth:`load` reads back to an equal one."""
        return str(yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True))

    def check(self, columns: Sequence[str], classes: Sequence[Any], where: str = "policy") -> None:
        """Hold the policy against a model's columns and classes.

        Raises
        ------
        PolicyError
            Naming the rule or declaration, the value and the nearest valid one.
        """
        for rule in self.rule_set:
            for column in rule.columns:
                if column not in columns:
                    raise PolicyError(
                        f"{where}: rule {rule.name!r} reads column {column!r}, which the model does not have"
                        f"{nearest(column, columns)} (columns: {', '.join(columns)})"
                    )
            _check_class(rule.vote, classes, f"{where}: rule {rule.name!r} votes for")
        declared = self.declare
        for key, named in (
            ("measurement", declared.measurement),
            ("context", declared.context),
            ("units", declared.units),
        ):
            for column in named:
                if column not in columns:
                    raise PolicyError(
                        f"{where}: declare.{key} names column {column!r}, which the model does not have"
                        f"{nearest(column, columns)}"
                    )
        if self.declare.stable_class is not None:
            _check_class(self.declare.stable_class, classes, f"{where}: declare.stable_class is")
        if self.cost is not None and len(classes) != 2:
            raise PolicyError(
                f"{where}: cost is declared, but the model has {len(classes)} classes; "
                "false positives and negatives need exactly two"
            )


def _check_class(label: Any, classes: Sequence[Any], says: str) -> None:
    if label not in list(classes):
        raise PolicyError(
            f"{says} {label!r}, which is no class of the model (classes: {', '.join(map(repr, classes))})"
        )


def _validate(data: dict[str, Any], where: str, node: yaml.Node | None) -> Policy:
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        raise PolicyError("\n".join(_fault(fault, where, node) for fault in error.errors())) from error


def _fault(fault: Any, where: str, node: yaml.Node | None) -> str:
    """One line per fault: file, line, dotted key, what is wrong, the nearest valid key."""
    path = [part for part in fault["loc"] if not (isinstance(part, str) and part in {"int", "bool", "str"})]
    line = _line(node, path)
    place = f"{where}, line {line}" if line else where
    key = ".".join(str(part) for part in path) or "policy"
    if fault["type"] == "extra_forbidden":
        valid = _keys(path[:-1])
        return f"{place}: unknown key {key!r}{nearest(path[-1], valid)} (valid: {', '.join(valid)})"
    given = fault.get("input")
    shown = (
        "" if isinstance(given, dict | list | tuple | BaseModel) or fault["type"] == "missing" else f" (got {given!r})"
    )
    return f"{place}: {key}: {fault['msg'].removeprefix('Value error, ')}{shown}"


_SECTIONS: dict[str, type[BaseModel]] = {
    "rules": RuleEntry,
    "declare": Declare,
    "monitor": Monitor,
    "heal": Heal,
    "release": Release,
    "budget": Budget,
    "cost": Cost,
}


def _keys(path: Sequence[Any]) -> list[str]:
    section: type[BaseModel] = Policy
    for part in path:
        if isinstance(part, str):
            section = _SECTIONS[part]
    return list(section.model_fields)


def _line(node: yaml.Node | None, path: Sequence[Any]) -> int | None:
    """The 1-based line of the deepest part of ``path`` that the file holds."""
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line or (1 if node is not None else None)
