"""A body that is a file: counted and hashed on its way to the disk, never whole in memory."""

import asyncio
import errno
import hashlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.errors import Refused
from api.middleware import dropped
from api.multipart import FilePart
from api.problems import ProblemItem
from specs.uploads import FORMATS, MEDIA_TYPES
from store.settings import Settings
from store.uploaded_files import arriving

RESERVE_BYTES: Final = 64 << 20
"""Room that an upload leaves on the disk, for the database above all."""
LEAST_BYTES: Final = 32 << 10
"""An upload that brings fewer within ``upload_idle_s`` is ended: a byte now and then is not progress."""
REFUSED_SUFFIXES: Final = ("pkl", "pickle", "pt", "pth", "joblib", "h5", "hdf5", "npy", "gz")
ANY_TYPE: Final = "application/octet-stream"
FORM_TYPE: Final = "multipart/form-data"
_ALLOWED = [*MEDIA_TYPES, ANY_TYPE, FORM_TYPE]


@dataclass(frozen=True)
class Arrived:
    """A file that was received whole. It is gone when the request ends, unless it was moved away."""

    path: Path
    name: str
    kind: str
    sha256: str
    size_bytes: int


async def arrived(request: Request, name: str | None) -> AsyncIterator[Arrived]:
    """Receives the body; ``name`` is what the client calls the file where no form does."""
    settings: Settings = request.app.state.door.settings
    media_type, _, options = request.headers.get("content-type", ANY_TYPE).partition(";")
    media_type = media_type.strip().lower()
    if media_type not in _ALLOWED:
        raise unsupported("/header/Content-Type", "not read here", _ALLOWED)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused("unsupported_media_type", "A file is sent without Content-Encoding.")
    form = FilePart(options) if media_type == FORM_TYPE else None
    kind = None if form else kind_of(name, media_type)
    _require_room(request, settings)
    with arriving(settings.uploads_dir) as (path, file):
        try:
            sha256, size = await _received(request, file, settings, form)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Refused("disk_full") from None
            raise
        if form is not None:
            name = form.finished()
            kind = kind_of(name, ANY_TYPE)
        yield Arrived(path, name or f"upload.{kind}", kind or "", sha256, size)


def kind_of(name: str | None, media_type: str) -> str:
    """The format, by the media type or the name's ending. Refused: 415."""
    ending = (name or "").rpartition(".")[2].lower()
    if ending in REFUSED_SUFFIXES:
        raise unsupported("/query/name", f"files that end in .{ending} are not read", list(FORMATS))
    if media_type in MEDIA_TYPES:
        return MEDIA_TYPES[media_type]
    if ending not in FORMATS:
        raise unsupported("/query/name", "neither the media type nor the name says what the file is", list(FORMATS))
    return ending


def unsupported(pointer: str, detail: str, allowed: list[str]) -> Refused:
    """415 with what would have been read."""
    item = ProblemItem(pointer=pointer, code="unsupported_media_type", detail=detail, allowed=allowed)
    return Refused("unsupported_media_type", detail, errors=[item])


def _require_room(request: Request, settings: Settings) -> None:
    settings.uploads_dir.mkdir(parents=True, exist_ok=True)
    announced = request.headers.get("content-length", "0")
    needed = int(announced[:20]) if announced.isdecimal() else 0
    if shutil.disk_usage(settings.uploads_dir).free < needed + RESERVE_BYTES:
        raise Refused("disk_full")


async def _received(request: Request, file: IO[bytes], settings: Settings, form: FilePart | None) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = counted = awaited = 0
    stream = request.stream().__aiter__()
    clock = asyncio.get_running_loop().time
    try:
        while True:
            if counted >= awaited:
                awaited, deadline = counted + LEAST_BYTES, clock() + settings.upload_idle_s
            async with asyncio.timeout_at(deadline):
                piece = await anext(stream, None)
            if piece is None:
                break
            counted += len(piece)
            if counted > settings.limits.upload_bytes:
                await dropped(request.scope, request.receive)
                detail = f"A file is at most {settings.limits.upload_bytes} bytes."
                raise Refused("body_too_large", detail, headers={"Connection": "close"})
            for content in (piece,) if form is None else form.feed(piece):
                digest.update(content)
                file.write(content)
                size += len(content)
    except TimeoutError:
        raise Refused("upload_timeout", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused("malformed_request", "The body ended before it was whole.") from None
    file.flush()
    return digest.hexdigest(), size
