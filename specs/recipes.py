"""Recipes: whole jobs under one name. ``{"recipe": "liquid", "training": {"epochs": 3}}`` is resolved at the door."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import PydanticCustomError

from specs.kinds import Spec
from specs.lessons import LESSONS
from specs.paradigms import paradigms
from specs.recipe import Recipe

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (*paradigms(), *LESSONS)}

if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = Literal[tuple(RECIPES)]


class RecipeRequest(Spec):
    """A job by its recipe: sections given here are laid over the recipe's."""

    recipe: RecipeName
    name: str | None = None
    labels: dict[str, str] | None = None
    dataset: dict[str, Any] | None = None
    network: dict[str, Any] | None = None
    learner: dict[str, Any] | None = None
    optimizer: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None
    limits: dict[str, Any] | None = None


ONE_OF_TWO = (("budget", "epochs"), ("epochs", "budget"), ("phases", "mix"), ("mix", "phases"))
"""A field that is given takes the place of its alternative in the recipe."""


def expand(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The job spec that ``{"recipe": ..., **overrides}`` stands for, not yet validated.

    A section of another kind replaces the recipe's; of the same kind, or without one, it overrides fields.
    """
    name = fields["recipe"]
    if not isinstance(name, str) or name not in RECIPES:
        allowed = list(RECIPES)
        raise PydanticCustomError(
            "unknown_recipe", "no such recipe", {"pointer": "/recipe", "allowed": allowed, "given": str(name)}
        )
    expanded: dict[str, Any] = dict(RECIPES[name].spec)
    for section, given in fields.items():
        if section != "recipe":
            expanded[section] = _laid_over(expanded.get(section), given)
    return expanded


def _laid_over(base: Any, given: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(given, dict):
        return given
    if "kind" in given and given["kind"] != base.get("kind"):
        return given
    alternatives = [other for one, other in ONE_OF_TWO if given.get(one) is not None]
    return {name: value for name, value in {**base, **given}.items() if name in given or name not in alternatives}
