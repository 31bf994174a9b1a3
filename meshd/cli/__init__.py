"""Commands: one file a command, found by the table in `main.py`. A command prints; what it does lives elsewhere."""

import sys

from meshd.process.early import prepare

prepare(sys.argv)  # here, because it cannot be too early: a signal may come while the command is imported
