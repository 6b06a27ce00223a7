"""Named random streams: every draw is a pure function of a seed, a path of names and counters."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import final

import torch


@final
class Streams:
    """A source of random generators. It has no state, so there is nothing to checkpoint.

    Equal names and counters give equal draws; the global generator is never touched.
    """

    def __init__(self, seed: int, path: tuple[str, ...] = ()) -> None:
        self.root = seed
        self.path = path
        self._prefix = blake2b(repr((seed, path)).encode(), digest_size=8)

    def child(self, name: str) -> "Streams":
        """The streams below ``name``: independent of this one's and of other children's."""
        return Streams(self.root, (*self.path, name))

    def seed(self, name: str, *counters: int) -> int:
        """A 64-bit seed for ``name`` at ``counters``."""
        digest = self._prefix.copy()
        digest.update(repr((name, counters)).encode())
        return int.from_bytes(digest.digest(), "little")

    def generator(self, name: str, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator at the start of stream ``name`` at ``counters``."""
        generator = torch.Generator(device)
        generator.manual_seed(self.seed(name, *counters))
        return generator

    @contextmanager
    def initialising(self, name: str) -> Iterator[None]:
        """Inside, PyTorch's own initialisers draw from stream ``name``; afterwards the global generator is as before.

        Modules must be made on the CPU and moved, so that every device starts from the same weights.
        """
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(self.seed(name))
        try:
            yield
        finally:
            torch.default_generator.set_state(before)
