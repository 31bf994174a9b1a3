"""The log levels there are: what `meshd run --log-level` and the admin page's /logging take, and nothing else."""

from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
