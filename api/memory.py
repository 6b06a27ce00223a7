"""What the process asks of the C library's allocator, and which modules it does without."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_ARENA_MAX = -8  # of malloc.h


def share_one_arena() -> None:
    """All threads allocate from one arena: ten handlers would otherwise keep ten half-empty ones (-16 MB measured)."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except AttributeError:  # a C library without arenas
        return


@contextmanager
def left_out(module: str) -> Iterator[None]:
    """Inside, importing ``module`` fails, for libraries that do without it if they must."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
