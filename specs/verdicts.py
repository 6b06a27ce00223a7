"""What a diagnosis says: the fault, its layer and steps, the evidence, and which fields of the job to change."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from specs.json_patch import Patch
from specs.kinds import Spec
from specs.verdict_kinds import Severity, VerdictCode


def _finite_or_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite_or_null)]
"""A number as JSON knows it; NaN and infinity become null."""


class Evidence(Spec):
    """The measurement that a finding stands on."""

    quantity: str = Field(description="name of the series that was judged, or of what was measured")
    value: Number = Field(
        description="what was held against the threshold: a value of the series, or the share, the ratio or the root "
        "mean square that the verdict's kind makes of it; null where it is not finite"
    )
    threshold: Number = Field(default=None, description="the rule's limit; null: none is needed")
    window: int = Field(default=1, ge=1, description="logged points that were judged")
    comparison: Literal["above", "below"] = Field(default="above", description="the side of the limit where faults are")
    numbers: dict[str, Number] = Field(default_factory=dict, description="further numbers, by name")
    facts: dict[str, str] = Field(default_factory=dict, description="what is no number: the tensor, the module ...")


class Remedy(Spec):
    """A change of the job that is expected to cure the fault."""

    title: str = Field(description="a sentence")
    patch: list[dict[str, Any]] = Field(description="JSON Patch (RFC 6902) of the job's resolved spec", min_length=1)
    predicted_saving_bytes: int | None = Field(default=None, description="memory that it is expected to free")

    @field_validator("patch")
    @classmethod
    def _is_a_patch(cls, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        Patch.model_validate(operations)
        return operations


class Finding(Spec):
    """A named fault of a job, or of one layer of it."""

    code: VerdictCode
    severity: Severity
    layer: str | None = Field(default=None, description="null: the whole network")
    first_step: int = Field(ge=0, description="where the fault is first seen")
    last_step: int = Field(ge=0, description="where it was last seen")
    evidence: Evidence
    remedies: tuple[Remedy, ...] = Field(default=(), strict=False, description="the most promising first")
    rule_version: int = Field(default=1, ge=1)


def replacing(title: str, fields: Mapping[str, Any], *, saving_bytes: int | None = None) -> Remedy:
    """A remedy that gives fields of the resolved spec, named by JSON pointers, other values."""
    patch = [{"op": "replace", "path": pointer, "value": value} for pointer, value in fields.items()]
    return Remedy(title=title, patch=patch, predicted_saving_bytes=saving_bytes)
