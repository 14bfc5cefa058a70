"""The drill: scenarios with known truth, put to the healer and to its rivals; a scoreboard that anyone can rerun."""
