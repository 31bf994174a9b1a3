from support.svid import NOW, bundle, ders, make, root

from meshd.identity.certificate import verify_peer


def test_a_peer_knows_its_root_and_does_not_print_certificates():
    top = root()
    peer = verify_peer(ders(make(top, dns=("client.a",)), top), bundle(top), NOW)
    assert peer.root == top.certificate
    assert peer.dns_names == ("client.a",)
    assert "Certificate" not in repr(peer)
