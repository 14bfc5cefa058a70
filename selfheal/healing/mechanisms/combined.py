"""The instrument changed and the classes come in other shares, at the same time: an input map and a logit offset."""

from __future__ import annotations

from selfheal.healing.fits import together
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism

MECHANISM = Mechanism("measurement and prior", rank=80, explain=together.finding, needs=(UNUSUAL_AS_SENT,))
