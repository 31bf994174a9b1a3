"""The peer benchmark: meshd beside Envoy (and others) in every round, on this machine.

    make bench                               # http1-small, http1-64k, connect-rate, latency, idle
    make bench ARGS="--scenarios http1-small --rounds 5"

Everything behind `--` or unknown here goes to the harness. Prints its table. CPU per request, as a ratio to Envoy
within a round, is the figure to trust: the machine's speed drifts, and every process shares it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("MESHD_SHARED", ROOT.parent / "shared")) / "peers"
DEFAULTS = {
    "--systems": "direct,envoy,meshd",
    "--scenarios": "http1-small,http1-64k,connect-rate,latency,idle",
    "--seconds": "4",
    "--rounds": "3",
}


def main() -> int:
    if not (PEERS / "bench.py").is_file():
        print(f"the harness is not at {PEERS}; name its parent with MESHD_SHARED", file=sys.stderr)
        return 2
    given = sys.argv[1:]
    for option, value in DEFAULTS.items():
        if option not in given:
            given += [option, value]
    with tempfile.TemporaryDirectory(prefix="meshd-bench-") as out:
        if "--out" not in given:
            given += ["--out", out]
        environment = {**os.environ, "MESHD_BIN": str(Path(sys.executable).parent / "meshd")}
        status = subprocess.run([sys.executable, str(PEERS / "bench.py"), *given], env=environment, check=False)
        table = Path(given[given.index("--out") + 1], "peers.md")
        if table.exists():
            print(table.read_text())
    return status.returncode


if __name__ == "__main__":
    sys.exit(main())
