"""The command that asks a person: audit."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfheal.cli import question
from selfheal.cli.output import FORMULA, Example, as_option, cell, json_option, progress, write_json
from selfheal.errors import InputError, printable

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.loop import Answered, Audit, OpenQuestion
    from selfheal.steering import Workspace


@click.command(
    cls=Example,
    short_help="Answer what data cannot tell: a fact, or a few labels.",
    epilog="selfheal audit fraud --yes --as ada\nselfheal audit fraud --out rows.csv\n"
    "selfheal audit fraud --answers rows.csv",
)
@click.argument("name")
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Write the rows to label as CSV.")  # fmt: skip
@click.option("--answers", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Take the labels from that CSV.")  # fmt: skip
@click.option("--ask", is_flag=True, help="Ask here, row by row; what happens on a terminal anyway.")
@click.option("--yes", is_flag=True, help="It is so.")
@click.option("--no", is_flag=True, help="It is not: the next explanation is asked for, or labels.")
@click.option("--unknown", is_flag=True, help="Who answers does not know: labels are asked for.")
@click.option("--answer", "text", metavar="TEXT", help="Another answer, as the question names it.")
@as_option("Who answers")
@click.option("--version", type=int, metavar="V", help="This version in Staging; by default the newest that waits.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    name: str,
    out: Path | None,
    answers: Path | None,
    ask: bool,
    yes: bool,
    no: bool,
    unknown: bool,
    text: str | None,
    actor: str,
    version: int | None,
    json_file: Path | None,
) -> None:
    """Answer what data cannot tell: a question about the data, or the labels of a few rows.

    Whether a column changed its unit its owner knows: --yes, --no or --unknown settles it in a word. Where nobody
    knows, some eight labels of the rows on which a waiting version and the one that serves differ decide; --out and
    --answers take them by file. On a terminal it asks. What was answered is kept, so an audit may be interrupted. The
    version goes to Production, or is archived. Exit status 1 when it was refused.
    """
    from selfheal import loop, steering

    given = [
        *(word for word, said in (("yes", yes), ("no", no), ("unknown", unknown)) if said),
        *([text] if text else []),
    ]
    if len(given) + (out is not None) + (answers is not None) > 1:
        raise InputError("give one of --yes, --no, --unknown, --answer, --out and --answers")
    ws = steering.open_workspace()
    if given:
        _settle(json_file, question.answer(ws, name, given[0], actor))
        return
    open_ = None if out or answers or version else loop.open_question(ws, name)
    if open_ is not None:
        _put(ws, open_, actor, json_file, ask=ask or sys.stdin.isatty())
        return
    if out is None and answers is None and not ask and not sys.stdin.isatty() and loop.waits_for_labels(ws, name):
        raise InputError("there is no terminal to ask on; write the rows with --out rows.csv, then --answers rows.csv")
    with progress(f"looking for what waits of {name}"):
        audit_ = loop.open_audit(ws, name, version)
    if audit_ is None and answers is not None:
        raise InputError(f"nothing of {name!r} waits for an audit, so {answers} answers nothing")
    if audit_ is None:
        click.echo(f"{name}: nothing waits for an audit")
        write_json(json_file, {"model": name, "version": None, "verdict": "nothing waits"})
        return
    done = _run(ws, audit_, out, answers)
    click.echo(summary(done))
    write_json(json_file, _record(done))
    if done.verdict == "refused":
        ctx.exit(1)


def _put(ws: Workspace, open_: OpenQuestion, actor: str, json_file: Path | None, *, ask: bool) -> None:
    """Show a question; ask it where somebody sits."""
    from selfheal import loop

    click.echo("\n".join(question.shown(open_, loop.evidence_place(ws, open_))))
    given = question.asked(open_) if ask else None
    if given is not None:
        _settle(json_file, question.answer(ws, open_.name, given, actor))
        return
    click.echo(f"answer it: {open_.command}")
    write_json(json_file, open_)


def _settle(json_file: Path | None, done: Answered) -> None:
    click.echo(question.outcome(done))
    write_json(json_file, question.as_record(done))


def _run(ws: Workspace, audit_: Audit, out: Path | None, answers: Path | None) -> Audit:
    from selfheal import loop

    if answers is not None and not audit_.verdict:
        audit_ = loop.answer(ws, audit_, read_answers(answers))
    if out is not None and not audit_.verdict:
        write_rows(audit_, out)
        click.echo(f"{len(audit_.asked.open_rows)} rows written; fill in the column label, then: "
                   f"selfheal audit {audit_.name} --answers {out}")  # fmt: skip
    elif answers is None:
        while not audit_.verdict:
            given = _asked(audit_)
            if given is None:
                click.echo(
                    f"stopped; {len(audit_.asked.answers)} answers are kept, selfheal audit {audit_.name} goes on"
                )
                break
            audit_ = loop.answer(ws, audit_, given)
    return audit_


def _asked(audit_: Audit) -> dict[str, Any] | None:
    """One answer from the terminal; None when whoever sits there stops."""
    rows = audit_.asked.open_rows
    key = str(rows.index[0])
    click.echo(f"\n{key} ({len(audit_.asked.answers) + 1} of at most {len(audit_.asked.rows)})")
    for column, value in rows.iloc[0].items():
        click.echo(f"  {column!s:<24} {_shown(value)}")
    choices = [*map(str, audit_.asked.classes), "stop"]
    try:
        given = click.prompt("label", type=click.Choice(choices))
    except click.Abort:
        return None
    return None if given == "stop" else {key: given}


def _shown(value: Any) -> str:
    return printable(f"{value:g}" if isinstance(value, float) else str(value), 120)


def write_rows(audit_: Audit, path: Path) -> None:
    """The rows without an answer, as :func:`write_frame`. What the versions say is left out."""
    write_frame(audit_.asked.open_rows, path)


def write_frame(rows: pd.DataFrame, path: Path) -> None:
    """Rows to label, as CSV with an empty column ``label``."""
    columns = [str(c) for c in rows.columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prediction_id", "label", *columns])
        for key, row in rows.iterrows():
            writer.writerow([cell(key), "", *(cell(v) for v in row.tolist())])


def read_answers(path: Path) -> dict[str, str]:
    """Prediction id → label, as written; rows without a label are left out.

    Raises
    ------
    InputError
        If it is no such CSV, holds no label, or labels a row twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [c for c in ("prediction_id", "label") if c not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}; fill in the file that selfheal audit --out wrote"
                )
            rows = [(row["prediction_id"] or "", (row["label"] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error
    labels: dict[str, str] = {}
    for written, label in rows:
        key = written[1:] if written[:1] == "'" and written[1:].startswith(FORMULA) else written
        if label and labels.setdefault(key, label) != label:
            raise InputError(f"{path} labels {key!r} both {labels[key]!r} and {label!r}; keep one line")
    if not labels:
        raise InputError(f"{path} holds no label; fill in its column label, some eight rows are enough")
    return labels


def summary(done: Audit) -> str:
    """Where the audit stands, in a line."""
    if done.promoted:
        return f"{done.name} version {done.version} passed and serves: {done.note}"
    if done.verdict:
        return f"{done.name} version {done.version} {done.verdict}: {done.note}"
    return f"{done.name} version {done.version} against {done.against}: {done.note or 'not answered yet'}"


def _record(done: Audit) -> dict[str, Any]:
    return {
        "model": done.name,
        "version": done.version,
        "against": done.against,
        "verdict": done.verdict or "open",
        "promoted": done.promoted,
        "answers": dict(done.asked.answers),
        "rows": done.asked.rows.index.tolist(),
        "note": done.note,
    }
