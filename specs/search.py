"""Search spaces: which settings of a learner are tuned, and the points of a space, spread evenly and replayable."""

import random

from pydantic import Field

from specs.kinds import Spec

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


class Range(Spec):
    """A setting that is tuned: a JSON pointer into the job spec, and where its values lie."""

    pointer: str = Field(description="JSON pointer into the job spec")
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    log: bool = Field(default=True, description="evenly spread on a logarithmic scale")
    relative: bool = Field(default=False, description="low and high are factors on the setting that was posted")

    def at(self, share: float, posted: float) -> float:
        """The value at ``share`` (0 to 1) of the range, four digits of it: a setting that can be read and repeated."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + share * (self.high - self.low)
        return float(f"{value * posted if self.relative else value:.4g}")


LEARNING_RATE = Range(pointer="/optimizer/lr", low=0.1, high=10, relative=True)
"""What every rule has: a tenth to ten times the rate that was posted."""


def shares(trial: int, dimensions: int, *, seed: int) -> tuple[float, ...]:
    """A point of the unit cube: the ``trial``-th of a Halton sequence (1960), shifted by the seed (Cranley and
    Patterson, 1976). Every prefix of the sequence is spread evenly; a point depends on no other point's result."""
    shift = random.Random(seed)  # noqa: S311 - a search, no secret
    return tuple((_halton(trial, _PRIMES[axis]) + shift.random()) % 1.0 for axis in range(dimensions))


def _halton(index: int, base: int) -> float:
    """The radical inverse: the digits of ``index`` in ``base``, mirrored at the point."""
    value, scale = 0.0, 1.0
    while index:
        index, digit = divmod(index, base)
        scale /= base
        value += digit * scale
    return value
