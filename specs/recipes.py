"""Recipes: whole jobs under one name. ``{"recipe": "liquid", "training": {"epochs": 3}}`` is resolved at the door."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field
from pydantic_core import PydanticCustomError

from specs.kinds import Spec

RecipeName = Literal["backprop", "forward_forward", "mono_forward", "liquid", "gradient_free", "readout_only"]


class Recipe(Spec):
    """A named job that runs as it stands."""

    name: RecipeName
    description: str
    paper: str
    spec: dict[str, Any] = Field(description="sections of a job spec; every one may be overridden")


_DIGITS = {"kind": "builtin", "name": "digits"}
_MLP = {"kind": "mlp", "hidden": [128, 128]}

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="backprop",
            description="The yardstick: a small network on digits, trained by the exact gradient.",
            paper="Rumelhart, Hinton & Williams 1986",
            spec={
                "dataset": _DIGITS,
                "network": _MLP,
                "learner": {"kind": "backprop"},
                "optimizer": {"kind": "adam", "lr": 0.001},
                "training": {"epochs": 20},
            },
        ),
        Recipe(
            name="forward_forward",
            description="Each layer tells right from wrong labels by its own goodness; no error crosses layers.",
            paper="Hinton 2022, arXiv 2212.13345",
            spec={
                "dataset": _DIGITS,
                "network": {"kind": "mlp", "hidden": [256, 256]},
                "learner": {"kind": "forward_forward"},
                "optimizer": {"kind": "adam", "lr": 0.002},
                "training": {"epochs": 30},
            },
        ),
        Recipe(
            name="mono_forward",
            description="Each layer has a linear head of its own and learns from its head's error alone.",
            paper="Gong, Li & Abdulla 2025, arXiv 2501.09238",
            spec={
                "dataset": _DIGITS,
                "network": _MLP,
                "learner": {"kind": "mono_forward"},
                "optimizer": {"kind": "adam", "lr": 0.001},
                "training": {"epochs": 20},
            },
        ),
        Recipe(
            name="liquid",
            description="A closed-form continuous-time network on events that come at irregular times.",
            paper="Hasani et al. 2022, arXiv 2106.13898",
            spec={
                "dataset": {"kind": "synthetic", "name": "event_xor", "bits": 8},
                "network": {"kind": "cfc", "hidden": [32]},
                "learner": {"kind": "backprop"},
                "optimizer": {"kind": "adam", "lr": 0.002, "clip_grad_norm": 1.0},
                "training": {"epochs": 20, "batch_size": 128},
            },
        ),
        Recipe(
            name="gradient_free",
            description="Two forward passes estimate the slope along one random direction: memory of inference.",
            paper="Malladi et al. 2023 (MeZO), arXiv 2305.17333",
            spec={
                "dataset": _DIGITS,
                "network": {"kind": "mlp", "hidden": [32]},
                "learner": {"kind": "mezo"},
                "optimizer": {"kind": "sgd", "lr": 0.001},
                "training": {"epochs": 40},
            },
        ),
        Recipe(
            name="readout_only",
            description="The control: a frozen random trunk under a trained read-out. What a learner must beat.",
            paper="Rahimi & Recht 2008",
            spec={
                "dataset": _DIGITS,
                "network": _MLP,
                "learner": {"kind": "readout_only"},
                "optimizer": {"kind": "adam", "lr": 0.01},
                "training": {"epochs": 20},
            },
        ),
    )
}


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


def expand(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The job spec that ``{"recipe": ..., **overrides}`` stands for, not yet validated.

    A section of another kind replaces the recipe's; of the same kind, or without one, it overrides fields.
    """
    name = fields["recipe"]
    if not isinstance(name, str) or name not in RECIPES:
        allowed = list(get_args(RecipeName))
        raise PydanticCustomError("unknown_recipe", "no such recipe", {"pointer": "/recipe", "allowed": allowed})
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
    return {**base, **given}
