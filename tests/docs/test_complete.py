"""The reference pages name everything there is: every policy key, command, option, route and variable."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic import BaseModel

from selfheal.policy import Cost, Log, LogLabels, Policy, RuleEntry, UntilConfirmed
from selfheal.policy.units import FAMILIES
from selfheal.settings import Settings
from tests.docs.markdown import ROOT, headings

DOCS = ROOT / "docs"


# Sections that a policy has only where they are written, each with what it needs.
WRITTEN: dict[str, BaseModel] = {
    "rules": RuleEntry(name="r", when="x > 0", vote=1),
    "rules[].until_confirmed": UntilConfirmed(),
    "cost": Cost(false_positive=1, false_negative=1),
    "log": Log(),
    "log.labels": LogLabels.model_validate({"from": "closed"}),
}


def keys(holder: BaseModel | None = None, above: str = "") -> Iterator[tuple[str, BaseModel | None, str, str]]:
    """Every dotted key of a policy, the model that holds its default, its name in it and its description."""
    holder = holder or Policy()
    for name, field in type(holder).model_fields.items():
        key = field.alias or name
        here = f"{above}{key}"
        yield here, None if field.is_required() else holder, name, field.description or ""
        inner = WRITTEN.get(here, getattr(holder, name))
        if isinstance(inner, BaseModel):
            yield from keys(inner, f"{here}[]." if key == "rules" else f"{here}.")


def row(key: str, holder: BaseModel | None, name: str, description: str) -> str:
    """The row that docs/policy.md must have for a key."""
    default: Any = "required"
    if holder is not None:
        value = holder.model_dump(mode="json", by_alias=False)[name]
        default = "" if value in (None, [], "") or isinstance(value, dict) else f"`{_plain(value)}`"
    return f"| `{key}` | {default} | {description} |"


def _plain(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("\n").removesuffix("\n...").strip()


def test_every_policy_key_is_documented_with_its_default() -> None:
    page = (DOCS / "policy.md").read_text()
    missing = [line for line in (row(*key) for key in keys()) if line not in page]
    assert not missing, "docs/policy.md lacks these rows:\n" + "\n".join(missing)
    known = {key for key, *_ in keys()}
    assert not set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) - known


def test_every_unit_that_can_be_declared_is_documented() -> None:
    page = (DOCS / "policy.md").read_text()
    for name, units in FAMILIES.items():
        assert f"| {name} | {', '.join(f'`{unit}`' for unit in units)} |" in page


def group() -> click.Group:
    from selfheal.cli import main

    assert isinstance(main, click.Group)
    return main


def test_every_command_and_option_is_documented() -> None:
    text, titles = (DOCS / "cli.md").read_text(), headings(DOCS / "cli.md")
    cli = group()
    context = click.Context(cli)
    names = cli.list_commands(context)
    assert names
    for name in names:
        assert f"selfheal {name}" in titles, f"docs/cli.md has no section `selfheal {name}`"
        section = re.split(r"^## ", text.split(f"## selfheal {name}\n", 1)[1], flags=re.MULTILINE)[0]
        command = cli.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            shown = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
            if shown not in {"--help", "--json"}:  # said once, at the top of the page
                assert shown in section, f"docs/cli.md: `selfheal {name}` does not speak of {shown}"
    assert not {t for t in titles if t.startswith("selfheal ")} - {f"selfheal {n}" for n in names}


def test_every_environment_variable_is_documented() -> None:
    page = (DOCS / "operations.md").read_text()
    assert not [name for name in Settings.from_env({"PREFECT_API_URL": "http://p"}).environ() if name not in page]


def test_every_route_is_documented() -> None:
    """Routes are the literal paths in the serving package's source."""
    import selfheal.serving

    folder = Path(inspect.getfile(selfheal.serving)).parent
    source = "\n".join(p.read_text() for p in folder.glob("*.py"))
    routes = set(re.findall(r"[\"'](/[a-z0-9./]+)[\"']", source))
    assert {"/invocations", "/ping", "/health", "/version", "/feedback", "/metrics"} <= routes
    page = (DOCS / "http.md").read_text()
    assert not [route for route in routes if f"`{route}`" not in page and f" {route}`" not in page]


@pytest.mark.parametrize("name", sorted(p.name for p in DOCS.glob("*.md")))
def test_no_page_is_long(name: str) -> None:
    most = 300 if name in ("cli.md", "operations.md") else 250  # a section a command, a section a trouble
    assert len((DOCS / name).read_text().splitlines()) <= most
