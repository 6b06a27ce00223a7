"""Verification of a job that has ended: what may be asked of its replay."""

from pydantic import Field

from specs.kinds import Spec


class VerificationRequest(Spec):
    """Where the replay begins, and how far its numbers may be off without being called different."""

    from_step: int | None = Field(
        default=None,
        ge=0,
        description="the step of a kept checkpoint, or 0: from the start; null: of the oldest that is kept, or from "
        "the start where there is none",
    )
    tolerance: float = Field(
        default=1e-5,
        ge=0,
        le=1,
        description="largest difference of two values over the largest magnitude in their tensor; what is within it "
        "and not bit-equal is answered `tolerance`",
    )
