"""The limits of a service in one table: what is asked beyond them is refused before anything is allocated for it.

Each is a setting, ``AFTERPROP_LIMITS__<NAME>``, and is served at ``/v1/limits``. What the form of a spec allows at most
(``FORM``) is part of its JSON Schema and the same everywhere.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field


class FormLimits(BaseModel):
    """What fields of a spec hold at most, whatever the service is set to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=65_536, description="units of a layer")
    blocks: int = Field(default=512, description="blocks of a network")
    weights: int = Field(default=2_000_000_000, description="between the layers of a network")
    steps: int = Field(default=10_000_000, description="steps or epochs of a job")
    batch_rows: int = Field(default=10_000_000, description="rows of a step")
    runtime_s: int = Field(default=30 * 86_400, description="`limits.max_runtime_s` of a job")
    labels: int = Field(default=64, description="labels of a job")
    label_characters: int = Field(default=255, description="characters of a label's value")
    name_characters: int = Field(default=200, description="characters of a name")
    json_depth: int = Field(default=64, description="levels of a JSON body")
    number_digits: int = Field(default=400, description="digits of a number in a JSON body")
    page_items: int = Field(default=200, description="`limit` of a list")
    label_filters: int = Field(default=16, description="`label[key]=value` of a list")


FORM: Final = FormLimits()


class Limits(BaseModel):
    """What this service takes at most. Sizes of a job are estimated by arithmetic, before it is queued."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = Field(default=256 * 1024, gt=0, description="a JSON body")
    upload_bytes: int = Field(default=2 << 30, gt=0, description="an uploaded file")
    project_upload_bytes: int = Field(default=20 << 30, gt=0, description="all uploaded files of a project")
    parameters: int = Field(default=200_000_000, gt=0, description="weights of a job's network")
    memory_bytes: int = Field(
        default=64 << 30, gt=0, description="weights, gradients, optimizer state and inputs of a step, at least"
    )
    steps: int = Field(default=FORM.steps, gt=0, description="steps of a job, where they are known beforehand")
    checkpoint_bytes: int = Field(default=4 << 30, gt=0, description="a checkpoint: weights and optimizer state")
    checkpoint_bytes_per_s: int = Field(
        default=500_000_000, gt=0, description="what checkpoints write on average, by size and interval"
    )
    diagnostics_points: int = Field(default=200_000_000, gt=0, description="points that a job's diagnostics may store")
    runtime_s: float = Field(default=FORM.runtime_s, gt=0, description="`limits.max_runtime_s` of a job")
    comparison_runs: int = Field(default=5000, gt=0, description="jobs of a comparison, tuning included")
