"""A whole fire drill: the faults that the model's own rows allow, their rows of the scoreboard, and the summary."""

from __future__ import annotations

from selfheal.adapter import Adapter
from selfheal.board.course import Board, Options, Say, teller
from selfheal.board.ledger import Ledger, chosen, jobs, plain, play
from selfheal.board.summary import summarise
from selfheal.drill import own
from selfheal.model import MonitoredModel


def fire_drill(model: MonitoredModel, options: Options, say: Say = lambda _: None) -> Board:
    """Faults injected into the model's own reference; nothing is written, nothing that serves is touched.

    Raises
    ------
    InputError
        If the reference is too short, or a word names no scenario.
    """
    seeds = options.seeds[:1] if options.quick else options.seeds
    wanted = chosen(own.scenarios(model.with_adapter(Adapter())), options.words)
    rows = play(jobs(wanted, seeds), Ledger(), teller(say))
    return Board(rows, plain(summarise(rows)))
