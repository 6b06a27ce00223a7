"""Frames: what is sent arrives, and nothing is allocated for what should not have been sent."""

import fcntl
import json
import math
import os
import struct
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.frames import MAX_JSON_BYTES, MAX_PAYLOAD_BYTES, Decoder, Frame, ProtocolError, encode, read, send

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name not in ("type", "nbytes", "payload"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FRAMES = st.builds(Frame, st.text(max_size=10), st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=300))


def as_bytes(frame: Frame) -> bytes:
    return encode(frame.type, frame.payload, **frame.fields)


def raw(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


@settings(max_examples=60, deadline=None)
@given(st.lists(FRAMES, max_size=4), st.integers(1, 50))
def test_frames_cut_anywhere_arrive_whole_and_in_order(frames: list[Frame], piece: int) -> None:
    stream = b"".join(map(as_bytes, frames))
    decoder = Decoder()
    received = [frame for at in range(0, len(stream), piece) for frame in decoder.feed(stream[at : at + piece])]
    assert received == frames


@settings(max_examples=30, deadline=None)
@given(FRAMES)
def test_read_takes_one_frame_and_not_one_byte_more(frame: Frame) -> None:
    out, into = os.pipe()
    os.write(into, as_bytes(frame) + b"next")
    os.close(into)
    assert read(out) == frame
    assert os.read(out, 10) == b"next"
    os.close(out)


@settings(max_examples=30, deadline=None)
@given(FRAMES, st.data())
def test_half_frame_at_the_end_is_dropped(frame: Frame, data: st.DataObject) -> None:
    whole = as_bytes(frame)
    half = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert Decoder().feed(half) == []
    out, into = os.pipe()
    os.write(into, half)
    os.close(into)
    assert read(out) is None
    os.close(out)


def test_frame_larger_than_the_pipe_is_written_whole() -> None:
    out, into = os.pipe()
    payload = os.urandom(1 << 20)
    sender = threading.Thread(target=send, args=(into, "series", payload), kwargs={"blocks": []})
    sender.start()
    assert read(out) == Frame("series", {"blocks": []}, payload)
    sender.join()
    os.close(out)
    os.close(into)


def test_nan_travels() -> None:
    (frame,) = Decoder().feed(encode("event", detail={"loss": math.nan}))
    assert math.isnan(frame.fields["detail"]["loss"])


GARBAGE = {
    "length zero": struct.pack("<I", 0),
    "length above the cap": struct.pack("<I", MAX_JSON_BYTES + 1),
    "not JSON": raw(b"hello"),
    "not UTF-8": raw(b'{"type":"\xff"}'),
    "nested without end": raw(b"[" * 100_000),
    "a list": raw(b"[]"),
    "no type": raw(b"{}"),
    "type is a number": raw(b'{"type":1}'),
    "payload above the cap": raw(json.dumps({"type": "series", "nbytes": MAX_PAYLOAD_BYTES + 1}).encode()),
    "payload negative": raw(b'{"type":"series","nbytes":-1}'),
    "payload true": raw(b'{"type":"series","nbytes":true}'),
    "payload fraction": raw(b'{"type":"series","nbytes":1.5}'),
    "number without end": raw(b'{"type":"series","nbytes":' + b"9" * 5000 + b"}"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(garbage)
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 1 << 18)
    os.write(into, garbage)
    with pytest.raises(ProtocolError):
        read(out)
    os.close(into)
    os.close(out)


@pytest.mark.parametrize("claimed", [struct.pack("<I", 0xFFFFFFFF), raw(b'{"type":"x","nbytes":1000000000}')])
def test_claimed_length_is_refused_before_it_is_allocated(claimed: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            Decoder().feed(claimed)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_sender_refuses_what_the_reader_would_refuse() -> None:
    with pytest.raises(ProtocolError):
        encode("event", detail="x" * MAX_JSON_BYTES)
    with pytest.raises(ProtocolError):
        encode("series", bytes(MAX_PAYLOAD_BYTES + 1))
