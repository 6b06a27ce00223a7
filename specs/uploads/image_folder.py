"""A zip of an image folder: one folder for each class, images of PNG, JPEG or BMP in it."""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Final

from specs.uploads.archive import opened
from specs.uploads.findings import Contents, Unfit

MAX_IMAGES: Final = 200_000
MAX_IMAGE_BYTES: Final = 32 << 20
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp")
_MAGIC: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")


def members(names: list[str]) -> dict[str, str]:
    """The images of an archive: name -> class. What hidden folders hold is left out. Raises ``Unfit``."""
    found: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        if name.endswith("/") or any(part.startswith((".", "__MACOSX")) for part in path.parts):
            continue
        if path.suffix.lower() not in SUFFIXES or len(path.parts) < 2:
            raise Unfit("not_an_image", f"{name[:80]!r} is not an image in the folder of its class")
        found[name] = path.parts[-2]
    return found


def inspect(path: Path) -> Contents:
    """Images and classes by the archive's directory and each image's first bytes. Raises ``Unfit``."""
    with opened(path, most_entries=MAX_IMAGES) as archive:
        images = members([entry.filename for entry in archive.infolist()])
        for name in images:
            entry = archive.getinfo(name)
            if entry.file_size > MAX_IMAGE_BYTES:
                raise Unfit("too_large", f"{name[:80]!r} has {entry.file_size} bytes; at most {MAX_IMAGE_BYTES}")
            with archive.open(entry) as stream:
                if not stream.read(8).startswith(_MAGIC):
                    raise Unfit("wrong_magic", f"{name[:80]!r} is not a PNG, JPEG or BMP image")
    classes = Counter(images.values())
    if len(images) < 2:
        raise Unfit("too_few_rows", f"the archive has {len(images)} image(s); at least two are needed")
    if len(classes) < 2:
        raise Unfit("single_class", "all images are of one class")
    return Contents(rows=len(images), classes=len(classes))
