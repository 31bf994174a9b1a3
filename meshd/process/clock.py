"""The supervisor's clock. It has no trio loop to ask, so it is a driver of its own.

Every process of one machine reads the same CLOCK_MONOTONIC, so that a time written to the board by one means the same
to another. (`trio.current_time` has an offset of its own in each process and is never written there.)
"""

import time

monotonic = time.monotonic  # noqa: TID251  # the one driver without a trio loop; everything else takes `now`
