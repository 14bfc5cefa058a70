"""Is this window still like the healthy ones: guards, statistics, the yardstick, two signals, the Evidently report."""
