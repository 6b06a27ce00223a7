"""Published data sets, each with its official test split."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from specs.data_sources import PublishedSpec
from worker.data_sources import cifar, idx
from worker.data_sources.archives import Archive, bounded, content
from worker.data_sources.source import Array, DataFinding, DataSource, Folders, Table

Rows = tuple[Array, Array]
"""Images [N,C,H,W] and classes [N]."""


@dataclass(frozen=True)
class Collection(ABC):
    """A published data set: its folder, where its files come from, and its rows for training and test."""

    folder: str
    url: str | None
    rows: tuple[int, int]

    @abstractmethod
    def load(self, folders: Folders) -> tuple[Rows, Rows]:
        """Training rows and test rows."""


@final
@dataclass(frozen=True)
class IdxCollection(Collection):
    """Four files: images and labels for training, images and labels for the test."""

    archives: tuple[Archive, Archive, Archive, Archive]

    def load(self, folders: Folders) -> tuple[Rows, Rows]:
        url = self.url or folders.mirror_url
        opened = [content(archive, self.folder, url, folders) for archive in self.archives]
        arrays = [
            idx.read(found, archive.unpacked, axes=3 if "images" in archive.name else 1)
            for found, archive in zip(opened, self.archives, strict=True)
        ]
        pairs = [(arrays[i][:, None], arrays[i + 1].astype(np.int64)) for i in (0, 2)]
        return pairs[0], pairs[1]


@final
@dataclass(frozen=True)
class CifarCollection(Collection):
    """One archive of binary files, or these files unpacked in a folder of the archive's."""

    archive: Archive
    inside: str
    training: tuple[str, ...]
    test: str
    labels: int
    classes: int

    def load(self, folders: Folders) -> tuple[Rows, Rows]:
        names = (*self.training, self.test)
        parts = [
            cifar.read(found, name, labels=self.labels, classes=self.classes)
            for found, name in zip(self._files(names, folders), names, strict=True)
        ]
        x, y = (np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
        return (x, y), parts[-1]

    def _files(self, names: tuple[str, ...], folders: Folders) -> list[bytes]:
        if folders.data is not None:
            paths = [folders.data / self.folder / self.inside / name for name in names]
            if all(path.is_file() for path in paths):
                return [bounded(path) for path in paths]
        opened = content(self.archive, self.folder, self.url, folders)
        return cifar.members(opened, self.archive.name, tuple(f"{self.inside}/{name}" for name in names))


COLLECTIONS: dict[str, Collection] = {
    # LeCun, Cortes & Burges 1998; MD5 of the content, as published with the originals. Downloaded from the mirror.
    "mnist": IdxCollection(
        "mnist",
        None,
        (60_000, 10_000),
        (
            Archive("train-images-idx3-ubyte.gz", "6bbc9ace898e44ae57da46a324031adb", "content"),
            Archive("train-labels-idx1-ubyte.gz", "a25bea736e30d166cdddb491f175f624", "content"),
            Archive("t10k-images-idx3-ubyte.gz", "2646ac647ad5339dbf082846283269ea", "content"),
            Archive("t10k-labels-idx1-ubyte.gz", "27ae3e4e09519cfbb04c329615203637", "content"),
        ),
    ),
    # Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747; MD5 as its repository (zalandoresearch/fashion-mnist) states them.
    "fashion_mnist": IdxCollection(
        "fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (60_000, 10_000),
        (
            Archive("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "file"),
            Archive("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", "file"),
            Archive("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", "file"),
            Archive("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", "file"),
        ),
    ),
    # Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; MD5 as the author's page states them.
    "cifar10": CifarCollection(
        "cifar10",
        "https://www.cs.toronto.edu/~kriz/",
        (50_000, 10_000),
        Archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "file"),
        "cifar-10-batches-bin",
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        labels=1,
        classes=10,
    ),
    "cifar100": CifarCollection(
        "cifar100",
        "https://www.cs.toronto.edu/~kriz/",
        (50_000, 10_000),
        Archive("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "file"),
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        labels=2,
        classes=100,
    ),
}


class Published(DataSource):
    """A data set of ``collections`` by its name."""

    def __init__(self, spec: PublishedSpec, collections: Mapping[str, Collection] = COLLECTIONS) -> None:
        self.spec = spec
        self._collection = collections[spec.name]

    def load(self, folders: Folders) -> Table:
        training, test = self._collection.load(folders)
        found = (len(training[0]), len(training[1]), len(test[0]), len(test[1]))
        expected = tuple(rows for rows in self._collection.rows for _ in range(2))
        if found != expected:
            message = f"{self.spec.name} has {found} images and labels for training and test; published are {expected}"
            raise DataFinding("data_mismatch", message)
        return Table(
            x=np.concatenate([training[0], test[0]]),
            y=np.concatenate([training[1], test[1]]),
            implied_task="classification",
            official_test=len(test[0]),
        )
