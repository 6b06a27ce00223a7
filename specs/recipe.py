"""A recipe: a whole job under one name."""

from typing import Any

from pydantic import Field

from specs.kinds import Spec


class Lesson(Spec):
    """What a recipe shows that is meant to fail, and the one change that mends it."""

    shows: str = Field(description="where the fault is seen in the diagnostics")
    cure: dict[str, Any] = Field(description="sections to post beside the recipe's name; the fault is then gone")
    because: str = Field(description="why the change mends it")


class Recipe(Spec):
    """A named job that runs as it stands."""

    name: str
    description: str
    paper: str
    spec: dict[str, Any] = Field(description="sections of a job spec; every one may be overridden")
    lesson: Lesson | None = None


DIGITS = {"kind": "builtin", "name": "digits"}
