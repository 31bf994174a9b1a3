"""A sidecar with real processes and fake roles, run as a program of its own: `program.py BOOTSTRAP.yaml [-- command]`.

Workers answer every connection with `pid generation` and close it; the label `worker` of the bootstrap asks them to
misbehave. Standard output tells what happens: `ready PORTS PIDS`, and what the controller is told.
"""

import os
import select
import signal
import sys
from pathlib import Path
from time import sleep

from meshd.config.documents import Documents
from meshd.config.errors import ConfigError
from meshd.process.board import Phase
from meshd.process.clock import monotonic
from meshd.process.command import Command
from meshd.process.delta import Delta, head_of
from meshd.process.listeners import BindFailed
from meshd.process.log import configure
from meshd.process.source import Source
from meshd.process.supervisor import Supervisor


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class FakeRoles:
    def work(self, start):
        behaviour = start.accepted.proxy.metadata.labels["worker"]
        if behaviour == "crash":
            return 9
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        sockets = [sock for each in start.sockets.values() for sock in each]
        start.row.show(Phase.READY, os.getpid())
        while not asked:
            start.row.beat(monotonic(), start.accepted.generation)
            readable, _, _ = select.select(sockets, [], [], 0.05)
            for sock in readable:
                try:
                    connection, _ = sock.accept()
                except BlockingIOError:
                    continue
                connection.sendall(f"{os.getpid()} {start.accepted.generation}\n".encode())
                connection.close()
        while behaviour == "stuck":
            sleep(0.05)
        return 0

    def control(self, start):
        start.board.controller.show(Phase.READY, os.getpid())
        if start.accepted.proxy.metadata.labels["worker"] == "newer":
            head = head_of(Documents(digest="newer"))
            for message in Delta(7, 1, {}, head, reread=False).messages():
                start.supervisor.send(*message)
            say("sent")
        while True:
            start.board.controller.beat(monotonic(), 0)
            select.select([start.supervisor.sock], [], [], 0.2)
            message = start.supervisor.receive()
            if message is None:
                continue
            say("told", *message)
            if message[0] == "stop":
                return 0


def main():
    arguments = sys.argv[1:]
    command = None
    if "--" in arguments:
        command = Command(arguments[arguments.index("--") + 1 :])
    configure("info")
    source = Source(Path(arguments[0]), {}, lambda accepted: None)

    def ready(fleet):
        ports = [str(bound.address.port) for bound in fleet.listeners.bound.values()]
        pids = [str(child.pid) for child in fleet.children]
        say("ready", ",".join(ports), ",".join(pids))

    try:
        supervisor = Supervisor(source, FakeRoles(), command, announce=lambda fleet: None, ready=ready)
        return supervisor.run(source.read_all(source.read_proxy(), 1))
    except (BindFailed, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


sys.exit(main())
