"""``selfheal``: the command line. Commands import what they need when they run, so that ``--help`` stays instant.

Exit status: 0 done, 1 refused or unhealthy, 2 bad input.
"""

from __future__ import annotations

import gc
import os
from typing import Any

import click

from selfheal import __version__
from selfheal.cli import audit, drill, evidence, freezes, history, loop, models, places, report, score, start
from selfheal.cli.output import Example
from selfheal.errors import SelfhealError

QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""Telemetry of the parts off, unless the caller set it."""

RARELY = (100_000, 20, 100)
"""When the garbage collector looks. What a command imports stays, hundreds of thousands of objects: at Python's own
pace it walks through them for a sixth of the time that the imports take."""


class Failure(click.ClickException):
    """An error of selfheal's own, shown as its message; its exit status goes with it."""

    def __init__(self, error: SelfhealError) -> None:
        super().__init__(str(error))
        vars(self)["exit_code"] = error.exit_code  # click declares it for the class, and reads it from the instance

    def show(self, file: Any = None) -> None:
        """One line on standard error."""
        click.echo(f"error: {self.message}", err=True, file=file)


EXAMPLES = """\
selfheal demo                             see a model break and heal
selfheal adopt fraud my_models.py:fraud   put a model under watch
selfheal up                               scoring, MLflow, Prefect, schedules
selfheal status fraud                     what serves, and how it is"""


class Commands(Example, click.Group):
    """Shows selfheal's errors without a traceback. Anything else is a defect and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SelfhealError as error:
            raise Failure(error) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use, not of the alphabet."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="selfheal")
def main() -> None:
    """Heal a drifting PyTorch classifier in production: no labels, no retraining, no downtime.

    State lies below SELFHEAL_HOME (./.selfheal). SELFHEAL_DATABASE_URL, SELFHEAL_RULES (./rules), MLFLOW_TRACKING_URI
    and PREFECT_API_URL name other places.
    """
    gc.set_threshold(*RARELY)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


for _command in (
    places.demo,
    start.init,
    start.check,
    models.adopt,
    places.serve,
    places.up,
    loop.monitor,
    loop.heal,
    audit.audit,
    models.status,
    history.history,
    models.approve,
    models.promote,
    models.rollback,
    freezes.freeze,
    freezes.unfreeze,
    freezes.trust,
    score.score,
    models.labels,
    drill.drill,
    report.report,
    evidence.evidence,
    evidence.verify,
    places.ui,
):
    main.add_command(_command)
