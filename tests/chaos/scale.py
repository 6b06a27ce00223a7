"""How much of the whole a chaos test does: 1 is whole, 0.2 is what continuous integration has time for."""

import math
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A factor for the numbers and the durations of the fault table."""

    factor: float

    @classmethod
    def chosen(cls) -> "Scale":
        """AFTERPROP_CHAOS_SCALE, else a fifth."""
        return cls(float(os.environ.get("AFTERPROP_CHAOS_SCALE", "0.2")))

    def of(self, whole: int, *, least: int = 1) -> int:
        """So many of ``whole``."""
        return max(least, math.ceil(whole * self.factor))

    def seconds(self, whole: float, *, least: float = 1.0) -> float:
        """So long of ``whole`` seconds."""
        return max(least, whole * self.factor)
