"""Search spaces: which settings of a learner a comparison tunes, and where their values lie."""

from typing import Any

from pydantic import Field

from specs.kinds import Spec


class Range(Spec):
    """A setting that is tuned: a JSON pointer into the job spec, and where its values lie."""

    pointer: str = Field(description="JSON pointer into the job spec")
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    log: bool = Field(default=True, description="evenly spread on a logarithmic scale")
    relative: bool = Field(default=False, description="low and high are factors on the setting that was posted")

    def around(self, posted: float) -> dict[str, Any]:
        """The range as plain JSON, in the setting's own unit: four digits of its bounds, and always with ``posted``."""
        low, high = (float(f"{bound * (posted if self.relative else 1.0):.4g}") for bound in (self.low, self.high))
        bounds = {"low": min(low, posted), "high": max(high, posted)}
        return {"pointer": self.pointer, **bounds, "log": self.log, "posted": posted}


LEARNING_RATE = Range(pointer="/optimizer/lr", low=0.1, high=10, relative=True)
"""What every rule has: a tenth to ten times the rate that was posted."""
