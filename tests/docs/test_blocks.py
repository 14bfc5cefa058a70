"""Every block of the README and of docs/ is run or checked: what they show is true."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from selfheal import Policy
from tests.docs.markdown import PAGES, ROOT, Block, anchors, blocks, prose

CHECKED = {"python", "console", "yaml", "json", "mermaid", "text", "sql"}
# Programs that a page may name beside selfheal and make. What they are told is not checked here.
OTHERS = {"git", "cd", "export", "docker", "curl", "uv", "psql", "cat", "mlflow"}


def every(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *languages)]


def test_every_block_has_a_language_that_is_checked() -> None:
    assert not [str(b) for b in every() if b.language not in CHECKED]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_runs(page: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order in one namespace and an empty directory."""
    code = list(blocks(page, "python"))
    if not code:
        return
    (tmp_path / "rules").mkdir()
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    if page.name in ("README.md", "logs.md"):  # they take a trained network as the reader's own
        from tests.docs.given import fraud_model

        namespace.update(fraud_model(tmp_path / "rules"))
    for block in code:
        # Blank lines before it, so that a traceback names the line of the page.
        exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize("block", every("yaml"), ids=str)
def test_yaml_is_a_policy(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(block.text)
    Policy.load(path)


@pytest.mark.parametrize("block", every("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


def test_request_bodies_are_such() -> None:
    """Bodies on the HTTP page that look like rows have one of the forms and known params."""
    from selfheal.serving.requests import FORMS, PARAMS

    bodies = [json.loads(block.text) for block in blocks(ROOT / "docs/http.md", "json")]
    rows = [body for body in bodies if set(body) & set(FORMS)]
    assert {form for body in rows for form in set(body) - {"params"}} == set(FORMS)
    assert all(len(set(body) - {"params"}) == 1 for body in rows)
    assert {param for body in rows for param in body.get("params", {})} == set(PARAMS)


def commands(block: Block) -> list[list[str]]:
    """The commands of a console block: lines after a prompt, joined over backslashes, cut at pipes and &&."""
    typed = re.findall(r"^\$ (.+)$", block.text.replace("\\\n", " "), re.MULTILINE)
    assert typed, f"{block}: a console block without a prompt"
    found = []
    for line in typed:
        part: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word in {"&&", "|", ";"}:
                found.append(part)
                part = []
            elif part or not re.match(r"[A-Z_]+=", word):  # settings before a command are not part of it
                part.append(word)
    return [part for part in found if part]


def check_selfheal(arguments: list[str]) -> None:
    """Parse, but do not run: an unknown command, option or number of arguments fails."""
    from selfheal.cli import main as cli

    command: click.Command = cli
    context = click.Context(cli, info_name="selfheal")
    if not arguments or arguments == ["--help"]:
        return
    assert isinstance(cli, click.Group)
    found = cli.get_command(context, arguments[0])
    assert found is not None, f"no command {arguments[0]!r}"
    command = found
    if "--help" in arguments:
        return
    try:
        command.make_context(arguments[0], list(arguments[1:]), parent=context)
    except click.BadParameter as error:  # a file of the reader's that is not there
        assert "does not exist" in error.message, error.message


def check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert not {a for a in arguments if "=" not in a} - targets


@pytest.mark.parametrize("block", every("console"), ids=str)
def test_commands_exist(block: Block) -> None:
    for program, *arguments in commands(block):
        name = os.path.basename(program)
        if name == "selfheal":
            check_selfheal(arguments)
        elif name == "make":
            check_make(arguments)
        else:
            assert name in OTHERS, f"{block}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}"


def test_every_page_is_on_the_map() -> None:
    index = (ROOT / "docs/index.md").read_text()
    assert not [p.name for p in PAGES[1:] if p.name != "index.md" and f"({p.name})" not in index]
