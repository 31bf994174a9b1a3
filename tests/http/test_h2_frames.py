"""Octets to frames, wherever they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http2 import cut, frames, some_frames

from meshd.http.h2_events import Code, ConnectionFailed
from meshd.http.h2_frames import (
    MAX_FRAME,
    PADDED,
    PREFACE,
    PRIORITY_FLAG,
    Frame,
    FrameReader,
    HeaderBlock,
    Kind,
    frame,
    goaway_frame,
    reset_frame,
    window_update,
)


def read_all(reader, pieces):
    found = []
    for piece in pieces:
        reader.receive(piece)
        while (each := reader.next_frame()) is not None:
            found.append(each.octets)
    return found


@given(wanted=st.lists(some_frames, max_size=6), places=st.lists(st.integers(0, 500), max_size=8))
def test_frames_come_out_whole_wherever_they_are_cut(wanted, places):
    reader = FrameReader(PREFACE)
    assert read_all(reader, cut(PREFACE + b"".join(wanted), places)) == wanted
    assert not reader.partial


@given(some_frames)
def test_a_frame_says_what_was_written(octets):
    read = Frame(octets)
    assert [(read.kind, read.flags, read.stream, read.payload)] == frames(octets)
    assert read.length == len(read.payload)


@given(payload=st.binary(max_size=50), padding=st.integers(0, 255), skip=st.integers(0, 5))
def test_content_is_what_padding_and_priority_leave(payload, padding, skip):
    padded = bytes((padding,)) + b"p" * skip + payload + b"\0" * padding
    assert Frame(frame(Kind.HEADERS, PADDED, 1, padded)).content(skip) == payload
    assert Frame(frame(Kind.HEADERS, 0, 1, b"p" * skip + payload)).content(skip) == payload


@pytest.mark.parametrize(
    ("flags", "payload", "skip", "code"),
    [
        (PADDED, b"", 0, Code.FRAME_SIZE_ERROR),
        (PADDED, b"\x03ab", 0, Code.PROTOCOL_ERROR),
        (PADDED, b"\x01abcdx", 5, Code.PROTOCOL_ERROR),
        (0, b"abcd", 5, Code.PROTOCOL_ERROR),
    ],
)
def test_padding_that_does_not_fit_ends_the_connection(flags, payload, skip, code):
    with pytest.raises(ConnectionFailed) as caught:
        Frame(frame(Kind.HEADERS, flags, 1, payload)).content(skip)
    assert caught.value.code == code


def test_a_frame_that_is_too_large_is_refused_by_its_header_alone():
    reader = FrameReader(b"")
    reader.receive((MAX_FRAME + 1).to_bytes(3, "big") + bytes(6))
    with pytest.raises(ConnectionFailed, match="16385 octets"):
        reader.next_frame()


@given(st.binary(min_size=1, max_size=30))
def test_anything_but_the_preface_is_refused_at_its_first_wrong_octet(octets):
    reader = FrameReader(PREFACE)
    if PREFACE.startswith(octets):
        reader.receive(octets)
        assert reader.partial == (octets != PREFACE)
    elif not octets.startswith(PREFACE):
        with pytest.raises(ConnectionFailed, match="preface"):
            reader.receive(octets)


def test_the_frames_that_sessions_write_themselves():
    assert frames(reset_frame(5, Code.CANCEL)) == [(Kind.RST_STREAM, 0, 5, b"\0\0\0\x08")]
    assert frames(window_update(0, 7)) == [(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\x07")]
    assert frames(goaway_frame(3, Code.NO_ERROR, "é" * 200)) == [
        (Kind.GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\0" + b"?" * 128)
    ]


def test_a_reader_waits_with_less_than_a_frame():
    reader = FrameReader(b"")
    reader.receive(frame(Kind.PING, 0, 0, bytes(8)) + b"\0\0")
    assert reader.next_frame() is not None
    assert reader.next_frame() is None
    assert reader.partial
    assert repr(reader) == "<FrameReader 2 octets waiting>"


@pytest.mark.parametrize(
    ("kind", "flags", "payload", "wrong"),
    [
        (Kind.PRIORITY, 0, b"\0\0\0\3\x0f", True),
        (Kind.PRIORITY, 0, b"\x80\0\0\3\x0f", True),
        (Kind.PRIORITY, 0, b"\0\0\0\1\x0f", False),
        (Kind.HEADERS, PRIORITY_FLAG, b"\0\0\0\3\x0f", True),
        (Kind.HEADERS, PRIORITY_FLAG | PADDED, b"\0\0\0\0\3\x0f", True),
        (Kind.HEADERS, 0, b"\0\0\0\3\x0f", False),
    ],
)
def test_a_stream_that_depends_on_itself(kind, flags, payload, wrong):
    assert Frame(frame(kind, flags, 3, payload)).depends_on_itself == wrong


def test_what_frames_look_like():
    assert repr(Frame(frame(Kind.DATA, 1, 3, b"ab"))) == "<Frame 0 flags 0x1 stream 3 2 octets>"
    assert repr(HeaderBlock(Frame(frame(Kind.HEADERS, 0, 3, b"ab")), b"ab")) == "<HeaderBlock 3 1 parts 2 octets>"
