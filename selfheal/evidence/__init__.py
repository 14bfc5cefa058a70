"""Evidence: why a version was released, in one file that says when it was changed, and whose heal can be replayed."""

from selfheal.evidence.packing import Packed, pack
from selfheal.evidence.verdict import Verdict, verify

__all__ = ["Packed", "Verdict", "pack", "verify"]
