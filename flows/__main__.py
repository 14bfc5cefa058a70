"""Write ``prefect.yaml`` from the policies, or say whether it still fits them: ``python -m flows --write | --check``.

``python -m flows --automate [--notify TYPE/NAME]`` makes the automations of :mod:`flows.automations` on the server that
``PREFECT_API_URL`` names.

Exit status: 0 done or the same, 1 it differs or was edited, 2 a policy can't be read.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from flows.declared import declared, edited
from selfheal.errors import InputError, SelfhealError
from selfheal.policy import Policy
from selfheal.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows", description="prefect.yaml, from the policies.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write it; one that was edited is left alone")
    what.add_argument("--check", action="store_true", help="say what differs, and change nothing")
    what.add_argument("--automate", action="store_true", help="make automations for late labels and alerts")
    parser.add_argument("--notify", metavar="TYPE/NAME", default="", help="with --automate: Prefect's block for alerts")
    parser.add_argument("--force", action="store_true", help="with --write: also over one that was edited")
    parser.add_argument("--file", type=Path, default=Path("prefect.yaml"), help="by default prefect.yaml, here")
    given = parser.parse_args(argv)
    try:
        models = every(Settings.from_env().rules)
        if given.automate:
            return _automated(sorted(models), given.notify)
        wanted = declared(models, version("prefect"))
    except SelfhealError as error:
        _say(f"error: {error}")
        return error.exit_code
    text = given.file.read_text("utf-8") if given.file.is_file() else None
    if text == wanted:
        _say(f"{given.file} is what the policies say")
        return 0
    return _checked(given.file, text, wanted) if given.check else _written(given.file, text, wanted, given.force)


def every(rules: Path) -> dict[str, timedelta]:
    """Model → its policy's ``monitor.every``, for each policy in a folder.

    Raises
    ------
    InputError
        There is no policy, or two are about one model.
    PolicyError
        One can't be read; names file, line and key.
    """
    rhythms: dict[str, timedelta] = {}
    for file in sorted(rules.glob("*.yaml")):
        policy = Policy.load(file)
        model = policy.model or file.stem
        if model in rhythms:
            raise InputError(f"{file} is a second policy of {model!r}; keep one file a model")
        rhythms[model] = policy.monitor.every
    if not rhythms:
        raise InputError(f"no policy in {rules}; SELFHEAL_RULES names the folder, selfheal init writes a first one")
    return rhythms


def _checked(file: Path, text: str | None, wanted: str) -> int:
    if text is None:
        _say(f"{file} is not there; write it: python -m flows --write")
        return 1
    for line in difflib.unified_diff(text.splitlines()[1:], wanted.splitlines()[1:], str(file), "policies", n=1):
        _say(line.rstrip("\n"))
    _say(f"{file} was edited, and differs as above" if edited(text) else f"{file} is older than the policies: --write")
    return 1


def _written(file: Path, text: str | None, wanted: str, force: bool) -> int:
    if text is not None and edited(text) and not force:
        _say(
            f"{file} was edited since it was written, and is left alone; --check says what differs, --force overwrites"
        )
        return 1
    part = file.with_name(file.name + ".part")
    part.write_text(wanted, "utf-8")
    os.replace(part, file)
    _say(f"{file} written")
    return 0


def _automated(models: Sequence[str], block: str) -> int:
    if not os.environ.get("PREFECT_API_URL"):
        raise InputError("PREFECT_API_URL names no server; selfheal up says where its own listens")
    from flows.automations import automate

    for name in automate(models, block):
        _say(f"{name}: made")
    if not block:
        _say("alerts have no automation: name a notification block with --notify TYPE/NAME, or use SELFHEAL_ALERTS")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
