"""Preparation of a data set: rows read, checked, split, normalised and written as ``.npy``, once per content.

Run as ``python -m worker.prepare``: a JSON order on standard input, a JSON answer on standard output. The worker
itself imports only ``cached``, which needs neither numpy nor torch.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from specs.data_sources import DatasetSpec, FileSpec
from specs.kinds import Spec
from specs.training import Precision
from worker import disk_full

FORMAT = 1
"""Part of every key: raise it when what is written changes."""

ANSWER = "signature.json"


class Order(Spec):
    """What to prepare, and where."""

    dataset: DatasetSpec
    precision: Precision
    data_dir: str | None = None
    uploads_dir: str | None = None
    prepared_dir: str
    mirror_url: str | None = Field(
        default_factory=lambda: os.environ.get("AFTERPROP_MNIST_MIRROR_URL"), description="of published data sets"
    )


def cached(order: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to an order that was prepared before, or None. The user's file is hashed again if it changed."""
    try:
        wanted = Order.model_validate(order)
        return _answer(_folder(wanted))
    except (ValidationError, OSError):
        return None


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    """``{"folder", "sha256", "signature"}``, or ``{"error": {"kind", "fault", "message"}}``; never a traceback."""
    from worker.data_sources.source import DataFinding

    try:
        return _prepared(Order.model_validate(order))
    except DataFinding as finding:
        return _error(finding.kind, finding.fault, str(finding))
    except ValidationError as error:
        return _error("internal", "system", f"the order does not hold: {error}")
    except MemoryError:
        return _error("oom", "resource", "the data set does not fit into memory")
    except OSError as error:
        if disk_full.is_meant(error):
            return _error(disk_full.KIND, "resource", disk_full.MESSAGE)
        return _error("data_unreadable", "system", f"{type(error).__name__}: {error.strerror}")


def _error(kind: str, fault: str, message: str) -> dict[str, Any]:
    return {"error": {"kind": kind, "fault": fault, "message": message}}


def _folder(order: Order) -> Path:
    """Where this order's arrays are or will be: named by the spec, the stored precision and the file's content."""
    stored = "float64" if order.precision == "float64" else "float32"
    named: dict[str, Any] = {"format": FORMAT, "dataset": order.dataset.model_dump(mode="json"), "stored": stored}
    if isinstance(order.dataset, FileSpec):
        path = _source_file(order.dataset, order.data_dir)
        stat = path.stat()
        named["content"] = _content_hash(path, stat.st_size, stat.st_mtime_ns)
    text = json.dumps(named, sort_keys=True)
    return Path(order.prepared_dir).resolve() / hashlib.sha256(text.encode()).hexdigest()[:32]


def _source_file(dataset: FileSpec, data_dir: str | None) -> Path:
    if data_dir is None:
        raise FileNotFoundError(dataset.path)
    root = Path(data_dir).resolve()
    path = (root / dataset.path).resolve()
    if not path.is_relative_to(root):
        raise FileNotFoundError(dataset.path)
    return path


@lru_cache(maxsize=256)
def _content_hash(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the cache's key alone
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _answer(folder: Path) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = json.loads((folder / ANSWER).read_text())
    except (OSError, ValueError):
        return None
    return {"folder": str(folder), "sha256": answer["sha256"], "signature": answer["signature"]}


def _prepared(order: Order) -> dict[str, Any]:
    from specs.kinds import implementation
    from worker.data_sources.source import DataSource, Folders, located
    from worker.data_sources.writing import write

    data = None if order.data_dir is None else Path(order.data_dir)
    if isinstance(order.dataset, FileSpec):
        located(order.dataset.path, data)
    folder = _folder(order)
    if (answer := _answer(folder)) is not None:
        return answer
    downloads = Path(order.prepared_dir).resolve() / "downloads"
    source: DataSource = implementation(order.dataset, "worker.data_sources")(order.dataset)
    uploads = None if order.uploads_dir is None else Path(order.uploads_dir)
    table = source.load(Folders(data=data, uploads=uploads, downloads=downloads, mirror_url=order.mirror_url))
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unfinished-"))
    try:
        signature, digest, scaling = write(table, order.dataset, unfinished, precision=order.precision)
        written = {"sha256": digest, "signature": signature.model_dump(mode="json"), "scaling": scaling}
        (unfinished / ANSWER).write_text(json.dumps(written))
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    answer = _answer(folder)
    assert answer is not None
    return answer


def _publish(unfinished: Path, folder: Path) -> None:
    """Rename into place. Another preparation may have been first: both hold the same bytes, its folder stays."""
    unfinished.chmod(0o755)
    try:
        unfinished.rename(folder)
    except OSError:
        if _answer(folder) is None:
            raise


def main() -> int:
    """The process's door: one order in, one answer out."""
    try:
        answer = prepare(json.load(sys.stdin))
    except Exception:  # the outer door: whatever happened, the worker gets an answer and the log the trace
        traceback.print_exc()
        answer = _error("internal", "system", "preparing the data set failed; the log says where")
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
