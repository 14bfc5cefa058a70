"""The service's log, a JSON object a line; no line ever holds a value of a row, or a key."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import msgspec

REQUESTS = "selfheal.requests"
"""Name of the logger that has a line for each request."""


def trace(error: BaseException) -> str:
    """What an error is and where it was raised, without its words: those may quote a row.

    >>> try:
    ...     float("a patient's name")
    ... except ValueError as error:
    ...     trace(error).split(" at ")[0]
    'ValueError'
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    kind = type(error).__name__
    cause = getattr(error, "orig", None)
    kind += "" if cause is None else f" ({type(cause).__name__})"
    return f"{kind} at {' < '.join(reversed(places))}" if places else kind


class JsonLines(logging.Formatter):
    """Time, level, logger and message; of a request its own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = trace(record.exc_info[1])
        return msgspec.json.encode(fields).decode()


def write_json_lines() -> None:
    """Let every logger of this process write such lines to its standard error; requests too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    logging.getLogger(REQUESTS).setLevel(logging.INFO)
