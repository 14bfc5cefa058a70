"""The first policy and factory of a model, written from what its rows say; what a person decides is a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from selfheal.drill.recognised import Column, Recognised

SHOWN = 60
"""Columns of which each has a line."""

LISTED = 12
"""Columns whose names say nothing of a unit, of those that may have one."""

BAND = 3.0
"""By which factor a suggested band lets the last class's share rise or fall."""


def policy_text(name: str, seen: Recognised, source: str) -> str:
    """``rules/NAME.yaml``: what holds by default, and as comments what the rows suggest.

    Parameters
    ----------
    source
        Where the rows came from, in words.
    """
    said = "\n".join(f"# {line}".rstrip() for line in _said(seen, source))
    return f"""\
{said}

model: {_value(name)}
target: {_value(seen.target)}

# What your experts know, as SQL predicates over columns; optional.
rules: []
# - {{name: a_rule, when: {_example(seen)}, vote: {_value(next(reversed(seen.classes)))}}}

# What you know and rows cannot tell. Take the # away from what is true.
{_declare(seen)}

monitor: {{every: 5m, window: 1h, lateness: 1m, min_rows: 500}}    # or window: 1000 rows
heal: {{patience: [2, 3], cooldown: 30m, max_changed: 0.3}}    # more predictions changed than this share: you are asked
release: {{approval: auto, ambiguous: audit}}    # approval: manual waits for you, observe only looks
"""


def factory_text(name: str, seen: Recognised, rows: str, policy: str) -> str:
    """``NAME_model.py``: a factory to fill in.

    Parameters
    ----------
    rows, policy
        Paths of the reference and of the policy.
    """
    unfit = [c.name for c in seen.columns if c.unfit]
    leave = f".drop(columns={unfit!r})" if unfit else ""
    read = "read_csv" if rows.lower().endswith(".csv") else "read_parquet"
    return f'''\
"""Gives selfheal the model {name!r}: fill in `network` and `preprocess`."""

import pandas as pd

import selfheal


def build() -> selfheal.MonitoredModel:
    # Rows that the model was NOT trained on, in time order; features: {len(seen.features)}.
    reference = pd.{read}({rows!r}){leave}
    raise NotImplementedError("load your trained network here, then remove this line")
    network = ...  # a torch.nn.Module; its last layer gives the logits of {len(seen.classes)} classes
    preprocess = None  # the fitted scikit-learn transformer before it
    return selfheal.MonitoredModel(
        module=network, head=-1, reference=reference, target={seen.target!r}, preprocess=preprocess, policy={policy!r}
    )
'''


def _said(seen: Recognised, source: str) -> Iterator[str]:
    columns = f"{len(seen.columns)} columns beside {_named(seen.target)}"
    yield f"What {_named(source)} says, to be looked over: {seen.rows} rows, {columns}."
    shares = [f"{_named(str(label))} {share:.1%}" for label, share in list(seen.classes.items())[:20]]
    yield f"classes: {', '.join(shares)}{' ...' if len(seen.classes) > 20 else ''}"
    blocks = {name: block for block in seen.blocks for name in block}
    for block in seen.blocks:
        yield f"block: {_named(block[0])} to {_named(block[-1])}, {len(block)} columns alike"
    single = [c for c in seen.columns if c.name not in blocks]
    for column in single[:SHOWN]:
        yield f"{_named(column.name)}: {'; '.join(_facts(column))}"
    if len(single) > SHOWN:
        yield f"and {len(single) - SHOWN} columns more"


def _facts(column: Column) -> Iterator[str]:
    if column.unfit:
        yield f"LEAVE IT OUT: {_plain(column.unfit)}"
        return
    kinds = {"float": "numbers", "int": "whole numbers", "bool": "true or false", "str": f"{column.distinct} words"}
    yield kinds[column.kind] + (f" in steps of {column.step:g}" if column.step and column.kind == "float" else "")
    if column.unit:
        yield f"in {column.unit} by its name"
    if column.calendar:
        yield "a part of date or time, recognised by itself"
    if column.places:
        yield "stands still over long stretches: context?"
    if column.missing:
        yield f"{column.missing:.1%} missing"


def _declare(seen: Recognised) -> str:
    """The suggestions, as comments."""
    columns = [c for c in seen.columns if not c.unfit]
    lines = []
    if measured := [c.name for c in columns if c.measured]:
        lines.append(f"measurement: {_value(measured)}    # unit, scale or offset may change, the concept stays")
    blocks = {name for block in seen.blocks for name in block}
    if others := [c.name for c in columns if c.numeric and not (c.measured or c.places) and c.name not in blocks]:
        lines.append(
            f"# by values also: {_value(others[:LISTED])}{' ...' if len(others) > LISTED else ''}    # if measured"
        )
    share = list(seen.classes.values())[-1]
    if len(seen.classes) == 2:
        band = [float(f"{share / BAND:.1g}"), min(round(share * BAND, 2), 0.95)]
        lines.append(f"prior_band: {band}    # the share of {_named(str(list(seen.classes)[-1]))}, {share:.1%} here")
    if places := [c.name for c in columns if c.places]:
        lines.append(f"context: {_value(places)}    # constant within a window by their nature")
    if not lines:
        lines.append("measurement: []    # columns whose unit, scale or offset may change while the concept stays")
    return "\n".join(["# declare:", *(f"#   {line}" for line in lines)])


def _example(seen: Recognised) -> str:
    name = next((c.name for c in seen.columns if c.kind in ("int", "float") and not c.unfit), "column")
    return _value(f"{_sql(name)} > 0")


def _sql(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else '"' + name.replace('"', '""') + '"'


def _value(value: Any) -> str:
    """A value in YAML's flow style, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    return _plain(json.dumps(value) if "\n" in text else text)


def _named(name: str) -> str:
    """A name in a comment: nothing in it ends the line."""
    return name if re.fullmatch(r"[\w .%°()/-]+", name) else json.dumps(name)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def next_steps(name: str, factory: str, made: Sequence[str]) -> list[str]:
    """What to do now, a line each."""
    return [
        f"written: {', '.join(made)}",
        f"1. fill in your network in {factory}",
        f"2. selfheal check {name}",
        f"3. selfheal adopt {name}",
    ]
