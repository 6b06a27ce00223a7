"""What the process asks of the C library's allocator, and which modules it does without."""

import asyncio
import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_M_ARENA_MAX = -8  # of malloc.h
GIVE_BACK_S = 5.0


def share_one_arena() -> None:
    """All threads allocate from one arena: ten handlers would otherwise keep ten half-empty ones (-16 MB measured)."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # a C library without arenas
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Free memory goes back to the system: a burst of large answers must not be paid for ever."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)


async def give_back_now_and_then() -> None:
    """Until it is cancelled."""
    while True:
        await asyncio.sleep(GIVE_BACK_S)
        give_back()


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
