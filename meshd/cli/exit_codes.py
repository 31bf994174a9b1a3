"""What every command's exit code says: one table, for `meshd --help`, the man page and the README."""

from collections.abc import Mapping
from typing import Final

OK: Final = 0
NO: Final = 1
UNUSABLE: Final = 2
CUT: Final = 3
INTERRUPTED: Final = 130  # 128 and SIGINT, as a shell says it

EXIT_CODES: Final[Mapping[str, str]] = {
    "0": "done, and the answer is yes",
    "1": "the answer is no: not usable, denied, a case failed, a decision would change, it could not start",
    "2": "the command line makes no sense, or what it names (documents, a log, a running sidecar) cannot be used",
    "3": "run: something had to be killed at the hard stop, a second after the drain time",
    "126, 127": "run -- app: the app cannot be executed, or is not there",
    "128+N": "ended by signal N (130: Ctrl-C); run -- app: the app was, else the code is the app's own",
}
