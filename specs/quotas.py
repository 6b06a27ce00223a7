"""What one project may take of a service that asks for keys. Where everybody is let in, nobody is counted."""

from pydantic import BaseModel, ConfigDict, Field


class Quotas(BaseModel):
    """Of each project alike; null is as much as there is. Each is a setting: ``AFTERPROP_QUOTAS__<NAME>``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs_per_minute: int | None = Field(default=600, gt=0, description="jobs and comparisons made in 60 seconds")
    queued_jobs: int | None = Field(default=10_000, gt=0, description="jobs that wait at a time")
    running_jobs: int | None = Field(default=None, gt=0, description="jobs that run at a time; further ones wait")
    streams: int | None = Field(default=50, gt=0, description="open event streams at a time, of each API process")
