"""One clock for all processes."""

import os

from meshd.process.clock import monotonic


def test_parent_and_child_read_the_same_clock():
    read, write = os.pipe()
    before = monotonic()
    pid = os.fork()
    if pid == 0:
        os.write(write, repr(monotonic()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert before <= float(os.read(read, 100)) <= monotonic()
    os.close(read)
    os.close(write)
