"""The event-stream codec, against the protocol's worked example and random frames."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import EventStreamError
from edge_agent.greengrass.eventstream import (
    MAX_FRAME_BYTES,
    Decoder,
    Header,
    HeaderType,
    Message,
    MessageType,
    decode,
    encode,
    rpc_message,
)

CONNECT = rpc_message(MessageType.CONNECT, 0, 0, (Header.text(":version", "0.1.0"),), b'{"authToken":"AAAA"}')


def _numbers(kind, bits):
    return st.builds(Header, _names, st.just(kind), st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))


_names = st.text(min_size=1, max_size=40).filter(lambda text: 1 <= len(text.encode()) <= 255)
_headers = st.one_of(
    st.builds(
        lambda name, on: Header(name, HeaderType.BOOL_TRUE if on else HeaderType.BOOL_FALSE, on), _names, st.booleans()
    ),
    _numbers(HeaderType.BYTE, 8),
    _numbers(HeaderType.INT16, 16),
    _numbers(HeaderType.INT32, 32),
    _numbers(HeaderType.INT64, 64),
    _numbers(HeaderType.TIMESTAMP, 64),
    st.builds(Header, _names, st.just(HeaderType.BYTES), st.binary(max_size=300)),
    st.builds(Header, _names, st.just(HeaderType.STRING), st.text(max_size=300)),
    st.builds(Header, _names, st.just(HeaderType.UUID), st.binary(min_size=16, max_size=16)),
)
_messages = st.builds(Message, st.lists(_headers, max_size=6).map(tuple), st.binary(max_size=2000))


def test_worked_example_of_connect():
    assert len(CONNECT) == 108
    assert CONNECT.hex().startswith("0000006c0000004841e78c870d3a6d6573736167652d747970650400000004")
    assert CONNECT.hex().endswith("d74c4658")
    message = decode(CONNECT)
    assert message.routing() == (4, 0, 0)
    assert message.text(":VERSION") == "0.1.0"
    assert message.payload == b'{"authToken":"AAAA"}'


@given(_messages)
def test_what_is_encoded_is_decoded(message):
    assert decode(encode(message)) == message


@settings(max_examples=50)
@given(st.lists(_messages, max_size=4), st.integers(1, 64))
def test_frames_arrive_in_pieces_of_any_size(messages, piece):
    data = b"".join(encode(message) for message in messages)
    decoder = Decoder()
    found = []
    for start in range(0, len(data), piece):
        found.extend(decoder.feed(data[start : start + piece]))
    assert found == messages
    assert not decoder.partial


@given(_messages, st.data())
def test_any_flipped_bit_is_noticed(message, data):
    frame = bytearray(encode(message))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EventStreamError):
        decode(bytes(frame))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_never_crash(data):
    with pytest.raises(EventStreamError):
        decode(data)


@given(st.binary(max_size=60))
def test_random_headers_decode_or_are_refused(headers):
    lengths = struct.pack(">II", 16 + len(headers), len(headers))
    body = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers
    frame = body + struct.pack(">I", zlib.crc32(body))
    try:
        message = decode(frame)
    except EventStreamError:
        return
    assert decode(encode(message)) == message


def test_partial_frame_is_visible():
    decoder = Decoder()
    assert list(decoder.feed(CONNECT[:50])) == []
    assert decoder.partial
    assert len(list(decoder.feed(CONNECT[50:]))) == 1
    assert not decoder.partial


@pytest.mark.parametrize("limit", [107, 108])
def test_size_limit_is_for_the_whole_frame(limit):
    decoder = Decoder(limit)
    if limit == 108:
        assert len(list(decoder.feed(CONNECT))) == 1
        return
    with pytest.raises(EventStreamError, match="over the limit of 107"):
        list(decoder.feed(CONNECT[:12]))


def test_headers_longer_than_the_frame_are_refused():
    lengths = struct.pack(">II", 20, 100)
    with pytest.raises(EventStreamError, match="cannot hold 100"):
        list(Decoder().feed(lengths + struct.pack(">I", zlib.crc32(lengths))))


def test_frame_without_routing_headers():
    with pytest.raises(EventStreamError, match=":message-type"):
        decode(encode(Message((Header.text("a", "b"),)))).routing()


@pytest.mark.parametrize(
    "header",
    [
        Header("", HeaderType.STRING, "x"),
        Header("n" * 256, HeaderType.STRING, "x"),
        Header("n", HeaderType.STRING, "x" * 32768),
        Header("n", HeaderType.INT16, 1 << 15),
        Header("n", HeaderType.UUID, b"short"),
        Header("n", HeaderType.STRING, b"bytes"),
    ],
)
def test_headers_that_do_not_fit_are_refused(header):
    with pytest.raises(EventStreamError):
        encode(Message((header,)))


def test_largest_frame():
    with pytest.raises(EventStreamError, match="too large"):
        encode(Message((), bytes(MAX_FRAME_BYTES)))
