"""The rows still to come of each model, window by window, as they were and as a fault makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from selfheal.demo import data, models
from selfheal.demo.replay import Rows


@dataclass(frozen=True)
class Slice:
    """Rows to send, with the truth that only the scoring of the demo knows.

    Attributes
    ----------
    rows : what is sent.
    labels : [n].
    clean, clean_labels : the same rows and labels as they were before the fault.
    """

    rows: Rows
    labels: NDArray[Any]
    clean: pd.DataFrame
    clean_labels: NDArray[Any]

    @property
    def until(self) -> datetime:
        """Just after the last row's event time."""
        return self.rows.times[-1] + (self.rows.times[-1] - self.rows.times[-2])


class Stream:
    """Hands out labelled rows in order, a number of windows at a time.

    Parameters
    ----------
    frame : features and label as they arrive, in time order.
    clean : the same rows as they would be had nothing happened to the world.
    target : the label's column.
    times : event time of each row.
    window : rows in a window.
    prefix : of the prediction ids.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        clean: pd.DataFrame,
        target: str,
        times: Sequence[datetime],
        window: int,
        prefix: str,
    ) -> None:
        self._frame, self._clean, self._target = frame, clean, target
        self._times, self._window, self._prefix = list(times), window, prefix
        self._at = 0

    def take(self, windows: int, fault: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Slice:
        """The next rows, with ``fault`` put into their features.

        Raises
        ------
        ValueError
            If fewer rows are left than were asked for.
        """
        start, stop = self._at, self._at + windows * self._window
        left = len(self._frame) - start
        if stop - start > left:
            raise ValueError(f"{windows} windows need {stop - start} rows, the stream has {left} left")
        self._at = stop
        features, labels = self._cut(self._frame, start, stop)
        clean, clean_labels = self._cut(self._clean, start, stop)
        ids = [f"{self._prefix}{number}" for number in range(start, stop)]
        sent = features if fault is None else fault(features)
        return Slice(Rows(sent, self._times[start:stop], ids), labels, clean, clean_labels)

    def _cut(self, frame: pd.DataFrame, start: int, stop: int) -> tuple[pd.DataFrame, NDArray[Any]]:
        rows = frame.iloc[start:stop]
        return rows.drop(columns=self._target), rows[self._target].to_numpy()


def rain() -> Stream:
    """The weather after the reference; a window is a year of days."""
    frame = data.weather().iloc[models.RAIN_STREAM_FROM :].drop(columns="time")
    return Stream(frame, frame, "target", data.day_times(frame.index), models.YEAR, "day-")


#: Windows of ordinary payments before the new pattern begins, and with it.
PAYMENTS_BEFORE, PAYMENTS_WITH_PATTERN = 1, 4
#: Share of the payments that the new pattern makes up.
PATTERN_SHARE = 0.08


def fraud() -> Stream:
    """Payments after the reference; the new pattern begins after the first window."""
    block = models.PAYMENT_BLOCK
    before = data.payments(PAYMENTS_BEFORE * block, seed=101)
    after = data.payments(PAYMENTS_WITH_PATTERN * block, seed=102, pattern=PATTERN_SHARE)
    without = data.payments(PAYMENTS_WITH_PATTERN * block, seed=102)
    frame = pd.concat([before, after], ignore_index=True)
    clean = pd.concat([before, without], ignore_index=True)
    return Stream(frame, clean, "is_fraud", data.payment_times(frame.index), block, "payment-")
