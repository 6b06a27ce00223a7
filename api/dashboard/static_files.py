"""The files that pages load: our own modules and styles, Swagger UI and plotly.js out of their installed packages."""

import gzip
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

OWN = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
PLOTLY = f"plotly-{version('plotly')}.js"
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATED = "no-cache"
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class StaticFile:
    """A file as it is sent. It is kept compressed alone: nearly every browser takes that form."""

    gzipped: bytes
    media_type: str
    etag: str
    cache_control: str

    def plain(self) -> Iterator[bytes]:
        """The file in pieces: the rare client that takes it so must not cost the process its size in memory."""
        with gzip.open(io.BytesIO(self.gzipped)) as pieces:
            while piece := pieces.read(_PIECE_BYTES):
                yield piece


def find(name: str) -> StaticFile | None:
    """The file of this name, or None. Only names that are listed here lead anywhere."""
    read = _sources().get(name)
    if read is None:
        return None
    if name in (PLOTLY, *SWAGGER):
        return _kept(name)
    return _static_file(name, read())


@lru_cache(maxsize=8)
def _kept(name: str) -> StaticFile:
    return _static_file(name, _sources()[name]())


def _static_file(name: str, gzipped: bytes) -> StaticFile:
    return StaticFile(
        gzipped=gzipped,
        media_type=MEDIA_TYPES[Path(name).suffix],
        etag=f'"{hashlib.sha256(gzipped).hexdigest()[:32]}"',
        cache_control=IMMUTABLE if name == PLOTLY else REVALIDATED,
    )


@lru_cache(maxsize=1)
def _sources() -> dict[str, Callable[[], bytes]]:
    """How each file is read, gzipped, by name."""
    swagger = files("fastapi_offline") / "static"
    plain = {path.name: path.read_bytes for path in OWN.iterdir()}
    plain |= {name: (swagger / name).read_bytes for name in SWAGGER}
    sources: dict[str, Callable[[], bytes]] = {name: partial(_gzipped, read) for name, read in plain.items()}
    sources[PLOTLY] = _plotly
    return sources


def _gzipped(read: Callable[[], bytes]) -> bytes:
    return gzip.compress(read(), 6, mtime=0)


def _plotly() -> bytes:
    """plotly.js out of its package, fetched by a process of its own: importing the package would stay in this one."""
    program = "import gzip, sys; from plotly.offline import get_plotlyjs as js; "
    program += "sys.stdout.buffer.write(gzip.compress(js().encode(), 6, mtime=0))"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout
