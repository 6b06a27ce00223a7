"""A zip of an image folder: pixels as [N,C,H,W] from 0 to 255, the folder's name as the class."""

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from specs.uploads.findings import Unfit
from specs.uploads.image_folder import MAX_IMAGE_BYTES, members
from worker.data_sources.source import Array, DataFinding, check_size

MAX_PIXELS = 4096 * 4096
FORMATS = ("PNG", "JPEG", "BMP")


def read(path: Path) -> tuple[Array, Array]:
    """All images, which must be of one size; grey ones have one channel, others three."""
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            classes = members([entry.filename for entry in archive.infolist()])
            pixels = [_pixels(archive, name) for name in classes]
    except (zipfile.BadZipFile, Unfit, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataFinding("data_unreadable", f"{path.name}: {error}") from None
    shapes = {image.shape for image in pixels}
    if len(shapes) != 1:
        sizes = ", ".join(sorted("x".join(map(str, shape)) for shape in shapes)[:5])
        raise DataFinding("data_mismatch", f"images must be of one size and colour mode; there are {sizes}")
    check_size((len(pixels), *pixels[0].shape), 8, path.name)
    return np.stack(pixels).astype(np.float64), np.array(list(classes.values()))


def _pixels(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as stream:
        content = stream.read(MAX_IMAGE_BYTES + 1)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataFinding("data_too_large", f"{name[:80]}: {image.width} x {image.height} pixels")
            grey = image.mode in ("1", "L", "I;16")
            values = np.asarray(image.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise DataFinding("data_unreadable", f"{name[:80]} cannot be decoded: {str(error)[:120]}") from None
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
