"""Valid files and headers, changed at random: every parser of bytes refuses in its own words, and soon.

``AFTERPROP_FUZZ_SECONDS`` is the time of each target; ``make fuzz-parsers SECONDS=600`` sets it.
"""

import io
import json
import os
import random
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from api import strict_json
from api.byte_range import NotSatisfiable, satisfied
from specs.uploads import FORMATS, inspect
from specs.uploads.findings import Unfit
from store.listing import BadCursor, decode

SECONDS = float(os.environ.get("AFTERPROP_FUZZ_SECONDS", "1"))
SEED = int(os.environ.get("AFTERPROP_FUZZ_SEED", random.randrange(2**31)))
LONGEST_S = 1.0
MOST_RESIDENT_BYTES = 512 << 20
TELLING = (b"\0", b"\xff" * 4, b"\xff" * 8, b'"', b"\n", b",", b"{", b"[", b"../", b"1e999", b"-1", b"\x80\x04")


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def valid_files() -> dict[str, bytes]:
    """A small good file of every format."""
    npz, parquet = io.BytesIO(), io.BytesIO()
    np.savez(npz, x=np.ones((6, 2)), y=np.array([0, 1, 0, 1, 0, 1]))
    pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0, 3.0], "b": [0, 1, 0]}), parquet)
    header = json.dumps(
        {
            "x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "y": {"dtype": "I64", "shape": [2], "data_offsets": [16, 32]},
        }
    ).encode()
    return {
        "csv": b"a,b,label\n1,2.5,0\n3,4e-3,1\n5,-6,0\n",
        "npz": npz.getvalue(),
        "parquet": parquet.getvalue(),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(32),
        "zip": zipped(**{"cat/1.png": b"\x89PNG\r\n\x1a\n", "dog/1.png": b"\x89PNG\r\n\x1a\n"}),
    }


def mutated(good: bytes, draw: random.Random) -> bytes:
    """Up to eight changes: a bit, a telling piece, a piece doubled or cut out, an end cut off."""
    changed = bytearray(good)
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(len(changed) + 1)
        until = min(len(changed), at + draw.randint(1, 40))
        change = draw.randrange(5)
        if change == 0 and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif change == 1:
            telling = draw.choice(TELLING)
            changed[at : at + len(telling) * draw.randrange(2)] = telling
        elif change == 2:
            changed[at:at] = changed[at:until] * draw.randint(1, 20)
        elif change == 3:
            del changed[at:until]
        elif draw.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def fuzz(good: bytes, parse: Callable[[bytes], object], refusals: tuple[type[Exception], ...]) -> None:
    """Whatever else than a refusal comes out of the parser fails the test, and so does a slow answer."""
    draw = random.Random(SEED)
    tried, refused = 0, 0
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends or tried < 20:
        given = mutated(good, draw)
        began = time.process_time()
        try:
            parse(given)
        except refusals:
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {SEED}, input {tried}: {given[:2000]!r}") from error
        assert time.process_time() - began < LONGEST_S, f"seed {SEED}, input {tried}: {given[:2000]!r}"
        tried += 1
    assert refused, f"none of {tried} inputs was refused"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", FORMATS)
def test_inspector_refuses_in_its_own_words(kind: str, tmp_path: Path) -> None:
    good, path = valid_files()[kind], tmp_path / f"file.{kind}"

    def parse(given: bytes) -> None:
        path.write_bytes(given)
        inspect(path, kind)

    parse(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(good, parse, (Unfit,))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_RESIDENT_BYTES


@pytest.mark.timeout(3600)
def test_strict_json_refuses_in_its_own_words() -> None:
    good = json.dumps({"network": {"hidden": [64, 1.5, -1]}, "name": "\u00fc", "labels": {"a": None}}).encode()
    fuzz(good, strict_json.parse, (strict_json.MalformedJson, strict_json.UnusableValue))


@pytest.mark.timeout(3600)
def test_range_refuses_in_its_own_words() -> None:
    fuzz(b"bytes=40-99", lambda given: satisfied(given.decode("latin-1"), 50), (NotSatisfiable,))


@pytest.mark.timeout(3600)
def test_cursor_refuses_in_its_own_words() -> None:
    good = struct.pack(">d", 1.7e9).hex().encode() + b"0" * 32
    fuzz(good, lambda given: decode(given.decode("latin-1")), (BadCursor,))
