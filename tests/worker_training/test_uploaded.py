"""Uploaded files come to the same arrays as the user's own, and a zip of images to pixels and classes."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from specs.data_sources import UploadedSpec
from worker.data_sources.source import DataFinding, Folders
from worker.data_sources.uploaded import Uploaded

ID = "ds_" + "0" * 32
X, Y = np.arange(24, dtype=np.float64).reshape(6, 4), np.array([0, 1, 2, 0, 1, 2])


def load(folder: Path, **fields: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    spec = UploadedSpec.model_validate({"id": ID, **fields})
    table = Uploaded(spec).load(Folders(data=None, downloads=folder, uploads=folder))
    return table.x, table.y, table.class_names


def test_formats_come_to_the_same_rows(tmp_path: Path) -> None:
    for kind in ("csv", "npz", "safetensors"):
        folder = tmp_path / kind
        folder.mkdir()
        path = folder / f"{ID}.{kind}"
        if kind == "csv":
            rows = [",".join(map(str, [*x, y])) for x, y in zip(X.tolist(), Y.tolist(), strict=True)]
            path.write_text("\n".join(["a,b,c,d,y", *rows]))
        elif kind == "npz":
            np.savez(path, x=X, y=Y)
        else:
            safetensors.numpy.save_file({"x": X, "y": Y}, path)
        x, y, names = load(folder)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)
        assert names == ("0", "1", "2")


def test_zip_of_images_is_pixels_and_classes(tmp_path: Path) -> None:
    pictures = {f"{name}/{number}.png": 40 * number + 7 for number, name in enumerate(("cat", "dog", "cat"))}
    _zip(tmp_path, {name: Image.new("RGB", (5, 4), (value, 0, 255)) for name, value in pictures.items()})
    x, y, names = load(tmp_path)
    assert x.shape == (3, 3, 4, 5)
    assert [x[row, 0, 0, 0] for row in range(3)] == [7, 47, 87] and (x[:, 2] == 255).all()
    assert y.tolist() == [0, 1, 0] and names == ("cat", "dog")


@pytest.mark.parametrize("second", [Image.new("L", (5, 5)), Image.new("L", (4, 5))])
def test_images_of_several_sizes_are_a_finding(tmp_path: Path, second: Image.Image) -> None:
    _zip(tmp_path, {"a/1.png": Image.new("RGB", (5, 5)), "b/1.png": second})
    with pytest.raises(DataFinding, match="one size"):
        load(tmp_path)


def test_image_that_is_cut_is_a_finding(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / f"{ID}.zip", "w") as archive:
        for name in ("a/1.png", "b/1.png"):
            out = io.BytesIO()
            Image.effect_noise((64, 64), 50).save(out, "PNG")
            archive.writestr(name, out.getvalue()[:200])
    with pytest.raises(DataFinding, match="cannot be decoded"):
        load(tmp_path)


def test_upload_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(DataFinding, match="is not in this worker's state folder"):
        load(tmp_path)


def _zip(folder: Path, images: dict[str, Image.Image]) -> None:
    with zipfile.ZipFile(folder / f"{ID}.zip", "w") as archive:
        for name, image in images.items():
            out = io.BytesIO()
            image.save(out, "PNG")
            archive.writestr(name, out.getvalue())
