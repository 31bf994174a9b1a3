"""`python -m meshd` is the console script."""

import sys

from meshd.cli.main import main

sys.exit(main())
