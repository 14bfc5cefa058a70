"""``python -m selfheal.cli``: the command line of this interpreter, for child processes."""

from selfheal.cli import main

main(prog_name="selfheal")
