"""Rows on the device, and which of them make up each step: a pure function of seed and step."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from learners.learner import Batch
from learners.streams import Streams


@dataclass(frozen=True)
class Rows:
    """One split, whole, on the device."""

    x: Tensor
    y: Tensor
    dt: Tensor | None

    def __len__(self) -> int:
        return len(self.x)

    def slice(self, start: int, stop: int) -> "Rows":
        """Neighbouring rows, not copied."""
        return Rows(self.x[start:stop], self.y[start:stop], None if self.dt is None else self.dt[start:stop])


def load_rows(folder: Path, split: Literal["train", "validation", "test"], *, device: torch.device) -> Rows:
    """A prepared split. On a CPU the files are mapped: jobs that share a data set share its memory."""
    x, y = (_tensor(folder / f"{split}_{part}.npy", device) for part in ("x", "y"))
    dt = folder / f"{split}_dt.npy"
    return Rows(x, y, _tensor(dt, device) if dt.is_file() else None)


def _tensor(path: Path, device: torch.device) -> Tensor:
    # Mode c: pages are private once written. Nobody writes, but PyTorch wants them writable.
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False)).to(device)


@final
class Batches:
    """The batches of all steps. The last one of an epoch may be smaller; a full batch is the rows in their order."""

    def __init__(self, rows: Rows, *, batch_size: int | Literal["full"], streams: Streams) -> None:
        self.rows = rows
        self.size = len(rows) if batch_size == "full" else batch_size
        self.per_epoch = math.ceil(len(rows) / self.size)
        self._streams = streams
        self._epoch = -1
        self._order: list[Tensor] = []
        self._whole = Batch.whole(rows.x, rows.y, rows.dt) if self.per_epoch == 1 else None

    def at(self, step: int) -> Batch:
        """The batch of step ``step``, counted from 0."""
        if self._whole is not None:
            return self._whole
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = list(torch.split(self.order(epoch), self.size))
        chosen = self._order[index]
        rows = self.rows
        x, y = rows.x.index_select(0, chosen), rows.y.index_select(0, chosen)
        return Batch.whole(x, y, None if rows.dt is None else rows.dt.index_select(0, chosen))

    def order(self, epoch: int) -> Tensor:
        """The permutation of the training rows in ``epoch``."""
        generator = self._streams.generator("order", epoch)
        return torch.randperm(len(self.rows), generator=generator).to(self.rows.x.device)

    def rows_at(self, step: int) -> int:
        """Rows of step ``step``."""
        return min(self.size, len(self.rows) - (step % self.per_epoch) * self.size)

    def samples_before(self, step: int) -> int:
        """Rows worked through before step ``step``, repeats counted."""
        epochs, index = divmod(step, self.per_epoch)
        return epochs * len(self.rows) + min(index * self.size, len(self.rows))
