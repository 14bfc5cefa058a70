"""Drift: guards, the yardstick of healthy windows, the two signals, the Evidently report."""
