"""The policy as one document: read from a file or a dict, validated, held against a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from selfheal.errors import PolicyError, nearest
from selfheal.policy.faults import fault_lines
from selfheal.policy.logs import Log
from selfheal.policy.sections import FALSE_HEALS, Cost, Declare, Heal, Monitor, Release, RuleEntry, Section, Serve
from selfheal.policy.text import parsed
from selfheal.policy.units import contradicts, quantity
from selfheal.policy.values import check_name
from selfheal.rules import Rule

_SINCE = (("keep", None), ("when_full", "answer"), ("query", None))
"""Keys of ``log``, and of its ``labels``, that came later, each with its default."""
_RELEASE_SINCE = (("shadow", 0.0), ("shadow_windows", 0))
"""The same of ``release``."""


class Policy(Section):
    """A parsed policy; ``Policy.load`` reads a file or a dict."""

    model: str | None = Field(None, description="the registered model's name")
    target: str | None = Field(None, description="the label column of the reference")
    rules: tuple[RuleEntry, ...] = Field((), description="weak supervision")
    declare: Declare = Field(default_factory=Declare, description="what the owner knows and data cannot tell")
    monitor: Monitor = Field(default_factory=Monitor, description="when to look")
    heal: Heal = Field(default_factory=Heal, description="when to heal")
    release: Release = Field(default_factory=Release, description="who may promote")
    cost: Cost | None = Field(None, description="optional: then the gate decides by expected cost")
    log: Log | None = Field(None, description="where predictions are read from; without it: the own table")
    serve: Serve = Field(default_factory=Serve, description="what the scoring service takes")

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

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        if self.foreign is not None and self.monitor.sentinel:
            raise ValueError(
                "monitor.sentinel watches what `selfheal serve` answers, and these windows are read from log.from; "
                "leave one of them out"
            )
        if self.foreign is not None and self.monitor.window.rows is not None and self.foreign.columns.order is None:
            raise ValueError(
                f"monitor.window is {self.monitor.window}, and rows of a log have no order of arrival of their own; "
                "name the column that has it in log.columns.order, or write a duration such as 1h"
            )
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
        if not isinstance(source, str | Path):
            raise PolicyError(f"policy: {type(source).__name__} is none; give a path, a mapping of its keys, or None")
        path = Path(source)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise PolicyError(f"policy {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PolicyError(f"policy {path} is not YAML: {error}") from error
        return cls.loads(text, str(path))

    @classmethod
    def loads(cls, text: str, where: str = "") -> Policy:
        """Read the text of a policy, as a file holds it or :meth:`to_yaml` wrote it; ``where`` it stood, for errors.

        Raises
        ------
        PolicyError
        """
        try:
            node, data = parsed(text)
        except yaml.YAMLError as error:
            raise PolicyError(f"{f'policy {where}'.strip()} is not YAML: {error}") from error
        if data is not None and not isinstance(data, dict):
            raise PolicyError(
                f"{f'policy {where}'.strip()} holds {type(data).__name__}, not a mapping of keys such as model, rules, "
                "monitor"
            )
        return _validate(data or {}, where or "policy", node if where else None)

    @property
    def rule_set(self) -> tuple[Rule, ...]:
        """The rules, ready to vote."""
        return tuple(entry.rule for entry in self.rules)

    @property
    def foreign(self) -> Log | None:
        """The log that is somebody else's; None where rows are read from the own table."""
        return self.log if self.log is not None and self.log.source else None

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the policy's content; comments and key order do not count."""
        content = self.model_dump(mode="json")
        # Digests that older releases journaled stay.
        if self.log is None:
            del content["log"]
        else:
            content["log"] = _before(content["log"])
        if self.heal.false_heals == FALSE_HEALS:
            del content["heal"]["false_heals"]
        content["release"] = {k: v for k, v in content["release"].items() if (k, v) not in _RELEASE_SINCE}
        if not self.monitor.sentinel:
            del content["monitor"]["sentinel"]
        for key in ("labels_by_lot", "segments"):
            if not content["declare"][key]:
                del content["declare"][key]
        if self.serve == Serve():
            del content["serve"]
        for rule in content["rules"]:
            if rule["until_confirmed"] is None:
                del rule["until_confirmed"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The policy as a file that :meth:`load` reads back to an equal one."""
        return str(yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True))

    def check(
        self,
        columns: Sequence[str],
        classes: Sequence[Any],
        where: str = "policy",
        *,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        """Hold the policy against a model's columns and classes.

        Parameters
        ----------
        kinds
            Of a policy that is not in force yet: it is held to :meth:`check_declared` too.

        Raises
        ------
        PolicyError
            Naming the rule or declaration, the value and the nearest valid one.
        """
        _check_rules(self.rule_set, columns, classes, where)
        declared = self.declare
        for key, named in (
            ("measurement", declared.measurement),
            ("context", declared.context),
            ("segments", declared.segments),
            ("units", declared.units),
        ):
            for column in named:
                if column not in columns and not (key == "measurement" and _first(column) in columns):
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
        if self.log is not None:
            _check_log(self.log, columns, classes, where)
        if kinds is not None:
            self.check_declared(kinds, where)

    def check_declared(self, kinds: Mapping[str, str], where: str = "policy") -> None:
        """Hold what is declared against what the columns are and are called; of a policy that is new, and no other.

        One that is in force goes on: earlier releases took these without a word.

        Parameters
        ----------
        kinds
            Column → ``"float" | "int" | "bool" | "str"``.

        Raises
        ------
        PolicyError
            A measurement or unit of text, or a unit of another quantity than the column's name says.
        """
        for key, named in (("measurement", self.declare.measurement), ("units", self.declare.units)):
            for column in named:
                if kinds.get(column) == "str":
                    raise PolicyError(
                        f"{where}: declare.{key} names column {column!r}, which holds text, and words have no unit, "
                        "scale or offset that could change; leave it out, or give the model the numbers that it holds"
                    )
        for column, unit in self.declare.units.items():
            if isinstance(unit, str) and (said := contradicts(column, unit)):
                raise PolicyError(
                    f"{where}: declare.units.{column} is {unit!r}, a unit of {quantity(unit)}, and by its name the "
                    f"column is in {said!r}, a unit of {quantity(said)}; write {said} or leave the line out. Where the "
                    f"name misleads, write units of your own: {{{unit}: 1, theirs: 2.5}}"
                )


def _before(log: Mapping[str, Any]) -> dict[str, Any]:
    """A log without the keys that came later, where they have their defaults."""
    kept = {k: v for k, v in log.items() if (k, v) not in _SINCE}
    return kept | {"labels": _before(kept["labels"])} if kept.get("labels") else kept


def _first(name: str) -> str:
    """The first of the columns that a column of lists stands for."""
    return f"{name}_0"


def _check_rules(rules: Sequence[Rule], columns: Sequence[str], classes: Sequence[Any], where: str) -> None:
    for rule in rules:
        for column in rule.columns:
            if column not in columns:
                raise PolicyError(
                    f"{where}: rule {rule.name!r} reads column {column!r}, which the model does not have"
                    f"{nearest(column, columns)} (columns: {', '.join(columns)})"
                )
        _check_class(rule.vote, classes, f"{where}: rule {rule.name!r} votes for")


def _check_log(log: Log, columns: Sequence[str], classes: Sequence[Any], where: str) -> None:
    for theirs, ours in log.rename.items():
        if ours not in columns and _first(ours) not in columns:
            raise PolicyError(
                f"{where}: log.rename calls {theirs!r} by {ours!r}, which the model does not have"
                f"{nearest(ours, columns)} (columns: {', '.join(columns)})"
            )
    made = set(log.rename.values())
    for theirs, ours in log.rename.items():
        if theirs in columns and theirs not in made:
            raise PolicyError(
                f"{where}: log.rename reads column {theirs!r} as {ours!r}, and the model has a feature {theirs!r} too; "
                f"say which column of the log holds that one: {{…: {theirs}}}"
            )
    named = len(log.columns.probabilities)
    if named not in (0, len(classes)) and not (named == 1 and len(classes) == 2):
        raise PolicyError(
            f"{where}: log.columns.probabilities names {named} columns, and the model has {len(classes)} classes; name "
            f"one column for each, in this order: {', '.join(map(repr, classes))}"
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
        raise PolicyError("\n".join(fault_lines(error.errors(), where, node, Policy))) from error
