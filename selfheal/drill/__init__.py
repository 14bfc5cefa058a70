"""The fire drill: faults injected into a user's own model's rows, scored as the scoreboard scores its worlds."""
