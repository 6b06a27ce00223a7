"""The clock of leases: it goes on while the machine sleeps, and nobody can set it."""

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_s() -> float:
    """Seconds since the machine started; the same number in every process of the machine."""
    return time.clock_gettime(_CLOCK)
