"""``prefect.yaml``, written from the policies: deployments for a Prefect server and work pool of one's own. Pure.

Its first line holds a digest of what follows, so that a file that somebody edited is known, and left to them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta

ABOUT = """\
# Deployments for a Prefect server and work pool of your own:
#   prefect work-pool create selfheal --type process
#   prefect deploy --all
#   prefect worker start --pool selfheal
# Written from the policies by `python -m flows --write`, which leaves alone what you have edited here; `--check` says
# what differs. Without a server of your own `selfheal up` and `python -m flows.deployments` serve the same deployments.
# The worker's environment names the places (SELFHEAL_DATABASE_URL, MLFLOW_TRACKING_URI, SELFHEAL_RULES), and
# SELFHEAL_CHECKOUT the folder with flows/.
name: selfheal
prefect-version: {prefect}

pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{{{{ $SELFHEAL_CHECKOUT }}}}"

definitions:
  work_pool: &work_pool
    name: selfheal

deployments:
"""
MARK = "# selfheal "
"""Begins the first line; the digest follows."""

FLOWS = (
    ("monitor", "flows/monitor.py:monitor", "Handles every closed window of {}: report, signals, decision, heal."),
    ("release", "flows/release.py:release", "Releases a version of {}; run by hand or by an event."),
    ("maintain", "flows/maintain.py:maintain", "Judges {} by late labels and rows, deletes what is kept no longer."),
    ("watch", "flows/release.py:watch", "Asks the watch again over {}, e.g. after late labels came."),
)
"""Name, entrypoint and description of what each model has."""

DAILY = timedelta(days=1)
"""Between two runs of maintain: rows that are kept no longer go though no window closes."""


def interval_of(flow: str, every: timedelta) -> timedelta | None:
    """Between two runs of a flow, where windows are looked at ``every`` so often; None: by hand or by an event."""
    return {"monitor": every, "maintain": DAILY}.get(flow)


def declared(every: Mapping[str, timedelta], prefect: str) -> str:
    """The whole file.

    Parameters
    ----------
    every
        Model → how often its windows are looked at.
    prefect
        The version of Prefect that it is written for.
    """
    body = ABOUT.format(prefect=prefect) + "".join(_of(model, every[model]) for model in sorted(every))
    return f"{MARK}{_digest(body)}\n{body}"


def edited(text: str) -> bool:
    """Whether somebody changed a file since it was written, or wrote it by hand."""
    first, _, body = text.partition("\n")
    return first != f"{MARK}{_digest(body)}"


def _of(model: str, every: timedelta) -> str:
    return "".join(_deployment(flow, place, words, model, every) for flow, place, words in FLOWS)


def _deployment(flow: str, place: str, words: str, model: str, every: timedelta) -> str:
    named = json.dumps(model)  # as YAML too: a model may be called `on` or `7`
    interval = interval_of(flow, every)
    schedule = f"    schedules:\n      - interval: {interval.total_seconds():g}\n" if interval else ""
    return (
        f"  - name: {flow} {model}\n    entrypoint: {place}\n    description: {json.dumps(words.format(model))}\n"
        f"    tags: [selfheal, {named}]\n    parameters: {{model: {named}}}\n{schedule}    work_pool: *work_pool\n"
    )


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
