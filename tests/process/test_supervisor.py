"""The supervisor with real processes and fake roles (`program.py`): start, crash, hang, reload, drain, death."""

import os
import signal
import socket
from pathlib import Path

import pytest
from support.supervised import Running, ask, group_members, is_refused, kill, wait_until

pytestmark = pytest.mark.slow  # real processes
PROGRAM = Path(__file__).with_name("program.py")
PLAIN = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
"""


class Sidecar(Running):
    """`program.py` with a bootstrap that can be rewritten."""

    def __init__(self, folder, *command, **spec):
        (folder / "policies").mkdir()
        (folder / "policies" / "plain.yaml").write_text(PLAIN)
        self.file = folder / "proxy.yaml"
        self.write(**spec)
        super().__init__(PROGRAM, self.file, *(["--", *command] if command else []))

    def write(self, workers=1, drain="1s", worker="", listen=("127.0.0.1:0",)):
        outbound = "".join(f"\n    - {{listen: '{each}'}}" for each in listen)
        self.file.write_text(
            "apiVersion: meshd.dev/v1alpha1\nkind: Proxy\n"
            f"metadata: {{name: fake, labels: {{worker: '{worker}'}}}}\n"
            f"spec:\n  workers: {workers}\n  drain: {drain}\n  admin: null\n  outbound:{outbound}\n"
        )

    def ready(self):
        """Ports of the listeners; pids of the workers and the controller."""
        _, ports, pids = self.wait_line("ready").split()
        self.ports = [int(port) for port in ports.split(",")]
        *self.workers, self.controller = [int(pid) for pid in pids.split(",")]
        return self

    def answer(self, place=0):
        """Who answered, and under which generation."""
        pid, generation = ask(self.ports[place]).split()
        return int(pid), int(generation)


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(*command, **spec):
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Sidecar(folder, *command, **spec))
        return running[-1]

    yield begin
    for each in running:
        each.close()
        assert "Traceback" not in "\n".join(each.errors)


def test_it_serves_and_leaves_at_once_when_idle(start):
    sidecar = start(workers=2).ready()
    assert sidecar.answer()[0] in sidecar.workers
    sidecar.signal(signal.SIGTERM)
    code, took = sidecar.wait()
    assert (code, took < 1.0) == (0, True)
    assert "told stop" in sidecar.said
    assert is_refused(sidecar.ports[0])


def test_a_killed_worker_costs_nobody_a_refusal(start):
    sidecar = start().ready()
    kill(sidecar.workers[0])
    answers = {sidecar.answer()[0] for _ in range(5)}
    assert answers.isdisjoint(sidecar.workers)
    assert len(answers) == 1


def test_connections_wait_in_the_queue_of_a_killed_worker(start):
    sidecar = start().ready()
    os.kill(sidecar.workers[0], signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", sidecar.ports[0]), 5) as waiting:
        kill(sidecar.workers[0])
        assert waiting.recv(100).split()[0] != str(sidecar.workers[0]).encode()


def test_children_die_with_the_supervisor_and_the_port_is_free_again(start):
    sidecar = start(workers=2).ready()
    kill(sidecar.process.pid)
    assert wait_until(lambda: not group_members(sidecar.process.pid), 2.0)
    assert is_refused(sidecar.ports[0])
    again = start(listen=[f"127.0.0.1:{sidecar.ports[0]}"]).ready()
    assert again.ports == sidecar.ports


def test_a_worker_that_never_leaves_is_killed_at_the_hard_stop(start):
    sidecar = start(worker="stuck", drain="300ms").ready()
    sidecar.signal(signal.SIGTERM)
    code, took = sidecar.wait()
    assert code == 3
    assert 0.3 < took < 1.3


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start, second):
    sidecar = start(worker="stuck", drain="60s").ready()
    sidecar.signal(signal.SIGTERM)
    assert wait_until(lambda: any("draining" in line for line in sidecar.errors))
    wait_until(lambda: False, 0.06)  # two signals closer together than this are one request
    sidecar.signal(second)
    code, took = sidecar.wait()
    assert (code, took < 0.5) == (0, True)


def test_a_crash_loop_before_readiness_is_an_exit_code(start):
    sidecar = start(worker="crash")
    code, _ = sidecar.wait()
    assert code == 1
    assert sidecar.said == []
    assert not group_members(sidecar.process.pid)


def test_a_port_in_use_is_one_line_and_nothing_half_started(start):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        sidecar = start(listen=["127.0.0.1:0", taken])
        code, _ = sidecar.wait()
    assert code == 1
    assert sidecar.errors == [f"spec.outbound[1].listen: cannot listen on {taken}: Address already in use"]


def test_a_reload_without_a_change_goes_to_the_controller(start):
    sidecar = start().ready()
    sidecar.signal(signal.SIGHUP)
    assert sidecar.wait_line("told") == "told reload"
    sidecar.signal(signal.SIGUSR1)
    assert sidecar.wait_line("told") == "told reopen"
    assert sidecar.answer() == (sidecar.workers[0], 1)


def test_a_new_listener_serves_before_the_old_one_closes(start):
    sidecar = start(listen=["127.0.0.1:0", "127.0.0.1:0"]).ready()
    kept, gone = sidecar.ports
    before = sidecar.workers[0]
    with socket.create_server(("127.0.0.1", 0)) as holder:
        fresh = holder.getsockname()[1]
    sidecar.write(listen=[f"127.0.0.1:{kept}", f"127.0.0.1:{fresh}"], workers=2)
    sidecar.signal(signal.SIGHUP)
    sidecar.ready()
    assert sidecar.ports == [kept, fresh]
    assert before not in sidecar.workers
    assert wait_until(lambda: sidecar.answer(0)[1] == sidecar.answer(1)[1] == 2)
    assert wait_until(lambda: is_refused(gone))
    assert wait_until(lambda: len(group_members(sidecar.process.pid)) == 4)


def test_a_kept_port_is_never_refused_during_reloads(start):
    sidecar = start().ready()
    port = sidecar.ports[0]
    for generation, workers in ((2, 2), (3, 1), (4, 2)):
        sidecar.write(workers=workers, listen=[f"127.0.0.1:{port}"])
        sidecar.signal(signal.SIGHUP)
        assert wait_until(lambda wanted=generation: answers(sidecar, wanted))
        sidecar.ready()


def answers(sidecar, generation):
    """Whether this generation answers. What waits in the queue of a socket that closes is reset by the kernel unless
    net.ipv4.tcp_migrate_req is set (ip-sysctl.rst); a port that is refused is an error all the same."""
    try:
        return sidecar.answer()[1] == generation
    except ConnectionResetError:
        return False


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda sidecar: sidecar.file.write_text("kind: ["), "proxy.yaml:2:1"),
        (lambda sidecar: sidecar.write(listen=["192.0.2.1:80"]), "Cannot assign requested address"),
        (lambda sidecar: sidecar.write(worker="crash"), "the old one goes on"),
    ],
)
def test_a_bad_bootstrap_changes_nothing(start, spoil, why):
    sidecar = start().ready()
    spoil(sidecar)
    sidecar.signal(signal.SIGHUP)
    assert sidecar.wait_line("told refused")
    assert wait_until(lambda: any(why in line for line in sidecar.errors)), sidecar.errors  # it has a pipe of its own
    assert sidecar.answer() == (sidecar.workers[0], 1)
    assert wait_until(lambda: len(group_members(sidecar.process.pid)) == 3)


def test_a_worker_started_later_begins_with_the_newest_set(start):
    sidecar = start(worker="newer").ready()
    assert wait_until(lambda: "sent" in sidecar.said)
    kill(sidecar.controller)
    kill(sidecar.workers[0])
    assert wait_until(lambda: sidecar.answer()[1] == 7)


def test_the_app_starts_when_the_sidecar_serves_and_ends_it(start):
    sidecar = start("sh", "-c", "echo app $HELLO; exit 7")
    code, _ = sidecar.wait()
    assert code == 7
    assert [line.split()[0] for line in sidecar.said if line.split()[0] in ("ready", "app")] == ["ready", "app"]


def test_the_app_gets_the_signal_first_and_keeps_its_way_out(start, tmp_path):
    script = f'trap "echo leaving; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 5" TERM; echo up; '
    sidecar = start("sh", "-c", script + "while :; do sleep 0.02; done", drain="9s").ready()
    assert wait_until(lambda: "up" in sidecar.said)  # before or after the line that says ready
    sidecar.signal(signal.SIGTERM)
    sidecar.wait_line("leaving")
    assert sidecar.answer()[0] == sidecar.workers[0]
    (tmp_path / "go").touch()
    assert sidecar.wait()[0] == 5
    assert is_refused(sidecar.ports[0])


def test_an_app_killed_by_a_signal_says_so_and_a_missing_one_too(start):
    assert start("sh", "-c", "kill -KILL $$").wait()[0] == 128 + signal.SIGKILL
    missing = start("no-such-command-here")
    assert missing.wait()[0] == 127
    assert "meshd: no-such-command-here: command not found" in missing.errors
