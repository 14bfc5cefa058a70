"""The scoreboard: scenarios with known truth, put to the healer and to its rivals. Anyone can rerun it."""
