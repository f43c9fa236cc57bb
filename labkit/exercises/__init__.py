"""One module a paper: its exercises, with their checks, hints, common mistakes and differently written answers."""
