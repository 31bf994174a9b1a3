"""Commands: one file a command, found by the table in `main.py`. A command prints; what it does lives elsewhere."""
