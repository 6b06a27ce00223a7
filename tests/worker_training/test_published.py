"""Published data sets from tiny files in the published formats, with checksums of their own."""

import functools
import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.data_sources import PublishedSpec, known_signature
from worker.data_sources.published import COLLECTIONS, CifarCollection, Collection, IdxCollection, Published
from worker.data_sources.source import DataFinding, Folders, Table
from worker.prepare import prepare

IDX = ["mnist", "fashion_mnist"]
CIFAR = ["cifar10", "cifar100"]
EVERY = pytest.mark.parametrize("name", IDX + CIFAR)


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def records(rows: int, labels: int, classes: int, rng: np.random.Generator) -> bytes:
    made = rng.integers(0, 256, (rows, labels + 3072), dtype=np.uint8)
    made[:, :labels] = rng.integers(0, classes, (rows, labels))
    return made.tobytes()


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def tiny(name: str, folder: Path) -> tuple[Collection, dict[str, bytes]]:
    """Files of the format of ``name`` in ``folder``, their collection, and the contents by name."""
    rng, real = np.random.default_rng(3), COLLECTIONS[name]
    folder.mkdir(parents=True)
    if isinstance(real, IdxCollection):
        contents, archives = {}, []
        for archive in real.archives:
            rows = 50 if archive.name.startswith("train") else 10
            images = "images" in archive.name
            values = rng.integers(0, 256 if images else 10, (rows, 28, 28) if images else (rows,), dtype=np.uint8)
            contents[archive.unpacked] = idx(values)
            packed = gzip.compress(contents[archive.unpacked])
            (folder / archive.name).write_bytes(packed)
            archives.append(replace(archive, md5=_md5(packed if archive.md5_of == "file" else idx(values))))
        first, second, third, fourth = archives
        return replace(real, rows=(50, 10), archives=(first, second, third, fourth)), contents
    assert isinstance(real, CifarCollection)
    each = 50 // len(real.training)
    contents = {file: records(each, real.labels, real.classes, rng) for file in real.training}
    contents[real.test] = records(10, real.labels, real.classes, rng)
    packed = tar({f"{real.inside}/{file}": content for file, content in contents.items()})
    (folder / real.archive.name).write_bytes(packed)
    return replace(real, rows=(50, 10), archive=replace(real.archive, md5=_md5(packed))), contents


def load(name: str, collection: Collection, data: Path | None, tmp_path: Path, mirror_url: str | None = None) -> Table:
    source = Published(PublishedSpec.model_validate({"name": name}), {name: collection})
    return source.load(Folders(data=data, downloads=tmp_path / "downloads", mirror_url=mirror_url))


@EVERY
def test_rows_are_those_of_the_files_and_the_official_test_is_last(name: str, tmp_path: Path) -> None:
    collection, contents = tiny(name, tmp_path / "data" / name)
    table = load(name, collection, tmp_path / "data", tmp_path)
    shape = (1, 28, 28) if name in IDX else (3, 32, 32)
    assert (table.x.shape, table.x.dtype, table.official_test) == ((60, *shape), np.uint8, 10)
    if isinstance(collection, CifarCollection):
        each = [np.frombuffer(content, np.uint8).reshape(-1, collection.labels + 3072) for content in contents.values()]
        expected = np.concatenate(each)
        assert (table.x.reshape(60, -1) == expected[:, collection.labels :]).all()
        # CIFAR-100 puts the coarse label first; the fine one counts.
        assert (table.y == expected[:, collection.labels - 1]).all()
    else:
        values = list(contents.values())
        assert table.x.tobytes() == values[0][16:] + values[2][16:]
        assert table.y.tolist() == list(values[1][8:] + values[3][8:])


@EVERY
def test_wrong_checksum_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / name
    collection, _ = tiny(name, folder)
    # The files are whole and well formed; only the published checksums are others.
    with pytest.raises(DataFinding) as caught:
        load(name, COLLECTIONS[name], tmp_path / "data", tmp_path)
    assert caught.value.kind == "data_checksum"
    packed = sorted(folder.glob("*.gz"))[0]
    content = bytearray(packed.read_bytes())
    content[-9] ^= 1
    packed.write_bytes(content)
    with pytest.raises(DataFinding):
        load(name, collection, tmp_path / "data", tmp_path)


@EVERY
def test_unpacked_files_are_read_too(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / name
    collection, contents = tiny(name, folder)
    packed = load(name, collection, tmp_path / "data", tmp_path)
    for archive in folder.glob("*.gz"):
        archive.unlink()
    inside = folder / collection.inside if isinstance(collection, CifarCollection) else folder
    inside.mkdir(exist_ok=True)
    for file, content in contents.items():
        (inside / file).write_bytes(content)
    unpacked = load(name, collection, tmp_path / "data", tmp_path)
    assert (unpacked.x == packed.x).all() and (unpacked.y == packed.y).all()
    file, content = next(iter(contents.items()))
    (inside / file).write_bytes(content[:-1])
    with pytest.raises(DataFinding):
        load(name, collection, tmp_path / "data", tmp_path)


def test_unpacked_mnist_is_checked_by_its_contents_checksum(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mnist"
    collection, contents = tiny("mnist", folder)
    changed = bytearray(contents["train-images-idx3-ubyte"])
    changed[-1] ^= 1
    (folder / "train-images-idx3-ubyte").write_bytes(changed)
    with pytest.raises(DataFinding, match="MD5 of the content"):
        load("mnist", collection, tmp_path / "data", tmp_path)


@EVERY
def test_other_numbers_of_rows_than_published_are_refused(name: str, tmp_path: Path) -> None:
    collection, _ = tiny(name, tmp_path / "data" / name)
    with pytest.raises(DataFinding, match="published are"):
        load(name, replace(collection, rows=(60_000, 10_000)), tmp_path / "data", tmp_path)


@EVERY
def test_door_knows_the_published_shapes(name: str, tmp_path: Path) -> None:
    known = known_signature(PublishedSpec.model_validate({"name": name, "split": {"validation": 0.1}}))
    assert known is not None
    training, test = COLLECTIONS[name].rows
    assert (known.rows_train + known.rows_validation, known.rows_test) == (training, test)
    collection, _ = tiny(name, tmp_path / "data" / name)
    assert load(name, collection, tmp_path / "data", tmp_path).x.shape[1:] == known.input_shape
    assert known.outputs == (collection.classes if isinstance(collection, CifarCollection) else 10)


def test_damaged_formats_are_findings(tmp_path: Path) -> None:
    collection, contents = tiny("cifar10", tmp_path / "data" / "cifar10")
    assert isinstance(collection, CifarCollection)
    folder = tmp_path / "data" / "cifar10" / collection.inside
    folder.mkdir()
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    (folder / collection.test).write_bytes(bytes([10]) + contents[collection.test][1:])
    with pytest.raises(DataFinding, match="holds the class 10; there are 10"):
        load("cifar10", collection, tmp_path / "data", tmp_path)
    missing = tar({f"{collection.inside}/{collection.test}": contents[collection.test]})
    (tmp_path / "data" / "cifar10" / collection.archive.name).write_bytes(missing)
    (folder / collection.test).unlink()
    incomplete = replace(collection, archive=replace(collection.archive, md5=_md5(missing)))
    with pytest.raises(DataFinding, match=r"data_batch_1\.bin"):
        load("cifar10", incomplete, tmp_path / "data", tmp_path)
    fashion, _ = tiny("fashion_mnist", tmp_path / "data" / "fashion_mnist")
    (tmp_path / "data" / "fashion_mnist" / "train-labels-idx1-ubyte").write_bytes(bytes(8) + bytes(50))
    with pytest.raises(DataFinding, match="not an idx file"):
        load("fashion_mnist", fashion, tmp_path / "data", tmp_path)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@EVERY
def test_files_are_downloaded_once_where_the_folder_has_none(name: str, tmp_path: Path) -> None:
    collection, _ = tiny(name, tmp_path / "publisher")
    with pytest.raises(DataFinding, match=f"{name}/.* is not in the data folder"):
        load(name, collection, None, tmp_path)
    with served(tmp_path / "publisher") as url:
        named = collection if collection.url is None else replace(collection, url=url)
        downloaded = load(name, named, tmp_path / "data", tmp_path, mirror_url=url)
    again = load(name, named, tmp_path / "data", tmp_path, mirror_url=url)  # the publisher is gone
    assert (again.x == downloaded.x).all() and len(again.x) == 60


@EVERY
def test_downloaded_file_with_a_wrong_checksum_is_not_kept(name: str, tmp_path: Path) -> None:
    tiny(name, tmp_path / "publisher")
    with served(tmp_path / "publisher") as url, pytest.raises(DataFinding) as caught:
        load(name, replace(COLLECTIONS[name], url=url), None, tmp_path, mirror_url=url)
    assert caught.value.kind == "data_checksum"
    assert not list((tmp_path / "downloads").rglob("*.gz"))


def test_preparation_keeps_the_official_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection, contents = tiny("cifar100", tmp_path / "data" / "cifar100")
    monkeypatch.setitem(COLLECTIONS, "cifar100", collection)
    order: dict[str, Any] = {
        "dataset": {"kind": "published", "name": "cifar100"},
        "precision": "float32",
        "data_dir": str(tmp_path / "data"),
        "prepared_dir": str(tmp_path / "prepared"),
        "mirror_url": None,
    }
    answer = prepare(order)
    assert "error" not in answer, answer
    arrays = {path.stem: np.load(path) for path in Path(answer["folder"]).glob("*.npy")}
    fine = np.frombuffer(contents["test.bin"], np.uint8).reshape(10, -1)[:, 1]
    assert arrays["test_y"].tolist() == fine.tolist()
    assert (len(arrays["train_x"]), len(arrays["validation_x"])) == (45, 5)
    assert (arrays["train_x"].min(), arrays["train_x"].max()) == (0, 1)
