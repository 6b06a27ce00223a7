"""What may be asked of a key: whose it is, what it may do, how long."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from specs.job import NO_NUL

PROJECT = "^[a-z0-9][a-z0-9_-]{0,63}$"
LONGEST_S = 10 * 365 * 86400

ProjectName = Annotated[str, Field(pattern=PROJECT, max_length=64)]


class ApiKeyRequest(BaseModel):
    """A new key."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"project": "default", "name": "laptop", "scopes": ["write"]}]},
    )

    project: ProjectName = Field(default="default", description="whose things it sees; made with its first key")
    name: str = Field(default="", max_length=200, pattern=NO_NUL, description="for people: what the key is used by")
    scopes: list[Literal["read", "write", "admin"]] = Field(
        default=["write"], min_length=1, max_length=3, description="each holds those before it: read, write, admin"
    )
    expires_in_s: int | None = Field(default=None, ge=1, le=LONGEST_S, description="null: it never expires")
