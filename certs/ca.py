#!/usr/bin/env python3
"""The bundled CA, from a checkout: the same as `meshd ca`. README.md beside this file shows how to use it."""

import sys
from pathlib import Path

try:
    from meshd.cli.ca import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "meshd":
        sys.exit(f"{error.name} is missing: run this with the Python that meshd is installed in")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        from meshd.cli.ca import main
    except ModuleNotFoundError as missing:
        sys.exit(f"the Python package {missing.name!r} is missing: pip install {missing.name}")

if __name__ == "__main__":
    sys.exit(main())
