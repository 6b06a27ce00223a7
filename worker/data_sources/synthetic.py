"""Rows from a generator. The same spec gives the same rows on every machine: numpy's PCG64, no global state."""

import numpy as np

from specs.data_sources import SyntheticSpec
from worker.data_sources.source import Array, DataSource, Folders, Table

_FRAME = 8  # pixels on a side of sequence_image's frames
_DIRECTIONS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])  # right, down, left, up


class Synthetic(DataSource):
    """event_xor, parity or sequence_image."""

    def __init__(self, spec: SyntheticSpec) -> None:
        self.spec = spec

    def load(self, folders: Folders) -> Table:  # noqa: ARG002 - needs no folder
        rng = np.random.Generator(np.random.PCG64(self.spec.seed))
        if self.spec.name == "event_xor":
            return _event_xor(self.spec, rng)
        if self.spec.name == "parity":
            return _parity(self.spec, rng)
        return _sequence_image(self.spec, rng)


def _event_xor(spec: SyntheticSpec, rng: np.random.Generator) -> Table:
    """The parity of a bit stream of which only the runs arrive (Lechner & Hasani 2020, arXiv 2006.04418).

    Equal bits in a row are one event: its value (+1 or -1), and as ``dt`` the time since the event before, which is
    the length of this run. Every bit lasts 1 ± ``jitter``, so times are irregular and carry what the values do not.
    Shorter rows are padded in front by steps of value 0, presence 0, dt 0.
    """
    bits = rng.integers(0, 2, size=(spec.rows, spec.bits))
    durations = rng.uniform(1 - spec.jitter, 1 + spec.jitter, size=bits.shape)
    x = np.zeros((spec.rows, spec.steps, 2))
    dt = np.zeros((spec.rows, spec.steps))
    for row in range(spec.rows):
        starts = np.flatnonzero(np.diff(bits[row], prepend=-1))
        first = spec.steps - len(starts)
        x[row, first:, 0] = 2 * bits[row, starts] - 1
        x[row, first:, 1] = 1
        dt[row, first:] = np.add.reduceat(durations[row], starts)
    y: Array = bits.sum(axis=1) % 2
    return Table(x=x, y=y.astype(np.int64), dt=dt, implied_task="sequence_classification")


def _parity(spec: SyntheticSpec, rng: np.random.Generator) -> Table:
    """A vector of ±1 and the parity of its +1."""
    bits = rng.integers(0, 2, size=(spec.rows, spec.bits))
    y: Array = bits.sum(axis=1) % 2
    return Table(x=2.0 * bits - 1, y=y.astype(np.int64), implied_task="classification")


def _sequence_image(spec: SyntheticSpec, rng: np.random.Generator) -> Table:
    """A blob that moves a pixel a step over 8 x 8 frames, round the edges; which way is the class."""
    y = rng.integers(0, 4, size=spec.rows)
    start = rng.integers(0, _FRAME, size=(spec.rows, 1, 2))
    steps = np.arange(spec.steps).reshape(1, -1, 1)
    centre = (start + steps * _DIRECTIONS[y][:, None, :]) % _FRAME  # [N,T,2]
    axis = np.arange(_FRAME)
    away = np.abs(centre[..., None] - axis)  # [N,T,2,8]
    away = np.minimum(away, _FRAME - away)
    blob = np.exp(-(away[:, :, 0, :, None] ** 2 + away[:, :, 1, None, :] ** 2) / 2)
    frames = blob.reshape(spec.rows, spec.steps, _FRAME * _FRAME)
    frames += rng.normal(0, spec.jitter, size=frames.shape)
    return Table(x=frames, y=y.astype(np.int64), implied_task="sequence_classification")
