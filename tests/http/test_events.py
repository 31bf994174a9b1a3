"""The end of a message."""

from meshd.http.events import END, End


def test_an_end_tells_of_its_trailers():
    assert repr(End([(b"a", b"b")])) == "<End 1 trailers>"
    assert END.trailers == []
