"""Alerts: whoever is not looking is told, once for each change of state.

What happened is read from the state database alone (the journal, the records of windows, signs of life) and written to
its outbox, each alert a row; then each place that ``SELFHEAL_ALERTS`` names is told, in order. Any process may do
either at any time: a monitor run does both at its end, and the helper beside a scoring service every few seconds.
"""

from selfheal.alerts.sending import finished, keep_telling, tell, told_at_the_end

__all__ = ["finished", "keep_telling", "tell", "told_at_the_end"]
