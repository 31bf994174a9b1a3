"""Sockets: one a slot, ports found and kept, nothing left behind by a failure."""

import socket

import pytest

from meshd.config.address import Address
from meshd.process.listeners import BindFailed, Wanted, bind

FREE = Address("127.0.0.1", 0)


def wanted(name="inbound-0", address=FREE, sockets=1):
    return Wanted(name, f"spec.{name}", address, sockets)


@pytest.fixture
def opened():
    listeners = []
    yield listeners
    for each in listeners:
        each.close()


def is_listening(address):
    family = socket.AF_UNIX if address.is_unix else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(1)
        return client.connect_ex(address.host if address.is_unix else (address.host, address.port)) == 0


def test_every_slot_has_a_socket_on_the_port_that_was_found(opened):
    listeners = bind([wanted(sockets=3), wanted("outbound-0", sockets=3), wanted("admin")])
    opened.append(listeners)
    ports = [bound.address.port for bound in listeners.bound.values()]
    assert 0 not in ports
    assert len(set(ports)) == 3
    slots = [listeners.of_slot(slot) for slot in range(3)]
    assert [sorted(slot) for slot in slots] == [["inbound-0", "outbound-0"]] * 3
    inbound = [slot["inbound-0"][0] for slot in slots]
    assert len({sock.fileno() for sock in inbound}) == 3
    assert {sock.getsockname()[1] for sock in inbound} == {ports[0]}


def test_a_port_in_use_is_refused_even_by_one_who_would_share(opened):
    first = bind([wanted(sockets=2)])
    opened.append(first)
    taken = first.bound["inbound-0"].address
    with pytest.raises(BindFailed, match=rf"spec\.outbound-0: cannot listen on {taken}: Address already in use"):
        bind([wanted("inbound-0"), wanted("outbound-0", taken)])


def test_a_failure_leaves_nothing_bound(opened):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        free = Address("127.0.0.1", holder.getsockname()[1])
    with pytest.raises(BindFailed, match="Cannot assign requested address"):
        bind([wanted("inbound-0", free), wanted("outbound-0", Address("192.0.2.1", 4000))])
    assert not is_listening(free)
    opened.append(bind([wanted("inbound-0", free)]))


def test_a_reload_keeps_unchanged_sockets_and_closes_the_rest(opened):
    before = bind([wanted("inbound-0", sockets=2), wanted("outbound-0", sockets=2)])
    kept = before.bound["inbound-0"]
    gone = before.bound["outbound-0"].address
    after = bind([wanted("inbound-0", sockets=2), wanted("outbound-1")], before)
    opened.append(after)
    assert after.bound["inbound-0"].sockets == kept.sockets
    assert after.bound["inbound-0"].address == kept.address
    before.close(keep=after)
    assert is_listening(kept.address)
    assert not is_listening(gone)


def test_a_fixed_port_is_kept_under_another_name(opened):
    first = bind([wanted("outbound-0")])
    fixed = first.bound["outbound-0"].address
    first.close()
    before = bind([wanted("outbound-1", fixed)])
    after = bind([wanted("outbound-0", fixed)], before)
    opened.append(after)
    assert after.bound["outbound-0"].sockets == before.bound["outbound-1"].sockets


def test_a_port_that_was_found_may_be_written_down(opened):
    before = bind([wanted("inbound-0", sockets=2)])
    after = bind([wanted("inbound-0", before.bound["inbound-0"].address, sockets=2)], before)
    opened.append(after)
    assert after.bound["inbound-0"].sockets == before.bound["inbound-0"].sockets


def test_more_workers_add_sockets_and_a_failed_reload_closes_only_its_own(opened):
    before = bind([wanted(sockets=1)])
    opened.append(before)
    after = bind([wanted(sockets=3)], before)
    opened.append(after)
    assert len(after.bound["inbound-0"].sockets) == 3
    with pytest.raises(BindFailed):
        bind([wanted(sockets=3), wanted("admin", Address("192.0.2.1", 1))], before)
    assert is_listening(before.bound["inbound-0"].address)


def test_a_unix_socket_is_shared_by_all_slots_and_removed_at_the_end(tmp_path):
    address = Address(str(tmp_path / "in.sock"), is_unix=True)
    listeners = bind([wanted(address=address, sockets=2)])
    assert listeners.of_slot(0) == listeners.of_slot(1)
    with pytest.raises(BindFailed, match="Address already in use"):
        bind([wanted(address=address)])
    listeners.close()
    assert not (tmp_path / "in.sock").exists()


def test_a_unix_socket_left_by_a_killed_process_is_replaced(tmp_path, opened):
    path = tmp_path / "in.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    address = Address(str(path), is_unix=True)
    opened.append(bind([wanted(address=address)]))
    assert is_listening(address)
