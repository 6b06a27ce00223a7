"""The small parts of a worker: places, log tail, what can be stored, what is a report."""

import json
import math
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.reports import Progress, Series, SeriesBlock
from worker.environment import preparing_environment, training_environment
from worker.frames import Frame, ProtocolError
from worker.log_tail import MAX_LINE_BYTES, MAX_LOG_BYTES, LogTail
from worker.places import CPU, GPU, Places
from worker.reader import MAX_SERIES_BYTES, Buffer, parse
from worker.storable import storable

TEXTS = st.text(st.characters())  # lone surrogates and NUL included
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def test_place_is_taken_once_and_waited_for() -> None:
    places = Places(cpu_slots=1, gpu_uuids=["GPU-1", "GPU-2"])
    assert places.classes == (CPU, GPU)
    gpus = [places.take(GPU), places.take(GPU)]
    assert sorted(place.device for place in gpus if place) == ["cuda:GPU-1", "cuda:GPU-2"]
    cpu = places.take(CPU)
    assert cpu is not None and places.busy == 3
    assert places.take(CPU) is None
    threading.Timer(0.05, places.give_back, [cpu]).start()
    assert places.take(CPU, timeout_s=5) == cpu


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_a_trainer_says_becomes_strict_json(said: dict[str, object]) -> None:
    text = json.dumps(storable(said), allow_nan=False, ensure_ascii=False)
    text.encode()  # no lone surrogate
    assert "\\u0000" not in text.replace("\\\\", "")  # no NUL, behind an even number of backslashes


def test_every_value_that_is_not_finite_is_named() -> None:
    said = {"loss": math.nan, "per_class": [1.0, -math.inf], "deep": {"a": math.inf}}
    assert storable(said) == {
        "loss": None,
        "per_class": [1.0, None],
        "deep": {"a": None},
        "nonfinite": [
            {"pointer": "/loss", "kind": "nan"},
            {"pointer": "/per_class/1", "kind": "-inf"},
            {"pointer": "/deep/a", "kind": "inf"},
        ],
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=8))
def test_log_is_read_once_in_whole_lines(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    path.touch()
    tail = LogTail(path)
    lines: list[str] = []
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        lines += tail.take()
    lines += tail.take(ended=True)
    whole = b"".join(pieces).split(b"\n")
    expected = whole if whole[-1] else whole[:-1]
    assert lines == [line.decode(errors="replace").replace("\0", "\u2400") for line in expected]


def test_log_is_bounded_in_lines_and_in_length(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (2 * MAX_LINE_BYTES) + b"\n" + b"line\n" * (MAX_LOG_BYTES // 4))
    tail = LogTail(path)
    lines: list[str] = []
    while taken := tail.take():
        lines += taken
    assert len(lines[0]) == MAX_LINE_BYTES
    assert sum(map(len, lines)) <= MAX_LOG_BYTES
    assert lines[-1].startswith("[the log goes on")


def test_full_buffer_drops_series_and_nothing_else() -> None:
    buffer = Buffer()
    block = SeriesBlock(quantities=("loss",), units=("",), count=1)
    series = Series(blocks=(block,), payload=struct.pack("<if", 1, 0.5))
    for _ in range(3):
        buffer.put(series, size=MAX_SERIES_BYTES // 2, urgent=False)
        buffer.put(Progress(step=1, epoch=1), size=10, urgent=False)
    taken = buffer.take()
    assert buffer.dropped == 1
    assert [type(report) for report in taken] == [Series, Progress, Series, Progress]


def test_consecutive_progress_is_one_report() -> None:
    buffer = Buffer()
    for step in (1, 2, 3):
        buffer.put(Progress(step=step, epoch=1), size=10, urgent=False)
    assert buffer.take() == [Progress(step=3, epoch=1)]


BLOCK = {"quantities": ["loss"], "units": [""], "count": 2}


@pytest.mark.parametrize(
    "frame",
    [
        Frame("greeting", {}),
        Frame("started", {"step": "many"}),
        Frame("started", {"step": 0, "device": "cpu", "receipt": {}}, b"payload"),
        Frame("series", {"blocks": [BLOCK]}, b"too short"),
        Frame("series", {"blocks": [{**BLOCK, "units": []}]}, bytes(16)),
        Frame("series", {"blocks": [{**BLOCK, "count": 0}]}, b""),
        Frame("checkpoint", {"path": "x", "step": 1, "surprise": True}),
    ],
)
def test_what_is_no_report_is_refused(frame: Frame) -> None:
    with pytest.raises(ProtocolError):
        parse(frame)


def test_trainers_get_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AFTERPROP_DATABASE_URL", "AFTERPROP_BROKER_URL", "AWS_SECRET_ACCESS_KEY", "SOME_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    assert "secret" not in training_environment().values()
    assert "secret" not in preparing_environment().values()
    assert "HTTPS_PROXY" not in training_environment()
    assert preparing_environment()["HTTPS_PROXY"] == os.environ["HTTPS_PROXY"]
    assert training_environment(threads=3)["OMP_NUM_THREADS"] == "3"
    assert training_environment()["PYTHONHASHSEED"] == "0"
