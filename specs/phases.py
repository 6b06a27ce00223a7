"""Phases: stretches of a job's course, each with a rule of its own."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from specs.kinds import Spec
from specs.optimizers import Update
from specs.training import MAX_STEPS

if TYPE_CHECKING:
    from specs.rule import Rule


class PhaseEnd(Spec):
    """When the next phase begins, counted from the beginning of this one."""

    kind: Literal["epochs", "steps", "seconds", "plateau"]
    value: float = Field(
        gt=0,
        le=MAX_STEPS,
        description="epochs, steps, seconds of training, or (plateau) evaluations in a row without a better "
        "validation loss",
    )

    @model_validator(mode="after")
    def _whole_where_counted(self) -> "PhaseEnd":
        if self.kind != "seconds" and self.value != int(self.value):
            raise PydanticCustomError(
                "budget_not_whole",
                "a phase's end in {kind} is a whole number",
                {"kind": self.kind, "pointer": "/value", "allowed": "an integer"},
            )
        return self

    def steps(self, per_epoch: int) -> int | None:
        """Steps of the phase, where they are known beforehand."""
        if self.kind == "epochs":
            return int(self.value) * per_epoch
        return int(self.value) if self.kind == "steps" else None


class Phase(NamedTuple):
    """One stretch: its rule, when it ends (None: with the job), its own optimizer (None: the job's)."""

    rule: "Rule"
    until: PhaseEnd | None = None
    optimizer: Update | None = None
    pointer: str = ""
    """Where the phase stands below the learner's section."""
