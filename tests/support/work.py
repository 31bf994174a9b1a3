"""Work counted instead of timed: how many calls a function makes, its own and those of C."""

import gc
import sys


def calls_of(act):
    """What `act` returns, and how many calls it took."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    gc.collect()
    gc.disable()  # what the collector finalizes is nobody's work here
    sys.setprofile(note)
    try:
        result = act()
    finally:
        sys.setprofile(None)
        gc.enable()
    return result, count
