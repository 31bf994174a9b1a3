"""Work counted instead of timed: lines of Python that run, and calls of C."""

import gc
import sys


def work_of(act):
    """What `act` returns, and how much work it was. A line that runs again, as in a comprehension, counts again."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        if event == "line":
            count += 1
        return note

    def note_call(_frame, event, _argument):
        nonlocal count
        if event == "c_call":
            count += 1

    gc.disable()  # what the collector finalizes is nobody's work here
    sys.setprofile(note_call)
    sys.settrace(note)
    try:
        result = act()
    finally:
        sys.settrace(None)
        sys.setprofile(None)
        gc.enable()
    return result, count
